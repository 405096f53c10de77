"""The catalogue of one owner, by the names of collections that the owner knows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from deployments.catalogue.entries import EntryPage
from deployments.catalogue.owned_responses import (
    OwnedBackgroundResponses,
    OwnedConversations,
    OwnedResponses,
)
from deployments.catalogue.removals import Removal
from deployments.collection_names import full_name
from deployments.kept_files import kept_path

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from deployments.catalogue.attribute_changes import AttributeChange, AttributeChanges
    from deployments.catalogue.batches import Batches
    from deployments.catalogue.catalogue import Catalogue
    from deployments.catalogue.collections import Collections
    from deployments.catalogue.documents import Documents
    from deployments.catalogue.entries import (
        BatchEntry,
        CollectionEntry,
        CollectionIndex,
        DocumentEntry,
        DocumentStatus,
        ErasureEntry,
        Expiry,
        FileEntry,
        PageQuery,
        Upload,
        VersionEntry,
    )
    from deployments.catalogue.erasures import Erasures
    from deployments.catalogue.files import Files
    from deployments.catalogue.new_batches import NewBatch
    from deployments.catalogue.removals import Removals
    from deployments.catalogue.versions import Versions
    from deployments.filters import Attributes
    from deployments.types import Document


class OwnedCatalogue:
    """The catalogue of one owner."""

    def __init__(self, catalogue: Catalogue, owner: str) -> None:
        self.collections = OwnedCollections(catalogue.collections, owner)
        self.documents = OwnedDocuments(catalogue.documents, owner)
        self.versions = OwnedVersions(catalogue.versions, owner)
        self.files = OwnedFiles(catalogue.files, catalogue.removals, owner)
        self.batches = OwnedBatches(catalogue.batches, owner)
        self.erasures = OwnedErasures(catalogue.erasures, owner)
        self.responses = OwnedResponses(catalogue.responses, owner)
        self.background_responses = OwnedBackgroundResponses(catalogue.background_responses, owner)
        self.conversations = OwnedConversations(catalogue.conversations, owner)
        self._removals = catalogue.removals
        self.attribute_changes = OwnedAttributeChanges(catalogue.attribute_changes, owner)
        self._prefix = full_name(owner, "")

    def full_name(self, collection: str) -> str:
        """Return the full name of a collection."""
        return self._prefix + collection

    async def contents_are_held(self) -> bool:
        """Return whether a backup holds contents: Jobs deletes those that were removed later."""
        return await self._removals.held()

    async def removed(self, collection: str, document_id: str | None = None) -> None:
        """Forget a removal: the vectors of the document, or of the collection, are deleted."""
        await self._removals.done(Removal(self._prefix + collection, document_id))


class OwnedCollections:
    """The collections of one owner, by the names that the owner knows."""

    def __init__(self, collections: Collections, owner: str) -> None:
        self._collections = collections
        self._owner = owner
        self._prefix = full_name(owner, "")

    async def add(self, entry: CollectionEntry) -> None:
        await self._collections.add(replace(entry, id=self._prefix + entry.id))

    async def get(self, collection: str) -> CollectionEntry:
        return self._shown(await self._collections.get(self._prefix + collection))

    async def index(self, collection: str) -> CollectionIndex:
        return await self._collections.index(self._prefix + collection)

    async def page(self, query: PageQuery) -> EntryPage[CollectionEntry]:
        after = None if query.after is None else self._prefix + query.after
        page = await self._collections.page(self._owner, replace(query, after=after))
        return EntryPage(tuple(map(self._shown, page.entries)), page.more)

    async def change(
        self,
        collection: str,
        name: str | None,
        metadata: Mapping[str, str] | None,
        expiry: Expiry | None = None,
    ) -> CollectionEntry:
        entry = await self._collections.change(self._prefix + collection, name, metadata, expiry)
        return self._shown(entry)

    async def remove(self, collection: str) -> bool:
        return await self._collections.remove(self._prefix + collection)

    def _shown(self, entry: CollectionEntry) -> CollectionEntry:
        return replace(entry, id=entry.id.removeprefix(self._prefix))


class OwnedDocuments:
    """The documents of one owner."""

    def __init__(self, documents: Documents, owner: str) -> None:
        self._documents = documents
        self._owner = owner
        self._prefix = full_name(owner, "")

    async def get(self, collection: str, document_id: str) -> DocumentEntry:
        return self._shown(await self._documents.get(self._prefix + collection, document_id))

    async def page(
        self, collection: str, query: PageQuery, status: DocumentStatus | None = None
    ) -> EntryPage[DocumentEntry]:
        page = await self._documents.page(self._prefix + collection, query, status)
        return EntryPage(tuple(map(self._shown, page.entries)), page.more)

    async def rename(self, collection: str, document_id: str, name: str) -> DocumentEntry:
        entry = await self._documents.rename(self._prefix + collection, document_id, name)
        return self._shown(entry)

    async def set_attributes(
        self, collection: str, document_id: str, attributes: Attributes
    ) -> DocumentEntry:
        name = self._prefix + collection
        return self._shown(await self._documents.set_attributes(name, document_id, attributes))

    async def collections_of(self, document_id: str) -> list[str]:
        names = await self._documents.collections_of(self._owner, document_id)
        return [name.removeprefix(self._prefix) for name in names]

    async def remove(self, collection: str, document_id: str) -> bool:
        return await self._documents.remove(self._prefix + collection, document_id)

    def _shown(self, entry: DocumentEntry) -> DocumentEntry:
        return replace(entry, document=_shown(entry.document, self._prefix))


class OwnedVersions:
    """The versions of documents of one owner."""

    def __init__(self, versions: Versions, owner: str) -> None:
        self._versions = versions
        self._owner = owner
        self._prefix = full_name(owner, "")

    async def add_failed(self, upload: Upload, error_code: str, error_message: str) -> None:
        owned = replace(upload, collection=self._prefix + upload.collection, author=self._owner)
        await self._versions.add_failed(owned, error_code, error_message)

    async def page(
        self, collection: str, document_id: str, query: PageQuery
    ) -> EntryPage[VersionEntry]:
        page = await self._versions.page(self._prefix + collection, document_id, query)
        return EntryPage(tuple(map(self._shown, page.entries)), page.more)

    async def to_restore(
        self, collection: str, document_id: str, number: int | None
    ) -> VersionEntry:
        entry = await self._versions.to_restore(self._prefix + collection, document_id, number)
        return self._shown(entry)

    async def in_progress(
        self, collection: str, document_id: str | None = None
    ) -> list[VersionEntry]:
        found = await self._versions.in_progress(self._prefix + collection, document_id)
        return list(map(self._shown, found))

    def _shown(self, entry: VersionEntry) -> VersionEntry:
        return replace(entry, document=_shown(entry.document, self._prefix))


class OwnedAttributeChanges:
    """The changes of attributes of one owner."""

    def __init__(self, changes: AttributeChanges, owner: str) -> None:
        self._changes = changes
        self._prefix = full_name(owner, "")

    async def of_document(self, collection: str, document_id: str) -> list[AttributeChange]:
        return await self._changes.of_document(self._prefix + collection, document_id)

    async def done(self, changes: Sequence[AttributeChange]) -> None:
        await self._changes.done(changes)


class OwnedFiles:
    """The files of one owner."""

    def __init__(self, files: Files, removals: Removals, owner: str) -> None:
        self._files = files
        self._removals = removals
        self._owner = owner

    async def add(self, file: FileEntry) -> None:
        await self._files.add(self._owner, file)

    async def check_quota(self, size_bytes: int) -> None:
        await self._files.check_quota(self._owner, size_bytes)

    async def get(self, file_id: str) -> FileEntry:
        return await self._files.get(self._owner, file_id)

    async def page(self, query: PageQuery, purpose: str | None = None) -> EntryPage[FileEntry]:
        return await self._files.page(self._owner, query, purpose)

    async def remove(self, file_id: str) -> bool:
        return await self._files.remove(self._owner, file_id)

    async def content_is_held(self, file_id: str) -> bool:
        """Return whether a backup holds the content of a removed file: Jobs deletes it later."""
        return await self._removals.deferred(self._removal(file_id))

    async def content_removed(self, file_id: str) -> None:
        await self._removals.done(self._removal(file_id))

    def _removal(self, file_id: str) -> Removal:
        return Removal.of_path(kept_path(self._owner, file_id))


class OwnedBatches:
    """The file batches of one owner."""

    def __init__(self, batches: Batches, owner: str) -> None:
        self._batches = batches
        self._prefix = full_name(owner, "")

    async def add(self, batch: NewBatch) -> None:
        await self._batches.add(replace(batch, collection=self._prefix + batch.collection))

    async def get(self, collection: str, batch_id: str) -> BatchEntry:
        entry = await self._batches.get(self._prefix + collection, batch_id)
        return replace(entry, collection=collection)

    async def files(
        self, collection: str, batch_id: str, query: PageQuery, status: DocumentStatus | None
    ) -> EntryPage[DocumentEntry]:
        page = await self._batches.files(self._prefix + collection, batch_id, query, status)
        entries = (
            replace(entry, document=_shown(entry.document, self._prefix)) for entry in page.entries
        )
        return EntryPage(tuple(entries), page.more)

    async def cancel(self, collection: str, batch_id: str) -> list[str]:
        return await self._batches.cancel(self._prefix + collection, batch_id)

    async def waiting_file(self, collection: str, document_id: str) -> DocumentEntry | None:
        entry = await self._batches.waiting_file(self._prefix + collection, document_id)
        return entry and replace(entry, document=_shown(entry.document, self._prefix))

    async def cancel_file(self, collection: str, document_id: str) -> bool:
        return await self._batches.cancel_file(self._prefix + collection, document_id)

    async def set_attributes(
        self, collection: str, document_id: str, attributes: Attributes
    ) -> bool:
        name = self._prefix + collection
        return await self._batches.set_attributes(name, document_id, attributes)


class OwnedErasures:
    """The erasures of one owner."""

    def __init__(self, erasures: Erasures, owner: str) -> None:
        self._erasures = erasures
        self._prefix = full_name(owner, "")
        self.owner = owner

    async def request_document(self, collection: str, document_id: str) -> ErasureEntry:
        name = self._prefix + collection
        return self._shown(await self._erasures.request(self.owner, name, document_id))

    async def request_everything(self) -> ErasureEntry:
        return await self._erasures.request(self.owner)

    async def get(self, erasure_id: str) -> ErasureEntry:
        return self._shown(await self._erasures.get(self.owner, erasure_id))

    def _shown(self, entry: ErasureEntry) -> ErasureEntry:
        if entry.collection is None:
            return entry
        return replace(entry, collection=entry.collection.removeprefix(self._prefix))


def _shown(document: Document, prefix: str) -> Document:
    return replace(document, collection=document.collection.removeprefix(prefix))
