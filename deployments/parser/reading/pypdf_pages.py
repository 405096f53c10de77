"""Second reader of PDFs, by pypdf: for documents and pages that pdfium cannot read."""

from __future__ import annotations

import io
from functools import cached_property
from typing import Any, cast

from deployments.errors import TooLarge
from deployments.parser.reading.readability import mended


class NotReadable(Exception):
    """pypdf cannot read the document either."""


class PypdfDocument:
    """An open document: its number of pages and the title in its metadata."""

    def __init__(self, data: bytes) -> None:
        """Open a document; raise NotReadable if pypdf cannot."""
        from pypdf import PasswordType, PdfReader

        try:
            self._reader = PdfReader(io.BytesIO(data), strict=False)
            if self._reader.is_encrypted:
                locked = self._reader.decrypt("") == PasswordType.NOT_DECRYPTED
            else:
                locked = False
            self.pages = 0 if locked else len(self._reader.pages)
            metadata = cast("dict[str, Any]", (not locked and self._reader.metadata) or {})
        except MemoryError:
            raise
        # On damage pypdf raises nearly every built-in exception, RecursionError among them.
        except Exception as error:
            raise NotReadable from error
        if not self.pages:
            raise NotReadable
        title = metadata.get("/Title")
        self.title = title if isinstance(title, str) else ""

    def lines(self, index: int) -> list[str] | None:
        """Return the lines of a page, counted from 0; None if it is damaged.

        Raises TooLarge if it decompresses to too much.
        """
        from pypdf.errors import LimitReachedError

        try:
            text = self._reader.pages[index].extract_text()
        except MemoryError:
            raise
        except LimitReachedError as error:
            msg = "This PDF unpacks to far more data than a document of text has."
            raise TooLarge(msg) from error
        except Exception:  # noqa: BLE001 - see above
            return None
        return cast("str", text).split("\n")


class SecondReader:
    """Reads pages by pypdf, opened for the first of them."""

    def __init__(self, data: bytes) -> None:
        """Keep the content of the document."""
        self._data = data

    @cached_property
    def _document(self) -> PypdfDocument | None:
        try:
            return PypdfDocument(self._data)
        except NotReadable:
            return None

    def lines(self, number: int) -> list[str]:
        """Return the lines of a page, mended; none if they cannot be read."""
        document = self._document
        try:
            lines = document.lines(number - 1) if document and number <= document.pages else None
        except TooLarge:
            return []
        return [mended(line) for line in lines or ()]
