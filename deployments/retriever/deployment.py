"""The Retriever deployment: documents in Qdrant, embedded or on a server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from ray import serve

from deployments.catalogue.opening import open_catalogue
from deployments.errors import ServiceError
from deployments.observability.logs import log_to_serve
from deployments.observability.metrics import CHUNKS, DOCUMENTS, export_metrics
from deployments.remote.embedder import RemoteEmbedder
from deployments.retriever.document_retriever import DocumentRetriever
from deployments.retriever.opening import open_store
from deployments.serving.memory import keep_loaded, trim_regularly
from deployments.serving.private_files import keep_files_private
from deployments.settings import Secrets, database_url

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ray.serve.handle import DeploymentHandle

    from deployments.filters import Filter
    from deployments.settings import RetrieverSettings
    from deployments.types import (
        Chunk,
        CopiedChunks,
        Document,
        DocumentList,
        EmbeddedChunks,
        Passage,
        StoredIndex,
        StoredPoint,
    )


@serve.deployment(name="Retriever", max_ongoing_requests=64, max_queued_requests=128)
class Retriever:
    """Its environment may hold QDRANT_API_KEY, for a server."""

    def __init__(  # noqa: PLR0913, PLR0917 - one parameter per collaborator
        self,
        settings: RetrieverSettings,
        data_dir: str,
        chunker_version: int,
        database: str,
        embedder: DeploymentHandle[Any],
        next_embedder: DeploymentHandle[Any] | None = None,
    ) -> None:
        log_to_serve()
        keep_files_private(data_dir)
        export_metrics()
        self._catalogue = open_catalogue(database_url(database, Secrets()))
        self._retriever = DocumentRetriever(
            open_store(settings, data_dir, chunker_version),
            RemoteEmbedder(embedder, "embedder"),
            settings,
            versions=self._catalogue.documents.current,
            collections=self._catalogue.collections,
            attributes=self._catalogue.documents.attributes,
            pairs=self._catalogue.model_changes,
            next_embedder=_remote(next_embedder),
            removals=self._catalogue.removals,
        )
        keep_loaded()
        trim_regularly()

    async def add(self, document: Document, chunks: Sequence[Chunk]) -> None:
        await self._retriever.add(document, chunks)
        CHUNKS.add(len(chunks))

    async def replace_chunks(self, document: Document, chunks: Sequence[Chunk]) -> float:
        idle_s = await self._retriever.replace_chunks(document, chunks)
        CHUNKS.add(len(chunks))
        return idle_s

    async def add_embedded(self, document: Document, chunks: EmbeddedChunks) -> None:
        await self._retriever.add_embedded(document, chunks)
        CHUNKS.add(len(chunks.chunks))

    async def publish(self, document: Document, chunks: Sequence[Chunk] = ()) -> None:
        await self._retriever.publish(document, chunks)
        CHUNKS.add(len(chunks))
        DOCUMENTS.add(event="published")

    async def discard(self, collection: str, document_id: str, versions: Sequence[int]) -> None:
        await self._retriever.discard(collection, document_id, versions)

    async def apply_attributes(self, collection: str, document_id: str) -> None:
        await self._retriever.apply_attributes(collection, document_id)

    async def publish_many(
        self, documents: Sequence[tuple[Document, Sequence[Chunk]]]
    ) -> list[ServiceError | None]:
        """Publish documents with their chunks; return the error of each that failed, else None."""

        async def error_of(document: Document, chunks: Sequence[Chunk]) -> ServiceError | None:
            try:
                await self.publish(document, chunks)
            except ServiceError as error:
                return error
            return None

        return await asyncio.gather(*(error_of(*one) for one in documents))

    async def search(  # noqa: PLR0913, PLR0917 - of a handle
        self,
        queries: Sequence[str],
        collections: str | Sequence[str],
        limit: int,
        max_chars: int,
        filters: Filter | None = None,
        by_document: bool = False,  # noqa: FBT001, FBT002 - of a handle
    ) -> list[Passage]:
        return await self._retriever.search(
            queries, collections, limit, max_chars, filters, by_document=by_document
        )

    async def content(self, document: Document, first: int, limit: int) -> list[Chunk]:
        return await self._retriever.content(document, first, limit)

    async def embedded(self, document: Document, first: int, limit: int) -> EmbeddedChunks:
        return await self._retriever.embedded(document, first, limit)

    async def documents(self, collection: str, limit: int, after: str | None) -> DocumentList:
        return await self._retriever.documents(collection, limit, after)

    async def document(self, collection: str, document_id: str, version: int) -> Document:
        return await self._retriever.document(collection, document_id, version)

    async def delete(self, collection: str, document_id: str) -> bool:
        removed = await self._retriever.delete(collection, document_id)
        if removed:
            DOCUMENTS.add(event="deleted")
        return removed

    async def collections(self) -> list[str]:
        return await self._retriever.collections()

    async def unmoved_collections(self) -> list[str]:
        return await self._retriever.unmoved_collections()

    async def move_collections(self) -> int:
        return await self._retriever.move_collections()

    async def drop(self, collection: str) -> bool:
        return await self._retriever.drop(collection)

    async def index_models(self) -> dict[str, str]:
        return await self._retriever.index_models()

    async def copy(
        self,
        document: Document,
        first: int,
        limit: int,
        only_second: bool,  # noqa: FBT001 - of a handle
    ) -> CopiedChunks:
        return await self._retriever.copy(document, first, limit, only_second=only_second)

    async def empty(self, collection: str, index_name: str) -> None:
        await self._retriever.empty(collection, index_name)

    async def indexes(self) -> list[StoredIndex]:
        return await self._retriever.indexes()

    async def inventory(
        self,
        index: str,
        limit: int,
        after: str | None = None,
        document: tuple[str, str] | None = None,
    ) -> list[StoredPoint]:
        return await self._retriever.inventory(index, limit, after, document)

    async def purge(self, age_s: float) -> bool:
        return await self._retriever.purge(age_s)

    async def backup(self, name: str) -> bool:
        return await self._retriever.backup(name)

    async def check_health(self) -> None:
        """Well while it answers: a server that is away is not cured by a new replica."""

    async def __del__(self) -> None:
        if hasattr(self, "_retriever"):
            await self._retriever.close()
            await asyncio.to_thread(self._catalogue.close)


def _remote(embedder: DeploymentHandle[Any] | None) -> RemoteEmbedder | None:
    return None if embedder is None else RemoteEmbedder(embedder, "embedder of the next model")
