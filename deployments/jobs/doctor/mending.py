"""Mending: what the doctor does about a finding; each may be repeated, beside running traffic."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loguru import logger

from deployments.catalogue.entries import VersionStatus
from deployments.catalogue.removals import Removal, removal_of
from deployments.collection_names import owner_of
from deployments.contents import contents_folder, path_and_start
from deployments.errors import ServiceError
from deployments.jobs.doctor.findings import ABOUT
from deployments.jobs.doctor.tallies import versions_of
from deployments.jobs.reconciliation import INTERRUPTED, carry_out, reconcile_version
from deployments.types import DamageKind, IngestSpec

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from deployments.catalogue.catalogue import Catalogue
    from deployments.catalogue.entries import VersionEntry
    from deployments.catalogue.inspection import KnownDocument
    from deployments.file_store import FileStore
    from deployments.jobs.doctor.findings import Finding
    from deployments.jobs.reconciliation import Backend
    from deployments.types import Document, Submitted

    Submit = Callable[[IngestSpec, str | None], Awaitable[Submitted]]


VECTORS_LOST = "vectors_lost"
"""Code of the error of a version whose vectors were lost, and whose content is not kept."""
_LOST_MESSAGE = "the document was damaged and its content is not kept: upload the file again"


class NeedsService(Exception):
    """Raised where only a running service can mend something."""


class Mender:
    """Mends findings; without `submit`, no service runs, and nothing can be embedded."""

    def __init__(
        self, catalogue: Catalogue, retriever: Backend, files: FileStore, submit: Submit | None
    ) -> None:
        self._catalogue = catalogue
        self._retriever = retriever
        self._files = files
        self._submit = submit
        self._mends = {
            DamageKind.NO_VECTORS: self._ingest_again,
            DamageKind.CHUNKS_MISSING: self._ingest_again,
            DamageKind.HIDDEN_CHUNKS: self._discard,
            DamageKind.OLD_VECTORS: self._discard,
            DamageKind.UNKNOWN_DOCUMENT: self._remove_document,
            DamageKind.UNKNOWN_COLLECTION: self._remove_collection,
            DamageKind.ATTRIBUTES_DIFFER: self._write_attributes,
            DamageKind.VERSION_LOST: self._end_version,
            DamageKind.UNKNOWN_FILE: self._delete_file,
            DamageKind.COUNTS_WRONG: self._recount,
            DamageKind.USAGE_WRONG: self._recount_usage,
            DamageKind.LEFT_WAITING: self._carry_out,
        }

    async def mend(self, finding: Finding) -> bool | None:
        """Mend a finding; return whether that was done, None if it cannot be.

        A document that is ingested again counts as mended once its job is submitted. While a
        backup is taken, nothing is mended.
        """
        mend = self._mends.get(finding.kind)
        if mend is None or not ABOUT[finding.kind].mendable:
            return None
        try:
            return not await self._catalogue.removals.held() and await mend(finding)
        except NeedsService:
            return False
        except ServiceError as error:
            logger.warning("{} of {} is not mended: {}", finding.kind, finding.subject, error)
            return False

    async def _ingest_again(self, finding: Finding) -> bool:
        document = await self._document(finding)
        version = document.current if document else None
        if document is None or version is None:
            return True  # removed or replaced meanwhile
        published, all_known = await self._published(version.document)
        whole = [name for name, chunks in published.items() if chunks >= version.document.chunks]
        if await self._catalogue.mending.correct_pair(version.document, whole):
            return True
        spec = await self._spec(document, version)
        if spec is None:
            if published or not all_known:
                return False  # a part of it is better than nothing
            if await self._catalogue.mending.fail(version.document, VECTORS_LOST, _LOST_MESSAGE):
                number = version.document.version
                await self._retriever.discard(document.collection, document.id, [number])
            return True
        if self._submit is None:
            raise NeedsService
        submitted = await self._submit(spec, None)
        return not submitted.job.ended

    async def _published(self, document: Document) -> tuple[dict[str, int], bool]:
        """Count the published chunks of a version in each index that has any.

        Also return whether all indexes could be read.
        """
        indexes = await self._retriever.indexes()
        readable = [index.name for index in indexes if index.readable]
        stored = await versions_of(self._retriever, readable, document.collection, document.id)
        published = {
            index: tally.published
            for (index, number), tally in stored.items()
            if number == document.version and tally.published
        }
        return published, len(readable) == len(indexes)

    async def _spec(self, document: KnownDocument, version: VersionEntry) -> IngestSpec | None:
        """Return the job that ingests a version again; None if its content is not kept."""
        collection, owner = document.collection, owner_of(document.collection)
        described = version.document
        path, start_byte = path_and_start(described, named=document.named)
        stored = await self._files.infos([path])
        if not stored or stored[0].size_bytes != described.size_bytes + start_byte:
            return None
        return IngestSpec(
            document.id,
            collection,
            described.filename,
            described.size_bytes,
            path,
            owner,
            version.digest,
            start_byte=start_byte,
            borrowed=True,
            chunking=version.chunking,
            restored_from=described.version,
        )

    async def _discard(self, finding: Finding) -> bool:
        """Drop the vectors of a version that has ended, or hidden ones of the current version."""
        document = await self._document(finding)
        if document is None:
            return True
        of = {one.document.version: one for one in document.versions}
        version = of.get(finding.version)
        if version is not None and version.status is VersionStatus.IN_PROGRESS:
            return True  # a new one, of a job
        if version is not None and version.status is VersionStatus.COMPLETED:
            if self._submit is None:
                raise NeedsService
            await self._retriever.publish(version.document)  # which drops other editions
        else:
            await self._retriever.discard(document.collection, document.id, [finding.version])
        return True

    async def _remove_document(self, finding: Finding) -> bool:
        return await self._remove(Removal(finding.collection, finding.document_id))

    async def _remove_collection(self, finding: Finding) -> bool:
        return await self._remove(Removal(finding.collection))

    async def _remove(self, removal: Removal) -> bool:
        """Remove what the catalogue does not know, as a deletion removes it."""
        mending = self._catalogue.mending
        if await mending.begin_removal(removal.collection, removal.document_id):
            await carry_out(removal, self._catalogue, self._retriever, self._files)
        return True

    async def _write_attributes(self, finding: Finding) -> bool:
        await self._retriever.apply_attributes(finding.collection, finding.document_id)
        return True

    async def _end_version(self, finding: Finding) -> bool:
        document = await self._document(finding)
        for version in document.versions if document else ():
            if version.document.version != finding.version:
                continue
            if document is None or not document.indexes:  # nothing has been stored there
                settle = self._catalogue.versions.settle
                await settle(version.document, VersionStatus.FAILED, *INTERRUPTED)
            else:
                await reconcile_version(version.document, None, self._catalogue, self._retriever)
        return True

    async def _delete_file(self, finding: Finding) -> bool:
        collection, document_id = finding.collection, finding.document_id
        if document_id and finding.path == contents_folder(collection, document_id):
            return await self._remove_document(finding)
        await self._files.delete(finding.path)
        return True

    async def _recount(self, finding: Finding) -> bool:
        await self._catalogue.mending.recount(finding.collection)
        return True

    async def _recount_usage(self, finding: Finding) -> bool:
        await self._catalogue.mending.recount_usage(finding.owner)
        return True

    async def _carry_out(self, finding: Finding) -> bool:
        """Carry out a removal, or a change of attributes."""
        if finding.detail == "removal":
            removal = removal_of(finding.collection, finding.document_id)
            if not await self._catalogue.removals.begin(removal):
                return False
            await carry_out(removal, self._catalogue, self._retriever, self._files)
            return True
        if finding.detail == "attribute change":
            await self._write_attributes(finding)
            changes = self._catalogue.attribute_changes
            await changes.done(await changes.of_document(finding.collection, finding.document_id))
            return True
        return False  # an erasure

    async def _document(self, finding: Finding) -> KnownDocument | None:
        return await self._catalogue.inspection.document(finding.collection, finding.document_id)
