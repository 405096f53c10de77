"""The text of a file in a vector store, as it was read: streamed, some chunks at a time."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from deployments.catalogue.entries import DocumentStatus
from deployments.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from deployments.catalogue.entries import DocumentEntry
    from deployments.interfaces import Retriever
    from deployments.types import Chunk, Document

_CHUNKS_AT_ONCE = 64


class FileContents:
    """The contents of the files of one owner."""

    def __init__(self, retriever: Retriever) -> None:
        self._retriever = retriever

    async def json(self, entry: DocumentEntry) -> AsyncGenerator[str, None]:
        """Return the JSON of a file's content in OpenAI's shape, piece by piece.

        The first chunks are read before this returns. Raises NotFound if the file is not
        searchable.
        """
        document = entry.document
        if entry.status is not DocumentStatus.COMPLETED:
            msg = f"this file cannot be searched: {entry.status.replace('_', ' ')}"
            raise NotFound(msg, param="file_id")
        first = await self._retriever.content(document, 0, _CHUNKS_AT_ONCE)
        return self._pieces(document, first)

    async def _pieces(
        self, document: Document, first: Sequence[Chunk]
    ) -> AsyncGenerator[str, None]:
        yield '{"object":"vector_store.file_content.page","data":[' + _items(first)
        for start in range(_CHUNKS_AT_ONCE, document.chunks, _CHUNKS_AT_ONCE):
            yield "," + _items(await self._retriever.content(document, start, _CHUNKS_AT_ONCE))
        yield '],"has_more":false,"next_page":null}'


def _items(chunks: Sequence[Chunk]) -> str:
    """Return chunks as items of a list; their texts together are that of the document."""
    texts = (
        ("" if chunk.number == 0 else chunk.separator) + chunk.text[chunk.overlap_chars :]
        for chunk in chunks
    )
    return ",".join(json.dumps({"type": "text", "text": text}) for text in texts)
