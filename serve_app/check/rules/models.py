"""Rules of model sources: packages, and on this machine folders, must exist."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from deployments.errors import InvalidRequest
from deployments.model_source import is_package, locate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from serve_app.check.file.document import ConfigFile, Place, Problem
    from serve_app.settings import AppSettings

_ARGS: Place = ("applications", 0, "args")
_PATHS = ("/", "./", "../", "~")  # how a source begins that cannot be a Hugging Face id


def model_problems(file: ConfigFile, settings: AppSettings, *, local: bool) -> Iterator[Problem]:
    """List models that do not exist.

    `local` tells whether the service runs on this machine, so that its folders can be checked.
    """
    for place, source in _sources(settings):
        if is_package(source):
            try:
                locate(source)
            except InvalidRequest as error:
                yield file.problem((*_ARGS, *place), error.message)
        elif local and source.startswith(_PATHS) and not Path(source).expanduser().is_dir():
            yield file.problem((*_ARGS, *place), f"there is no folder {source}")


def _sources(settings: AppSettings) -> Iterator[tuple[Place, str]]:
    if settings.llm.engine == "vllm":
        yield ("llm", "model"), settings.llm.model
    yield ("embedder", "model"), settings.embedder.model
    if settings.embedder.reranker is not None:
        yield ("embedder", "reranker"), settings.embedder.reranker
    yield ("images", "model"), settings.images.model
