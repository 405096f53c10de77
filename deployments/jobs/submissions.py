"""Submission of jobs: once per idempotency key, one per document, within the queue limits."""

from __future__ import annotations

import contextlib
import hashlib
import time
import uuid
from typing import TYPE_CHECKING

from dbos import DBOS
from loguru import logger

from deployments.errors import Conflict, DeadlineExceeded, NotFound, Overloaded, Unavailable
from deployments.jobs.costs import estimate_s
from deployments.jobs.records import (
    COST,
    SUBMISSION,
    fetch_job,
    fetch_row,
    fields_of,
    job_of,
    kind_of,
    with_timeout,
)
from deployments.types import (
    Document,
    ImagesSpec,
    IngestSpec,
    Job,
    JobStatus,
    Submitted,
)

if TYPE_CHECKING:
    from dbos import EnqueueOptions

    from deployments.interfaces import Retriever
    from deployments.jobs.dispatcher import Dispatcher
    from deployments.jobs.watching import JobWatchers

_CANCEL_WAIT_S = 30.0


class Submissions:
    """Submits jobs; each is in the database before its method returns."""

    def __init__(self, watchers: JobWatchers, retriever: Retriever, dispatcher: Dispatcher) -> None:
        self._watchers = watchers
        self._retriever = retriever
        self._dispatcher = dispatcher

    async def ingest(self, spec: IngestSpec, key: str | None) -> Submitted:
        """Submit a job, unless the document is searchable or being ingested already."""
        if key is not None and (known := await self._by_key(spec, key)):
            if known.job.status is not JobStatus.SUCCEEDED or await self._searchable(spec):
                return known
            key = None  # its document has been deleted since
        with contextlib.suppress(NotFound, Unavailable, DeadlineExceeded):  # the job will report it
            document = await self._retriever.document(spec.collection, spec.document_id)
            return Submitted(await self._job_of_document(document, spec.owner), created=False)
        unique = f"{spec.collection}/{spec.document_id}"
        submitted = await self._submit(spec, key, unique)
        if submitted.job.cancel_requested:
            # It is about to delete what it has stored: this one begins after it.
            await self._watchers.wait_until_ended(submitted.job.id, _CANCEL_WAIT_S)
            submitted = await self._submit(spec, key, unique)
        if submitted.job.cancel_requested and not submitted.created:
            msg = "an earlier job of this document is being cancelled; try again shortly"
            raise Overloaded(msg)
        return submitted

    async def images(self, spec: ImagesSpec, key: str | None) -> Submitted:
        """Submit a job, or return the one that was submitted under this key."""
        if key is not None and (known := await self._by_key(spec, key)):
            return known
        return await self._submit(spec, key)

    async def _by_key(self, spec: IngestSpec | ImagesSpec, key: str) -> Submitted | None:
        try:
            job = await fetch_job(_id_for_key(spec, key))
        except NotFound:
            return None
        _check_same(job, spec)
        return Submitted(job, created=False)

    async def _searchable(self, spec: IngestSpec) -> bool:
        try:
            await self._retriever.document(spec.collection, spec.document_id)
        except NotFound:
            return False
        except Unavailable:
            return True  # the last thing known
        return True

    async def _submit(
        self, spec: IngestSpec | ImagesSpec, key: str | None, unique: str | None = None
    ) -> Submitted:
        with self._dispatcher.submission(spec):
            return await self._enqueue(spec, key, unique)

    async def _enqueue(
        self, spec: IngestSpec | ImagesSpec, key: str | None, unique: str | None
    ) -> Submitted:
        kind, submission = kind_of(spec), uuid.uuid4().hex
        new_id = f"job_{submission}"
        options: EnqueueOptions = {
            "queue_name": kind.value,
            "workflow_name": kind.value,
            "workflow_id": _id_for_key(spec, key) if key is not None else new_id,
            "attributes": {SUBMISSION: submission, COST: estimate_s(spec)},
        }
        if spec.owner:
            options["authenticated_user"] = spec.owner
        if unique is not None:
            options["deduplication_id"] = unique
            options["duplication_policy"] = "return-existing"
        handle = await with_timeout(
            DBOS.enqueue_workflow_with_options_async(options, fields_of(spec))
        )
        job_id = handle.get_workflow_id()
        if job_id == new_id:
            job, created = _queued(job_id, spec), True
        else:
            row = await fetch_row(job_id)
            job, created = job_of(row), (row.attributes or {}).get(SUBMISSION) == submission
        if created:
            self._dispatcher.submitted(job.id, spec)
            # The one log line with the ids of both the request and the job.
            logger.info("job {} was submitted", job.id)
        elif unique is None:
            _check_same(job, spec)  # another request with this key came first
        return Submitted(job, created)

    async def _job_of_document(self, document: Document, owner: str) -> Job:
        """Fetch the job that made a document; if it was deleted, reconstruct it."""
        with contextlib.suppress(NotFound):
            if document.job_id is not None:
                return await fetch_job(document.job_id)
        return Job(
            id=document.job_id or f"job_{document.id.removeprefix('doc_')}",
            spec=IngestSpec(
                document.id, document.collection, document.filename, document.size_bytes, "", owner
            ),
            status=JobStatus.SUCCEEDED,
            created_at=document.created_at,
            updated_at=document.created_at,
            done=document.chunks,
            total=document.chunks,
        )


def _queued(job_id: str, spec: IngestSpec | ImagesSpec) -> Job:
    """Return a job as it is when it has just been queued."""
    now = time.time()
    total = spec.count if isinstance(spec, ImagesSpec) else None
    return Job(job_id, spec, JobStatus.QUEUED, created_at=now, updated_at=now, done=0, total=total)


def _check_same(job: Job, spec: IngestSpec | ImagesSpec) -> None:
    if job.spec != spec:
        msg = "this Idempotency-Key was used for another request: choose a new one"
        raise Conflict(msg, code="idempotency_key_reused", param="Idempotency-Key")


def _id_for_key(spec: IngestSpec | ImagesSpec, key: str) -> str:
    """Derive the job id from the key and its owner, so that every replica finds the same job."""
    # The name of an owner contains no slash.
    path = "/".join(filter(None, (spec.owner, kind_of(spec), key)))
    digest = hashlib.sha256(path.encode()).hexdigest()
    return f"job_{digest[:32]}"
