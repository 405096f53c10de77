"""What lies in the file store, compared with the catalogue and the jobs."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from typing import TYPE_CHECKING

from deployments.catalogue.entries import VersionStatus
from deployments.collection_names import owner_of
from deployments.contents import CONTENTS, content_path, contents_folder
from deployments.errors import NotFound
from deployments.file_store import CHUNKS, IMAGES, KEPT, NO_OWNER, PAGES, UPLOADS, folder_of
from deployments.jobs.doctor.documents import kept_contents
from deployments.jobs.doctor.findings import Finding
from deployments.jobs.job_rows import ACTIVE_STATES
from deployments.kept_files import CARD_BYTES, kept_path
from deployments.types import DamageKind, ImagesSpec, IngestSpec, JobKind, ZipSpec

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import AsyncIterator, Sequence

    from deployments.catalogue.catalogue import Catalogue
    from deployments.catalogue.entries import FileEntry
    from deployments.catalogue.inspection import KnownDocument
    from deployments.file_store import FileStore, StoredFile
    from deployments.jobs.doctor.documents import Grace
    from deployments.jobs.job_rows import JobRows
    from deployments.types import Job

_SLICE = 200
_SUCCEEDED = ["SUCCESS"]
DIGEST = "another digest"
"""The detail of a finding for which a file was read."""


class Files:
    """Compares stored files. Those of users are looked at twice, as they come and go."""

    def __init__(
        self,
        catalogue: Catalogue,
        files: FileStore,
        rows: JobRows | None,
        grace: Grace,
        looked_at: Counter[str],
    ) -> None:
        self._catalogue = catalogue
        self._files = files
        self._rows = rows
        self._grace = grace
        self._looked_at = looked_at

    async def findings(self, *, thorough: bool) -> AsyncIterator[Finding]:
        """Look at all but the contents of known documents.

        With `thorough`, kept files are read to compare their digests.
        """
        for found in (
            self._kept(thorough=thorough),
            self._unknown_contents(),
            self._unknown_kept(),
            self._uploads(),
            self._pictures(),
        ):
            async for finding in found:
                yield finding

    async def differs(self, document: KnownDocument, number: int) -> bool:
        """Return whether the content of a version has another digest; False if it is missing."""
        version = kept_contents(document)[number]
        path = content_path(document.collection, document.id, number)
        return await self._differs(path, version.digest, 0)

    async def _differs(self, path: str, digest: str, start: int) -> bool:
        found = hashlib.sha256()
        try:
            async with contextlib.aclosing(self._files.blocks(path, start)) as blocks:
                async for block in blocks:
                    await asyncio.to_thread(found.update, block)
                    self._looked_at["bytes"] += len(block)
        except NotFound:
            return False
        await asyncio.sleep(self._grace.pause_s)
        return found.hexdigest() != digest

    async def _kept(self, *, thorough: bool) -> AsyncIterator[Finding]:
        """Look for the content of each kept file."""
        after: str | None = None
        while page := await self._catalogue.inspection.files(_SLICE, after):
            after = page[-1][1].id
            self._looked_at["files"] += len(page)
            if suspects := await self._judge_kept(page, thorough=thorough):
                await asyncio.sleep(self._grace.look_s)
                wrong = [finding.path for finding in suspects]
                again = [one for one in page if kept_path(one[0], one[1].id) in wrong]
                removed = await self._catalogue.files.missing([file.id for _, file in again])
                again = [one for one in again if one[1].id not in removed]
                for finding in await self._judge_kept(again, thorough=thorough):
                    yield finding
            await asyncio.sleep(self._grace.pause_s)

    async def _judge_kept(
        self, page: Sequence[tuple[str, FileEntry]], *, thorough: bool
    ) -> list[Finding]:
        paths = {kept_path(owner, file.id): (owner, file) for owner, file in page}
        stored = {each.path: each for each in await self._files.infos(list(paths))}
        wrong = []
        for path, (owner, file) in paths.items():
            found, size = stored.get(path), file.size_bytes + CARD_BYTES
            if found is None:
                wrong.append(Finding(DamageKind.FILE_MISSING, owner=owner, path=path))
            elif found.size_bytes != size:
                detail = f"{found.size_bytes:,} bytes, not {size:,}"
                wrong.append(
                    Finding(DamageKind.FILE_DIFFERS, owner=owner, path=path, detail=detail)
                )
            elif thorough and file.digest and await self._differs(path, file.digest, CARD_BYTES):
                wrong.append(
                    Finding(DamageKind.FILE_DIFFERS, owner=owner, path=path, detail=DIGEST)
                )
        return wrong

    async def _unknown_contents(self) -> AsyncIterator[Finding]:
        """Look for contents of documents that the catalogue does not know."""
        for collection in await self._files.names(CONTENTS):
            names = await self._files.names(f"{CONTENTS}/{collection}")
            for start in range(0, len(names), _SLICE):
                some = names[start : start + _SLICE]
                for name in await self._catalogue.inspection.unknown(collection, some):
                    folder = contents_folder(collection, name)
                    if await self._is_old(folder):
                        yield Finding(
                            DamageKind.UNKNOWN_FILE,
                            owner=owner_of(collection),
                            collection=collection,
                            document_id=name,
                            path=folder,
                        )
                await asyncio.sleep(self._grace.pause_s)

    async def _unknown_kept(self) -> AsyncIterator[Finding]:
        """Look for files that are kept and have no entry."""
        for owner in await self._files.names(KEPT):
            folder = folder_of(KEPT, "" if owner == NO_OWNER else owner)
            names = await self._files.names(folder)
            for start in range(0, len(names), _SLICE):
                some = names[start : start + _SLICE]
                unknown = await self._catalogue.files.missing(some)
                for file in await self._files.infos(
                    [f"{folder}/{name}" for name in sorted(unknown)]
                ):
                    if not self._is_new(file):
                        yield Finding(DamageKind.UNKNOWN_FILE, path=file.path)
                await asyncio.sleep(self._grace.pause_s)

    async def _uploads(self) -> AsyncIterator[Finding]:
        """Look at the inputs of jobs, which are swept some time after these have ended."""
        active = [job async for job in self._jobs(JobKind.INGEST, ACTIVE_STATES)]
        if suspects := [job for job in active if await self._lacks_upload(job)]:
            await asyncio.sleep(self._grace.look_s)
            assert self._rows is not None  # noqa: S101 - the jobs are from there
            still = await self._rows.unfinished({job.id for job in suspects})
            for job in suspects:
                if job.id in still and await self._lacks_upload(job):
                    spec = job.spec
                    assert isinstance(spec, IngestSpec)  # noqa: S101 - of its kind
                    yield Finding(
                        DamageKind.UPLOAD_MISSING,
                        owner=spec.owner,
                        collection=spec.collection,
                        document_id=spec.document_id,
                        path=spec.upload_path,
                    )
        owners = await self._files.names(UPLOADS)
        folders = [UPLOADS, *(f"{UPLOADS}/{owner}" for owner in owners), PAGES]
        uploads = await self._needed_uploads()
        left = [
            file.path
            for file in await self._files.stats(folders)
            if file.path not in uploads and not self._is_new(file)
        ]
        if left:  # a job that began again meanwhile may have been missed
            uploads = await self._needed_uploads()
        for path in left:
            if path not in uploads:
                yield Finding(DamageKind.UNKNOWN_FILE, path=path)
        for job_id in await self._files.names(CHUNKS):
            folder = f"{CHUNKS}/{job_id}"
            if await self._is_old(folder) and not await self._is_active(job_id):
                yield Finding(DamageKind.UNKNOWN_FILE, path=folder)

    async def _needed_uploads(self) -> set[str]:
        kinds = JobKind.ZIP, JobKind.INGEST  # a ZIP file's job ends after those of its files
        jobs = [job for kind in kinds async for job in self._jobs(kind, ACTIVE_STATES)]
        return {job.spec.upload_path for job in jobs if isinstance(job.spec, IngestSpec | ZipSpec)}

    async def _is_active(self, job_id: str) -> bool:
        return self._rows is not None and bool(await self._rows.unfinished([job_id]))

    async def _lacks_upload(self, job: Job) -> bool:
        spec = job.spec
        # A kept file may be deleted before it is read: then its job says so.
        if not isinstance(spec, IngestSpec) or (spec.borrowed and spec.start_byte):
            return False
        self._looked_at["uploads"] += 1
        if await self._files.infos([spec.upload_path]):
            return False
        # At its end a job moves its upload to where the content of the version is kept.
        document = await self._catalogue.inspection.document(spec.collection, spec.document_id)
        return any(
            one.document.job_id == job.id and one.status is VersionStatus.IN_PROGRESS
            for one in (document.versions if document else ())
        )

    async def _pictures(self) -> AsyncIterator[Finding]:
        """Look for missing pictures, and for those whose job was deleted."""
        names = set(await self._files.names(IMAGES))
        async for job in self._jobs(JobKind.IMAGES, _SUCCEEDED):
            self._looked_at["image jobs"] += 1
            names.discard(job.id)
            if await self._lacks_pictures(job):
                await asyncio.sleep(self._grace.look_s)  # old jobs are deleted after their files
                assert self._rows is not None  # noqa: S101 - the job is from there
                if not await self._rows.missing([job.id]) and await self._lacks_pictures(job):
                    owner, path = job.spec.owner, f"{IMAGES}/{job.id}"
                    yield Finding(DamageKind.PICTURES_MISSING, owner=owner, path=path)
        left = sorted(names)
        for start in range(0, len(left), _SLICE):
            some = left[start : start + _SLICE]
            unknown = set(some) if self._rows is None else await self._rows.missing(some)
            for job_id in sorted(unknown):
                if await self._is_old(f"{IMAGES}/{job_id}"):
                    yield Finding(DamageKind.UNKNOWN_FILE, path=f"{IMAGES}/{job_id}")
            await asyncio.sleep(self._grace.pause_s)

    async def _lacks_pictures(self, job: Job) -> bool:
        assert isinstance(job.spec, ImagesSpec)  # noqa: S101 - of its kind
        return len(await self._files.names(f"{IMAGES}/{job.id}")) < job.spec.count

    async def _is_old(self, folder: str) -> bool:
        """Return whether there are files in a folder, and none is new."""
        files = await self._files.stats([folder])
        return bool(files) and not any(map(self._is_new, files))

    async def _jobs(self, kind: JobKind, statuses: list[str]) -> AsyncIterator[Job]:
        if self._rows is not None:
            async for job in self._rows.all_of(kind, statuses):
                yield job

    def _is_new(self, file: StoredFile) -> bool:
        return time.time() - file.changed_at <= self._grace.file_s
