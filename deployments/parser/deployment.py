"""The Parser deployment: one child process for each file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ray import serve

from deployments.file_store import FileStore
from deployments.model_source import resolve, revision_of
from deployments.observability.logs import log_to_serve
from deployments.parser.file_parser import FileParser
from deployments.parser.ocr.recognition import Recognizer
from deployments.parser.sandbox import Sandbox
from deployments.serving.capacity import max_ongoing_requests, reserved_cores
from deployments.serving.private_files import keep_files_private

if TYPE_CHECKING:
    from collections.abc import Mapping

    from deployments.settings import ParserSettings
    from deployments.types import ParsedDocument, ParseSpec, UnpackedFiles, UnpackSpec


@serve.deployment(name="Parser", max_ongoing_requests=128, max_queued_requests=32)
class Parser:
    """Serve `FileParser`; the replica itself only waits for its child processes."""

    def __init__(  # noqa: PLR0913 - what the graph knows
        self,
        settings: ParserSettings,
        embedder: str,
        data_dir: str,
        files: str,
        max_file_bytes: int,
        *,
        shares: Mapping[str, float],
    ) -> None:
        """Load the tokenizer of the model `embedder`, whose tokens are counted.

        `shares` are the weights of API keys, by their names; 1 for those that are not named.
        """
        log_to_serve()
        keep_files_private(data_dir)
        path = tokenizer_path(resolve(embedder, Path(data_dir)), revision_of(embedder))
        sandbox = Sandbox(
            settings,
            path,
            processes=reserved_cores(),
            calls=max_ongoing_requests(),
            shares=shares,
        )
        sandbox.start()
        recognizer = Recognizer(settings.max_ocr_pages, shares) if settings.ocr else None
        self._parser = FileParser(sandbox, FileStore(files), max_file_bytes, recognizer)

    async def parse(self, spec: ParseSpec) -> ParsedDocument:
        return await self._parser.parse(spec)

    async def unpack(self, spec: UnpackSpec) -> UnpackedFiles:
        return await self._parser.unpack(spec)

    async def check_health(self) -> None:
        await self._parser.check_health()

    def __del__(self) -> None:
        if hasattr(self, "_parser"):
            self._parser.close()


def tokenizer_path(model: str, revision: str | None = None) -> str:
    """Return the folder of the tokenizer; download only that file of a model on the hub."""
    if Path(model).is_dir():
        return model
    from huggingface_hub import hf_hub_download

    return str(hf_hub_download(model, "tokenizer.json", revision=revision))
