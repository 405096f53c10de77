"""The Retriever deployment by its handle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deployments.micro_batches import MicroBatches
from deployments.remote.handle import Remote

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deployments import types
    from deployments.errors import ServiceError
    from deployments.filters import Filter
    from deployments.remote.handle import Handle

_SHORT_CHUNKS = 24  # of short documents, in a call: half of those that are ingested at once
_CALLS_AT_ONCE = 2  # one is at work while the next one is on its way


class RemoteRetriever(Remote):
    """Calls of the Retriever deployment."""

    _abandonable = frozenset({"search", "embedded"})
    _large = frozenset({"add_embedded", "embedded"})
    _methods = (
        "add",
        "add_embedded",
        "embedded",
        "replace_chunks",
        "publish",
        "publish_many",
        "discard",
        "apply_attributes",
        "search",
        "content",
        "documents",
        "document",
        "delete",
        "collections",
        "drop",
        "unmoved_collections",
        "move_collections",
        "purge",
        "index_models",
        "copy",
        "empty",
        "indexes",
        "inventory",
        "backup",
    )

    def __init__(self, handle: Handle, name: str) -> None:
        super().__init__(handle, name)
        self._short = MicroBatches(
            self._publish_many,
            calls_at_once=_CALLS_AT_ONCE,
            most=_SHORT_CHUNKS,
            size=lambda document: len(document[1]),
        )

    async def add(self, document: types.Document, chunks: Sequence[types.Chunk]) -> None:
        await self._repeatable("add", document, chunks)

    async def add_embedded(self, document: types.Document, chunks: types.EmbeddedChunks) -> None:
        await self._repeatable("add_embedded", document, chunks)

    async def replace_chunks(
        self, document: types.Document, chunks: Sequence[types.Chunk]
    ) -> float:
        idle_s: float = await self._repeatable("replace_chunks", document, chunks)
        return idle_s

    async def publish(self, document: types.Document, chunks: Sequence[types.Chunk] = ()) -> None:
        if not chunks:
            await self._repeatable("publish", document)
        elif error := await self._short.result((document, chunks)):
            raise error

    async def discard(self, collection: str, document_id: str, versions: Sequence[int]) -> None:
        await self._repeatable("discard", collection, document_id, versions)

    async def _publish_many(
        self, documents: Sequence[tuple[types.Document, Sequence[types.Chunk]]]
    ) -> Sequence[ServiceError | None]:
        errors: list[ServiceError | None] = await self._repeatable("publish_many", documents)
        return errors

    async def apply_attributes(self, collection: str, document_id: str) -> None:
        await self._repeatable("apply_attributes", collection, document_id)

    async def search(  # noqa: PLR0913 - a question and its bounds
        self,
        queries: Sequence[str],
        collections: str | Sequence[str],
        limit: int,
        max_chars: int,
        filters: Filter | None = None,
        *,
        by_document: bool = False,
    ) -> list[types.Passage]:
        # A replica of an earlier version, which is being replaced, may know neither.
        optional: tuple[Any, ...] = () if filters is None else (filters,)
        if by_document:
            optional = (filters, by_document)
        passages: list[types.Passage] = await self._repeatable(
            "search", queries, collections, limit, max_chars, *optional
        )
        return passages

    async def content(self, document: types.Document, first: int, limit: int) -> list[types.Chunk]:
        chunks: list[types.Chunk] = await self._repeatable("content", document, first, limit)
        return chunks

    async def embedded(
        self, document: types.Document, first: int, limit: int
    ) -> types.EmbeddedChunks:
        chunks: types.EmbeddedChunks = await self._repeatable("embedded", document, first, limit)
        return chunks

    async def documents(self, collection: str, limit: int, after: str | None) -> types.DocumentList:
        listed: types.DocumentList = await self._repeatable("documents", collection, limit, after)
        return listed

    async def document(self, collection: str, document_id: str, version: int) -> types.Document:
        found: types.Document = await self._repeatable("document", collection, document_id, version)
        return found

    async def unmoved_collections(self) -> list[str]:
        names: list[str] = await self._updated(self._repeatable, "unmoved_collections")
        return names

    async def move_collections(self) -> int:
        moved: int = await self._updated(self._repeatable, "move_collections")
        return moved

    async def delete(self, collection: str, document_id: str) -> bool:
        removed: bool = await self._repeatable("delete", collection, document_id)
        return removed

    async def collections(self) -> list[str]:
        names: list[str] = await self._repeatable("collections")
        return names

    async def drop(self, collection: str) -> bool:
        removed: bool = await self._repeatable("drop", collection)
        return removed

    async def indexes(self) -> list[types.StoredIndex]:
        indexes: list[types.StoredIndex] = await self._repeatable("indexes")
        return indexes

    async def inventory(
        self,
        index: str,
        limit: int,
        after: str | None = None,
        document: tuple[str, str] | None = None,
    ) -> list[types.StoredPoint]:
        listed: list[types.StoredPoint] = await self._repeatable(
            "inventory", index, limit, after, document
        )
        return listed

    async def purge(self, age_s: float) -> bool:
        purged: bool = await self._repeatable("purge", age_s)
        return purged

    async def index_models(self) -> dict[str, str]:
        models: dict[str, str] = await self._repeatable("index_models")
        return models

    async def copy(
        self, document: types.Document, first: int, limit: int, *, only_second: bool = False
    ) -> types.CopiedChunks:
        copied: types.CopiedChunks = await self._call("copy", document, first, limit, only_second)
        return copied

    async def empty(self, collection: str, index_name: str) -> None:
        await self._repeatable("empty", collection, index_name)

    async def backup(self, name: str) -> bool:
        made: bool = await self._repeatable("backup", name)
        return made
