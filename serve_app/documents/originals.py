"""Originals of documents: the files as they were uploaded, for a browser to show."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from deployments.catalogue.entries import PageQuery
from deployments.contents import content_path
from deployments.errors import NotFound
from deployments.kept_files import file_id_of
from deployments.media_types import Format

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from deployments.catalogue.owned import OwnedCatalogue
    from deployments.file_store import FileStore
    from deployments.types import Document
    from serve_app.documents.documents import Documents
    from serve_app.documents.files import KeptFiles

_HEAD_BYTES: Final = 64 * 1024  # to tell the encoding of a text
_SHOWN_AS_THEMSELVES: Final = frozenset((Format.PDF, Format.PNG, Format.JPEG, Format.WEBP))
_SHOWN_AS_TEXT: Final = frozenset(
    (
        *(Format.TEXT, Format.MARKDOWN, Format.CSV, Format.TSV, Format.JSON, Format.JSONL),
        *(Format.NOTEBOOK, Format.CODE, Format.LOG, Format.SUBTITLES, Format.XML),
    )
)
_TEXT: Final = "text/plain"
_OTHER: Final = "application/octet-stream"
MEDIA_TYPES: Final = (_OTHER, *sorted(_SHOWN_AS_THEMSELVES), _TEXT)
"""The media types of originals in responses."""


@dataclass(frozen=True, slots=True)
class Original:
    """A file, served as one of MEDIA_TYPES; browsers may show it if it is `shown`."""

    filename: str
    media_type: str
    pieces: AsyncGenerator[bytes, None]

    @property
    def shown(self) -> bool:
        return self.media_type != _OTHER


class Originals:
    """The originals of the documents of one owner."""

    def __init__(
        self, catalogue: OwnedCatalogue, documents: Documents, files: FileStore, kept: KeptFiles
    ) -> None:
        self._catalogue = catalogue
        self._documents = documents
        self._files = files
        self._kept = kept

    async def open(self, collection: str, document_id: str, version: int | None) -> Original:
        """Open the original of a version, by default of the current one.

        Raises NotFound for the document or its version, and with the code `content_not_kept` if the
        original is not kept any more.
        """
        document = await self._documents.get(collection, document_id)
        if version not in {None, document.version}:
            document = await self._version(document, int(version or 0))
        path = content_path(self._catalogue.full_name(collection), document_id, document.version)
        try:
            head = await self._files.get(path, _HEAD_BYTES)
            pieces = self._files.blocks(path)
        except NotFound:
            head, pieces = await self._attached(document)
        return Original(document.filename, _served_as(document.media_type, head), pieces)

    async def _attached(self, document: Document) -> tuple[bytes, AsyncGenerator[bytes, None]]:
        """Return the beginning and the pieces of the kept file that was attached."""
        file_id = file_id_of(document.id)
        try:
            return await self._kept.head(file_id, _HEAD_BYTES), self._kept.content(file_id)
        except NotFound:
            msg = f"the original of version {document.version} is not kept any more"
            raise NotFound(msg, code="content_not_kept", param="version") from None

    async def _version(self, document: Document, number: int) -> Document:
        query = PageQuery(1, str(number - 1))
        page = await self._catalogue.versions.page(document.collection, document.id, query)
        if not page.entries or page.entries[0].document.version != number:
            msg = "there is no such version"
            raise NotFound(msg, param="version")
        return page.entries[0].document


def _served_as(media_type: str, head: bytes) -> str:
    if media_type in _SHOWN_AS_THEMSELVES:
        return media_type
    if media_type not in _SHOWN_AS_TEXT:
        return _OTHER
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # the last character may be cut
    except UnicodeDecodeError:
        return _TEXT  # browsers recognise the encoding
    return f"{_TEXT}; charset=utf-8"
