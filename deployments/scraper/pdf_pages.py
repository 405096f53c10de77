"""PDF pages: hand a downloaded PDF to the parser through the file store."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from loguru import logger

from deployments.chunk_batches import read_batch
from deployments.errors import (
    DeadlineExceeded,
    InvalidRequest,
    NotFound,
    ServiceError,
    TooLarge,
    Unprocessable,
    UnsupportedMedia,
)
from deployments.fair_places import FairPlaces
from deployments.file_store import PAGES
from deployments.scraper.extract import MAX_TEXT_CHARS
from deployments.scraper.fetch import PageFailure
from deployments.text.html import HtmlText
from deployments.types import SHORT_PARSE_EXCEEDED, PageOutcome, ParseSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from deployments.file_store import FileStore
    from deployments.interfaces import Parser
    from deployments.scraper.fetch import Download

_REMOVE_TIMEOUT_S: Final = 2.0
_SHORT_AT_ONCE: Final = 4
_NOT_NOW: Final = "PDF files cannot be read for now"
_OUTCOMES: Final = (
    (NotFound, PageOutcome.UNREACHABLE),  # the file store has lost it
    (TooLarge, PageOutcome.TOO_LARGE),
    (UnsupportedMedia, PageOutcome.UNSUPPORTED_TYPE),
    (InvalidRequest, PageOutcome.EMPTY),
    (DeadlineExceeded, PageOutcome.TIMEOUT),
)


class PdfPages:
    """Read downloaded PDFs with the parser deployment.

    Short ones wait here for their turn, because a full parser refuses calls; long ones are
    refused by it.
    """

    def __init__(
        self, parser: Parser, files: FileStore, shares: Mapping[str, float] | None = None
    ) -> None:
        """Keep the parts; `shares` are the weights of owners, 1 for those that are not named."""
        self._parser = parser
        self._files = files
        self._short = FairPlaces(_SHORT_AT_ONCE, shares=shares)

    async def read(self, download: Download, owner: str = "") -> tuple[HtmlText, str]:
        """Return title and text, and what was not read; raise PageFailure.

        The text is cut at `MAX_TEXT_CHARS`.

        Owners take turns at the parser.
        """
        folder = f"{PAGES}/{uuid.uuid4().hex}"
        try:
            return await self._read(download, folder, owner)
        except ServiceError as error:
            kinds = (outcome for kind, outcome in _OUTCOMES if isinstance(error, kind))
            outcome = next(kinds, PageOutcome.UNREACHABLE)
            detail = _NOT_NOW if outcome is PageOutcome.UNREACHABLE else error.message
            raise PageFailure(outcome, detail) from error
        finally:
            await self._remove(folder)

    async def _read(self, download: Download, folder: str, owner: str) -> tuple[HtmlText, str]:
        name = download.url.name or "page"
        filename = name if name.lower().endswith(".pdf") else f"{name}.pdf"
        path = f"{folder}/page.pdf"
        await self._files.put(path, download.data)
        # Someone waits for it: it is read as a short file first, and as a long one if it is none.
        # OCR would take too long.
        task = ParseSpec(
            path,
            filename,
            folder,
            max_chars=MAX_TEXT_CHARS,
            short=True,
            owner=owner,
            ocr=False,
        )
        try:
            async with self._short.place(owner):
                document = await self._parser.parse(task)
        except Unprocessable as error:
            if error.code != SHORT_PARSE_EXCEEDED:
                raise
            document = await self._parser.parse(replace(task, short=False))
        text = ""
        for number in range(document.batches):
            batch = await read_batch(self._files, folder, number)
            for chunk in batch:
                text += (chunk.separator if text else "") + chunk.text[chunk.overlap_chars :]
        if not text:
            raise PageFailure(PageOutcome.EMPTY, "there is no text in the PDF")
        unread = " ".join(warning.message for warning in document.warnings)
        return HtmlText(document.title, text[:MAX_TEXT_CHARS]), unread

    async def _remove(self, folder: str) -> None:
        try:
            async with asyncio.timeout(_REMOVE_TIMEOUT_S):
                await self._files.delete(folder)
        except Exception as error:  # noqa: BLE001 - the page is read all the same
            logger.warning("{} is left to be swept: {}", folder, type(error).__name__)
