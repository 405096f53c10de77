"""Kept files attached to vector stores: each is a document there."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from deployments.catalogue.entries import Upload
from deployments.errors import NotFound, TooLarge, Unprocessable, UnsupportedMedia
from deployments.kept_files import document_id_of
from deployments.serving.request_context import detached

if TYPE_CHECKING:
    from deployments.catalogue.entries import DocumentEntry, DocumentStatus, EntryPage, PageQuery
    from deployments.catalogue.owned import OwnedCatalogue
    from deployments.file_store import FileStore
    from deployments.filters import Attributes
    from deployments.types import Chunking
    from serve_app.documents.documents import Documents
    from serve_app.documents.files import KeptFiles
    from serve_app.documents.uploads import Uploads


class Attachments:
    """The attachments of one owner; `notes` is the folder in which version 0.1 noted them."""

    def __init__(  # noqa: PLR0913 - one parameter per collaborator
        self,
        catalogue: OwnedCatalogue,
        documents: Documents,
        *,
        kept: KeptFiles,
        uploads: Uploads,
        files: FileStore,
        notes: str,
    ) -> None:
        self._catalogue = catalogue
        self._documents = documents
        self._kept = kept
        self._uploads = uploads
        self._files = files
        self._notes = notes

    async def add(
        self,
        store_id: str,
        file_id: str,
        attributes: Attributes | None = None,
        chunking: Chunking | None = None,
    ) -> DocumentEntry:
        """Have a kept file made searchable; raises NotFound for the file.

        A file that cannot be read is attached all the same, as one that failed. Without
        `attributes`, one that is attached already keeps its own.
        """
        adding = detached(self._add(store_id, file_id, attributes, chunking))
        try:
            return await asyncio.shield(adding)
        except asyncio.CancelledError:
            # The client has disconnected. Without a job, its upload would never be removed.
            with contextlib.suppress(Exception):
                await adding
            raise

    async def _add(
        self,
        store_id: str,
        file_id: str,
        attributes: Attributes | None,
        chunking: Chunking | None,
    ) -> DocumentEntry:
        file = await self._kept.file(file_id)
        try:
            await self._uploads.accept_kept(
                file, self._kept, store_id, attributes=attributes, chunking=chunking
            )
        except (UnsupportedMedia, Unprocessable, TooLarge) as error:
            upload = Upload(
                store_id,
                file.filename,
                file.size_bytes,
                digest=file.digest,
                job_id=None,
                document_id=document_id_of(file_id),
                attributes=attributes,
                chunking=chunking,
            )
            await self._catalogue.versions.add_failed(upload, error.code, error.message)
        await self._documents.apply_attributes(store_id, document_id_of(file_id))
        return await self.one(store_id, file_id)

    async def one(self, store_id: str, file_id: str) -> DocumentEntry:
        """Find an attachment, also one that waits in a batch; raises NotFound."""
        await self._check_store(store_id)
        document_id = document_id_of(file_id)
        with contextlib.suppress(NotFound):
            return await self._catalogue.documents.get(store_id, document_id)
        if waiting := await self._catalogue.batches.waiting_file(store_id, document_id):
            return waiting
        with contextlib.suppress(NotFound):  # it has just begun
            return await self._catalogue.documents.get(store_id, document_id)
        msg = "there is no such file in this vector store"
        raise NotFound(msg, param="file_id")

    async def set_attributes(
        self, store_id: str, file_id: str, attributes: Attributes
    ) -> DocumentEntry:
        """Replace the attributes of an attachment; raises NotFound."""
        await self.one(store_id, file_id)
        document_id = document_id_of(file_id)
        if await self._catalogue.batches.set_attributes(store_id, document_id, attributes):
            with contextlib.suppress(NotFound):
                return await self._documents.set_attributes(store_id, document_id, attributes)
            return await self.one(store_id, file_id)
        return await self._documents.set_attributes(store_id, document_id, attributes)

    async def page(
        self, store_id: str, query: PageQuery, status: DocumentStatus | None
    ) -> EntryPage[DocumentEntry]:
        """List what was attached to a vector store, and uploaded into it; raises NotFound."""
        await self._check_store(store_id)
        return await self._catalogue.documents.page(store_id, query, status)

    async def remove(self, store_id: str, file_id: str) -> None:
        """Take a file out of a vector store, and of the batches it waits in; raises NotFound."""
        await self.one(store_id, file_id)
        cancelled = await self._catalogue.batches.cancel_file(store_id, document_id_of(file_id))
        try:
            await self._documents.remove(store_id, document_id_of(file_id))
        except NotFound:
            if not cancelled:
                raise
        await self._files.delete(f"{self._notes}/{store_id}/files/{file_id}")

    async def remove_everywhere(self, file_id: str) -> None:
        """Take a file out of all vector stores."""
        for store_id in await self._catalogue.documents.collections_of(document_id_of(file_id)):
            with contextlib.suppress(NotFound):
                await self.remove(store_id, file_id)

    async def _check_store(self, store_id: str) -> None:
        try:
            await self._catalogue.collections.get(store_id)
        except NotFound:
            raise unknown_store() from None


def unknown_store() -> NotFound:
    """Return the error for a vector store that does not exist."""
    msg = "there is no such vector store"
    return NotFound(msg, param="vector_store_id")
