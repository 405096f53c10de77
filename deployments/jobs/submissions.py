"""Submission of jobs: once per idempotency key, one per document, within the queue limits."""

from __future__ import annotations

import contextlib
import time
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dbos import DBOS
from loguru import logger

from deployments.catalogue.entries import VersionStatus
from deployments.catalogue.uploads import upload_of
from deployments.errors import Conflict, NotFound, Overloaded
from deployments.job_ids import job_id_for
from deployments.jobs.costs import estimate_s
from deployments.jobs.records import (
    CATALOGUED,
    COST,
    DIGEST,
    REQUESTED_NAME,
    SUBMISSION,
    fetch_job,
    fetch_row,
    fields_of,
    job_of,
    with_timeout,
)
from deployments.types import (
    Document,
    ImagesSpec,
    IngestSpec,
    Job,
    JobStatus,
    Submitted,
    kind_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dbos import EnqueueOptions

    from deployments.catalogue.catalogue import Catalogue
    from deployments.jobs.dispatcher import Dispatcher
    from deployments.jobs.watching import JobWatchers
    from deployments.types import ImportSpec, JobSpec, ResponseSpec, ZipSpec

_CANCEL_WAIT_S = 30.0


class Submissions:
    """Submits jobs; each is in the database before its method returns."""

    def __init__(self, watchers: JobWatchers, catalogue: Catalogue, dispatcher: Dispatcher) -> None:
        self._watchers = watchers
        self._catalogue = catalogue
        self._dispatcher = dispatcher

    async def ingest(self, spec: IngestSpec, key: str | None) -> Submitted:
        """Submit a job, unless the same file is searchable or being ingested already."""
        if key is not None and (known := await self._by_key(spec, key)):
            if known.job.status is not JobStatus.SUCCEEDED or await self._is_found(known.job):
                return known
            key = None  # its document has been deleted since
        try:
            submitted = await self._submit(spec, key)
        except Overloaded:
            # A file that is searchable already needs no place in the queue.
            if entry := await self._catalogue.versions.find_same(upload_of(spec, "")):
                return await self._submitted_before(entry.document, spec.owner)
            raise
        if submitted.job.cancel_requested:
            # It is about to delete what it has stored: this one begins after it.
            await self._watchers.wait_until_ended(submitted.job.id, _CANCEL_WAIT_S)
            submitted = await self._submit(spec, key)
        if submitted.job.cancel_requested and not submitted.created:
            msg = "an earlier job of this document is being cancelled; try again shortly"
            raise Overloaded(msg)
        return submitted

    async def images(self, spec: ImagesSpec, key: str | None) -> Submitted:
        """Submit a job, or return the one that was submitted under this key."""
        await self._catalogue.erasures.check_accepted(spec.owner)
        if key is not None and (known := await self._by_key(spec, key)):
            return known
        return await self._submit(spec, key)

    async def imports(self, spec: ImportSpec, key: str) -> Submitted:
        """Submit a job, or return the one that was submitted under this key."""
        await self._catalogue.erasures.check_accepted(spec.owner)
        if known := await self._by_key(spec, key):
            return known
        return await self._submit(spec, key)

    async def zips(self, spec: ZipSpec, key: str | None) -> Submitted:
        """Submit a job, or return the one that was submitted under this key, or of this upload."""
        await self._catalogue.erasures.check_accepted(spec.owner)
        key = key or spec.upload_path
        if known := await self._by_key(spec, key):
            return known
        return await self._submit(spec, key)

    async def responses(self, spec: ResponseSpec) -> Submitted:
        """Submit the job of a response, or return the existing one."""
        await self._catalogue.erasures.check_accepted(spec.owner)
        if known := await self._by_key(spec, spec.response_id):
            return known
        return await self._submit(spec, spec.response_id)

    async def _by_key(self, spec: JobSpec, key: str) -> Submitted | None:
        try:
            row = await fetch_row(_id_for_key(spec, key))
        except NotFound:
            return None
        job, attributes = job_of(row), row.attributes or {}
        if isinstance(job.spec, IngestSpec):
            requested = attributes.get(REQUESTED_NAME, job.spec.filename)
            _check_same(replace(job, spec=replace(job.spec, filename=requested)), spec)
        else:
            _check_same(job, spec)
        return Submitted(job, created=False, version=attributes.get(CATALOGUED, 1))

    async def _is_found(self, job: Job) -> bool:
        """Return whether the document that a job has made is searchable."""
        if not isinstance(job.spec, IngestSpec):
            return False
        current = await self._catalogue.documents.current(
            job.spec.collection, [job.spec.document_id]
        )
        return bool(current)

    async def _submit(self, spec: JobSpec, key: str | None) -> Submitted:
        with self._dispatcher.submission(spec):
            job_id = f"job_{uuid.uuid4().hex}" if key is None else _id_for_key(spec, key)
            if isinstance(spec, IngestSpec):
                return await self._submit_version(spec, key, job_id)
            return await self._enqueue(spec, key, job_id)

    async def _submit_version(self, spec: IngestSpec, key: str | None, job_id: str) -> Submitted:
        """Add a version to the catalogue, and submit the job that ingests it."""
        entry = await self._catalogue.versions.begin(upload_of(spec, job_id))
        document = entry.document
        if entry.status is VersionStatus.COMPLETED:
            return await self._submitted_before(document, spec.owner)
        named = replace(spec, document_id=document.id, filename=document.filename)
        attributes = {
            CATALOGUED: document.version,
            DIGEST: spec.digest,
            REQUESTED_NAME: spec.filename,
        }
        submitted = await self._enqueue(named, key, job_id, attributes)
        if submitted.job.id != document.job_id:
            await self._catalogue.versions.assign(document, submitted.job.id)
        if key is not None and not submitted.created:
            try:
                await self._by_key(spec, key)
            except Conflict:  # another upload with this key came first
                await self._catalogue.versions.settle(document, VersionStatus.CANCELLED)
                raise
        return replace(submitted, version=document.version)

    async def _enqueue(
        self,
        spec: JobSpec,
        key: str | None,
        new_id: str,
        attributes: Mapping[str, Any] | None = None,
    ) -> Submitted:
        kind, submission = kind_of(spec), uuid.uuid4().hex
        options: EnqueueOptions = {
            "queue_name": kind.value,
            "workflow_name": kind.value,
            "workflow_id": new_id,
            "attributes": {
                SUBMISSION: submission,
                COST: estimate_s(spec),
                **(attributes or {}),
            },
        }
        if spec.owner:
            options["authenticated_user"] = spec.owner
        if isinstance(spec, IngestSpec) and attributes:
            unique = f"{spec.collection}/{spec.document_id}/{attributes[CATALOGUED]}"
            options["deduplication_id"] = unique
            options["duplication_policy"] = "return-existing"
        handle = await with_timeout(
            DBOS.enqueue_workflow_with_options_async(options, fields_of(spec))
        )
        job_id = handle.get_workflow_id()
        if job_id == new_id and key is None:
            job, created = _queued(job_id, spec), True
        else:
            row = await fetch_row(job_id)
            job, created = job_of(row), (row.attributes or {}).get(SUBMISSION) == submission
        if created:
            self._dispatcher.submitted(job.id, spec)
            # The one log line with the ids of both the request and the job.
            logger.info("job {} was submitted", job.id)
        elif attributes is None:
            _check_same(job, spec)  # another request with this key came first
        return Submitted(job, created)

    async def _submitted_before(self, document: Document, owner: str) -> Submitted:
        """Return the job that made a document; if it was deleted, reconstruct it."""
        job: Job | None = None
        with contextlib.suppress(NotFound):
            if document.job_id is not None:
                job = await fetch_job(document.job_id)
        if job is None or job.status is not JobStatus.SUCCEEDED:
            spec = IngestSpec(
                document.id, document.collection, document.filename, document.size_bytes, "", owner
            )
            job = Job(
                id=document.job_id or f"job_{document.id.removeprefix('doc_')}",
                spec=spec,
                status=JobStatus.SUCCEEDED,
                created_at=document.created_at,
                updated_at=document.created_at,
                done=document.chunks,
                total=document.chunks,
            )
        return Submitted(job, created=False, version=document.version)


def _queued(job_id: str, spec: JobSpec) -> Job:
    """Return a job as it is when it has just been queued."""
    now = time.time()
    total = spec.count if isinstance(spec, ImagesSpec) else None
    return Job(job_id, spec, JobStatus.QUEUED, created_at=now, updated_at=now, done=0, total=total)


def _check_same(job: Job, spec: JobSpec) -> None:
    known = job.spec
    if isinstance(known, IngestSpec) and isinstance(spec, IngestSpec) and not known.digest:
        spec = replace(spec, digest="")  # version 0.1 has submitted the job
    if known != spec:
        msg = "this Idempotency-Key was used for another request: choose a new one"
        raise Conflict(msg, code="idempotency_key_reused", param="Idempotency-Key")


def _id_for_key(spec: JobSpec, key: str) -> str:
    """Derive the job id from the key and its owner, so that every replica finds the same job."""
    return job_id_for(spec.owner, kind_of(spec), key)
