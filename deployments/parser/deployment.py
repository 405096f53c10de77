"""The Parser deployment: files to chunks, each in a child process."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ray import serve

from deployments.model_source import resolve, revision_of
from deployments.observability.logs import log_to_serve
from deployments.parser.sandbox import SandboxedParser
from deployments.serving.capacity import reserved_cores

if TYPE_CHECKING:
    from deployments.settings import ParserSettings
    from deployments.types import ParsedDocument


@serve.deployment(name="Parser", max_ongoing_requests=8, max_queued_requests=16)
class Parser:
    """Waits on child processes; computes nothing itself."""

    def __init__(self, settings: ParserSettings, embedder: str, data_dir: str) -> None:
        """Load the tokenizer of the model `embedder`, whose tokens are counted."""
        log_to_serve()
        path = tokenizer_path(resolve(embedder, Path(data_dir)), revision_of(embedder))
        self._parser = SandboxedParser(settings, path, processes=reserved_cores())

    async def parse(self, data: bytes, filename: str) -> ParsedDocument:
        return await self._parser.parse(data, filename)

    async def check_health(self) -> None:
        """Well while it answers: every file has a process of its own."""


def tokenizer_path(model: str, revision: str | None = None) -> str:
    """The folder of the tokenizer; of a model on the hub, only that one file is fetched."""
    if Path(model).is_dir():
        return model
    from huggingface_hub import hf_hub_download

    return str(hf_hub_download(model, "tokenizer.json", revision=revision))
