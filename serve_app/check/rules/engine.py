"""Rules of vLLM's engine arguments, which vLLM itself checks only when a replica starts."""

from __future__ import annotations

import ast
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from serve_app.check.file.schema import hint

if TYPE_CHECKING:
    from collections.abc import Iterator

    from serve_app.check.file.document import Problem
    from serve_app.check.rules.subject import Subject

# The LLM passes on arguments of the engine and of the OpenAI layer over it.
_CLASSES = {
    "engine/arg_utils.py": {"EngineArgs", "AsyncEngineArgs"},
    "entrypoints/launchers/cli_args.py": {"BaseFrontendArgs", "FrontendArgs"},
}


def engine_problems(subject: Subject) -> Iterator[Problem]:
    """List engine arguments that the vLLM installed here does not have."""
    arguments = subject.settings.llm.engine_args
    if subject.settings.llm.engine != "vllm" or not arguments:
        return
    known = _known()
    for name in arguments:
        if known and name not in known:
            message = f"vLLM has no such engine argument{hint(name, known)}"
            yield subject.setting(f"llm.engine_args.{name}", message)
    share = arguments.get("gpu_memory_utilization", 1)
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
        yield subject.setting(
            "llm.engine_args.gpu_memory_utilization",
            "must be over 0 and at most 1: the share of a card's memory",
        )


@lru_cache
def _known() -> frozenset[str]:
    """Read the names from vLLM's source, since importing it takes seconds; empty without vLLM."""
    spec = find_spec("vllm")
    if spec is None or not spec.submodule_search_locations:
        return frozenset()
    (root,) = spec.submodule_search_locations
    sources = {Path(root) / path: classes for path, classes in _CLASSES.items()}
    if not all(source.is_file() for source in sources):
        return frozenset()  # another version, whose layout is unknown
    return frozenset(
        line.target.id
        for source, classes in sources.items()
        for part in ast.parse(source.read_text(encoding="utf-8")).body
        if isinstance(part, ast.ClassDef) and part.name in classes
        for line in part.body
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)
    )
