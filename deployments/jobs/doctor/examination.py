"""An examination: the findings of one run, each looked at twice.

What is in progress is not damage. Everything suspicious is therefore looked at again, one by one,
after a while, and with the jobs that are at work by then.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import sqlalchemy as sa

from deployments.collection_names import owner_of
from deployments.contents import contents_folder
from deployments.jobs.doctor.documents import (
    Grace,
    judge_contents,
    judge_vectors,
    kept_contents,
)
from deployments.jobs.doctor.files import DIGEST, Files
from deployments.jobs.doctor.findings import Finding
from deployments.jobs.doctor.tallies import Tallies, take_inventory, versions_of
from deployments.types import DamageKind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Sequence

    from deployments.catalogue.catalogue import Catalogue
    from deployments.catalogue.inspection import KnownDocument
    from deployments.file_store import FileStore
    from deployments.jobs.doctor.tallies import Inventory
    from deployments.jobs.job_rows import JobRows

_SLICE_DOCUMENTS = 200
_SLICE_COLLECTIONS = 20
_MOST_WAITING = 100
_OF_ENDED = (DamageKind.OLD_VECTORS, DamageKind.HIDDEN_CHUNKS)
_RECHECKED_TOGETHER = 500  # so that the pause between two looks is not waited for one by one


class Examination:
    """Looks at everything that all owners have; `rows` are None if there have never been jobs.

    With `thorough`, all kept files are read to compare their digests.
    """

    def __init__(  # noqa: PLR0913 - what it compares
        self,
        catalogue: Catalogue,
        vectors: Inventory,
        files: FileStore,
        rows: JobRows | None,
        *,
        grace: Grace,
        thorough: bool,
    ) -> None:
        self.looked_at: Counter[str] = Counter()
        self._catalogue = catalogue
        self._inspection = catalogue.inspection
        self._vectors = vectors
        self._store = files
        self._rows = rows
        self._grace = grace
        self._thorough = thorough
        self._files = Files(catalogue, files, rows, grace, self.looked_at)
        self._indexes: set[str] = set()
        self._unreadable: set[str] = set()

    async def findings(self) -> AsyncIterator[Finding]:
        """Yield what is wrong; raise a ServiceError if something does not answer."""
        damaged = await self._inspection.integrity()
        for message in damaged:
            yield Finding(DamageKind.DATABASE_DAMAGED, detail=message)
        try:
            async for finding in self._compare():
                yield finding
        except sa.exc.DatabaseError as error:
            if not damaged:
                raise
            detail = f"the comparison ended: {error.orig}"
            yield Finding(DamageKind.DATABASE_DAMAGED, detail=detail)

    async def _compare(self) -> AsyncIterator[Finding]:
        tallies = Tallies()
        async for finding in self._take_inventory(tallies):
            yield finding
        for some in (
            self._known_documents(tallies),
            self._unknown_documents(tallies),
            self._files.findings(thorough=self._thorough),
            self._counts(),
            self._waiting(),
        ):
            async for finding in some:
                yield finding

    async def _take_inventory(self, tallies: Tallies) -> AsyncIterator[Finding]:
        indexes = await self._vectors.indexes()
        self._unreadable = {index.name for index in indexes if not index.readable}
        self._indexes = {index.name for index in indexes} - self._unreadable
        for name in sorted(self._unreadable):
            yield Finding(DamageKind.INDEX_UNREADABLE, path=name)
        for name, collection in (await self._inspection.in_use()).items():
            if name not in self._indexes | self._unreadable:
                yield Finding(DamageKind.INDEX_MISSING, collection=collection, path=name)
        for name in sorted(self._indexes):
            await take_inventory(self._vectors, name, tallies, pause_s=self._grace.pause_s)
        self.looked_at["indexes"] = len(indexes)
        self.looked_at["chunks"] = tallies.points

    async def _known_documents(self, tallies: Tallies) -> AsyncIterator[Finding]:
        """Compare all documents with their vectors and contents."""
        suspects: list[Finding] = []
        after: tuple[str, str] | None = None
        while page := await self._inspection.documents(_SLICE_DOCUMENTS, after):
            after = page[-1].collection, page[-1].id
            self.looked_at["documents"] += len(page)
            active = await self._active(page)
            for document in page:
                stored = tallies.take(document.collection, document.id)
                suspects += judge_vectors(document, stored, active, self._unreadable, self._grace)
            suspects += await self._judge_contents(page, active)
            while len(suspects) >= _RECHECKED_TOGETHER:
                some, suspects = suspects[:_RECHECKED_TOGETHER], suspects[_RECHECKED_TOGETHER:]
                async for finding in self._still(some):
                    yield finding
            await asyncio.sleep(self._grace.pause_s)
        async for finding in self._still(suspects):
            yield finding

    async def _active(self, documents: Sequence[KnownDocument]) -> set[str]:
        """Return the jobs of some documents that have not ended."""
        if self._rows is None:
            return set()
        return await self._rows.unfinished(set().union(*(one.job_ids for one in documents)))

    async def _judge_contents(
        self, documents: Sequence[KnownDocument], active: Collection[str]
    ) -> list[Finding]:
        folders = {contents_folder(one.collection, one.id): one for one in documents}
        listed: dict[str, list[int]] = {folder: [] for folder in folders}
        files = await self._store.stats(list(folders))
        for number, file in enumerate(files):
            listed[file.path.rpartition("/")[0]].append(number)
        found: list[Finding] = []
        for folder, document in folders.items():
            mine = [files[number] for number in listed[folder]]
            self.looked_at["contents"] += len(mine)
            wrong = list(judge_contents(document, mine, active, self._grace))
            found += wrong
            if self._thorough:
                found += await self._judge_digests(document, {one.version for one in wrong}, active)
        return found

    async def _judge_digests(
        self, document: KnownDocument, but: Collection[int], active: Collection[str]
    ) -> list[Finding]:
        if not document.job_ids.isdisjoint(active):
            return []
        return [
            Finding(
                DamageKind.CONTENT_DIFFERS,
                collection=document.collection,
                document_id=document.id,
                version=number,
                path=f"{contents_folder(document.collection, document.id)}/{number}",
                detail=DIGEST,
            )
            for number in kept_contents(document)
            if number not in but and await self._files.differs(document, number)
        ]

    async def _still(self, suspects: Sequence[Finding]) -> AsyncIterator[Finding]:
        """Look again at suspicious documents; yield what is wrong as it was before."""
        if not suspects:
            return
        await asyncio.sleep(self._grace.look_s)
        wanted = {finding.same_as for finding in suspects}
        digests = any(one.detail == DIGEST for one in suspects)
        for collection, document_id in dict.fromkeys(
            (finding.collection, finding.document_id) for finding in suspects
        ):
            document = await self._inspection.document(collection, document_id)
            if document is None:
                continue
            for finding in await self._look_at(document, thorough=digests):
                if finding.same_as in wanted:
                    yield _owned(finding)
            await asyncio.sleep(0)

    async def _look_at(self, document: KnownDocument, *, thorough: bool) -> list[Finding]:
        stored = await versions_of(self._vectors, self._indexes, document.collection, document.id)
        active = await self._active([document])
        found = list(judge_vectors(document, stored, active, self._unreadable, self._grace))
        if any(finding.kind is DamageKind.ATTRIBUTES_DIFFER for finding in found) and (
            await self._inspection.changes_attributes(document.collection, document.id)
        ):
            found = [one for one in found if one.kind is not DamageKind.ATTRIBUTES_DIFFER]
        if any(finding.kind in _OF_ENDED for finding in found):
            waits = await self._inspection.removed_versions(document.collection, document.id)
            found = [one for one in found if one.kind not in _OF_ENDED or one.version not in waits]
        files = await self._store.stats([contents_folder(document.collection, document.id)])
        wrong = list(judge_contents(document, files, active, self._grace))
        if thorough:
            wrong += await self._judge_digests(document, {one.version for one in wrong}, active)
        return found + wrong

    async def _unknown_documents(self, tallies: Tallies) -> AsyncIterator[Finding]:
        """Look at vectors of documents that were not in the catalogue, once more."""
        left = list(tallies.left())
        if left:
            await asyncio.sleep(self._grace.look_s)
        for collection, ids in left:
            known = await self._inspection.is_collection(collection)
            unknown = await self._inspection.unknown(collection, ids)
            if not unknown:
                continue
            if not known:
                if await self._has_vectors(collection, sorted(unknown)):
                    detail = f"{len(unknown):,} documents"
                    kind = DamageKind.UNKNOWN_COLLECTION
                    yield _owned(Finding(kind, collection=collection, detail=detail))
                continue
            for document_id in sorted(unknown):
                if await self._has_vectors(collection, [document_id]):
                    yield _owned(
                        Finding(
                            DamageKind.UNKNOWN_DOCUMENT,
                            collection=collection,
                            document_id=document_id,
                        )
                    )

    async def _has_vectors(self, collection: str, document_ids: Sequence[str]) -> bool:
        for document_id in document_ids:
            for index in self._indexes:
                if await self._vectors.inventory(index, 1, None, (collection, document_id)):
                    return True
        return False

    async def _counts(self) -> AsyncIterator[Finding]:
        wrong: list[str] = []
        after: str | None = ""
        while after is not None:
            some, after = await self._inspection.wrong_counts(_SLICE_COLLECTIONS, after)
            wrong += some
            await asyncio.sleep(self._grace.pause_s)
        owners = [one for one in await self._owners() if await self._inspection.usage_wrong(one)]
        if wrong or owners:
            await asyncio.sleep(self._grace.look_s)
        for collection in wrong:
            if await self._inspection.counts_wrong(collection):
                yield _owned(Finding(DamageKind.COUNTS_WRONG, collection=collection))
        for owner in owners:
            if await self._inspection.usage_wrong(owner):
                yield Finding(DamageKind.USAGE_WRONG, owner=owner)

    async def _owners(self) -> list[str]:
        owners = await self._inspection.owners()
        self.looked_at["owners"] = len(owners)
        return owners

    async def _waiting(self) -> AsyncIterator[Finding]:
        if await self._catalogue.removals.held():
            return  # for the end of a backup
        for one in await self._inspection.waiting(self._grace.waiting_s, _MOST_WAITING):
            finding = Finding(
                DamageKind.LEFT_WAITING,
                owner=one.owner,
                collection=one.collection,
                document_id=one.document_id,
                detail=one.what,
            )
            yield _owned(finding)


def _owned(finding: Finding) -> Finding:
    """Add the owner of the collection."""
    if finding.owner or not finding.collection:
        return finding
    return replace(finding, owner=owner_of(finding.collection))
