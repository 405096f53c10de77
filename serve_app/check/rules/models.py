"""Rules of model sources: packages, and on this machine folders, must exist."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from deployments.errors import InvalidRequest
from deployments.model_source import is_package, locate
from serve_app.check.placement.machine import is_this_machine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from serve_app.check.file.document import Problem
    from serve_app.check.rules.subject import Subject

_PATHS = ("/", "./", "../", "~")  # how a source begins that cannot be a Hugging Face id


def model_problems(subject: Subject) -> Iterator[Problem]:
    """List models that do not exist; folders are looked for only if they are on this machine."""
    settings, local = subject.settings, is_this_machine(subject.nodes)
    sources = {
        "llm.model": settings.llm.model if settings.llm.engine == "vllm" else "",
        "embedder.model": settings.embedder.model,
        "embedder.reranker": settings.embedder.reranker or "",
        "embedder.next.model": settings.embedder.next.model if settings.embedder.next else "",
        "images.model": settings.images.model,
    }
    for path, source in sources.items():
        if is_package(source):
            try:
                locate(source)
            except InvalidRequest as error:
                yield subject.setting(path, error.message)
        elif local and source.startswith(_PATHS) and not Path(source).expanduser().is_dir():
            yield subject.setting(path, f"there is no folder {source}")
