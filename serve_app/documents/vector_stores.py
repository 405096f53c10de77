"""Vector stores as OpenAI has them: collections with a name to show."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from typing import TYPE_CHECKING

from deployments.catalogue.entries import CollectionEntry
from deployments.errors import NotFound
from deployments.serving.request_context import detached
from deployments.types import VECTOR_STORE_PREFIX
from serve_app.documents.attachments import unknown_store

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from deployments.catalogue.entries import EntryPage, Expiry, PageQuery
    from deployments.catalogue.owned import OwnedCatalogue
    from deployments.file_store import FileStore
    from deployments.types import Chunking
    from serve_app.documents.attachments import Attachments
    from serve_app.documents.documents import Documents
    from serve_app.documents.files import KeptFiles
    from serve_app.services import Services


class VectorStores:
    """The vector stores of one owner; `notes` is the folder in which version 0.1 noted them.

    Ids begin with the time, so their order is that of creation.
    """

    def __init__(  # noqa: PLR0913 - one parameter per collaborator
        self,
        services: Services,
        catalogue: OwnedCatalogue,
        *,
        documents: Documents,
        attachments: Attachments,
        kept: KeptFiles,
        files: FileStore,
        notes: str,
    ) -> None:
        self._retriever = services.retriever
        self._catalogue = catalogue
        self._documents = documents
        self._attachments = attachments
        self._kept = kept
        self._files = files
        self._notes = notes

    async def create(
        self,
        name: str,
        metadata: Mapping[str, str],
        file_ids: Sequence[str],
        chunking: Chunking | None = None,
        expires_days: int | None = None,
    ) -> CollectionEntry:
        """Create a vector store with files; raises NotFound for a file that does not exist.

        If anything fails, nothing of it is left.
        """
        await asyncio.gather(*map(self._kept.file, file_ids))
        now_ms = time.time_ns() // 1_000_000
        store_id = f"{VECTOR_STORE_PREFIX}{now_ms:012x}{secrets.token_hex(6)}"
        try:
            await self._catalogue.collections.add(
                CollectionEntry(store_id, name, now_ms // 1000, metadata, expires_days=expires_days)
            )
            for file_id in dict.fromkeys(file_ids):
                await self._attachments.add(store_id, file_id, chunking=chunking)
            return await self.get(store_id)
        except BaseException:
            with contextlib.suppress(Exception):
                await self.delete(store_id)
            raise

    async def change(
        self,
        store_id: str,
        name: str | None,
        metadata: Mapping[str, str] | None,
        expiry: Expiry | None = None,
    ) -> CollectionEntry:
        """Give a vector store another name, other metadata or another expiry.

        Raises NotFound, and InvalidRequest for an expiry of another collection.
        """
        try:
            return await self._catalogue.collections.change(store_id, name, metadata, expiry)
        except NotFound:
            raise unknown_store() from None

    async def get(self, store_id: str) -> CollectionEntry:
        """Find a vector store; raises NotFound."""
        try:
            return await self._catalogue.collections.get(store_id)
        except NotFound:
            raise unknown_store() from None

    async def stores(self, query: PageQuery) -> EntryPage[CollectionEntry]:
        """List vector stores; the collections that an upload created count as older ones."""
        return await self._catalogue.collections.page(query)

    async def delete(self, store_id: str) -> None:
        """Delete a vector store and all that is in it, but not the files; raises NotFound."""
        await self.get(store_id)
        await asyncio.shield(detached(self._delete(store_id)))

    async def _delete(self, store_id: str) -> None:
        await self._documents.cancel(store_id)
        await self._catalogue.collections.remove(store_id)
        await self._retriever.drop(store_id)
        await self._documents.delete_contents(store_id)
        await self._catalogue.removed(store_id)
        await self._files.delete(f"{self._notes}/{store_id}")
