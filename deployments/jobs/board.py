"""The board of all jobs: submitting, finding, cancelling and watching them, in DBOS's tables."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

from dbos import DBOS

from deployments.errors import Conflict, NotFound, Overloaded, Unavailable
from deployments.jobs.records import job_of, workflow_statuses
from deployments.jobs.workflows import CANCEL, SUBMISSION, fields_of
from deployments.types import (
    Document,
    ImagesSpec,
    IngestSpec,
    Job,
    JobKind,
    JobList,
    JobStatus,
    Submitted,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from dbos import EnqueueOptions, WorkflowStatus

    from deployments.interfaces import Retriever
    from deployments.jobs.cancelling import Cancellations
    from deployments.settings import JobsSettings

T = TypeVar("T")

_POLL_S = 0.25
_DATABASE_TIMEOUT_S = 10.0
_CANCEL_WAIT_S = 3.0
_COUNT_AGAIN_S = 1.0
_WIND_DOWN_S = 30.0
_MAX_LISTED = 100
_KINDS = [kind.value for kind in JobKind]


class JobBoard:
    """Implements `deployments.interfaces.Jobs`, health aside, over a launched DBOS.

    Every method raises Unavailable when the database does not answer.
    """

    def __init__(
        self,
        retriever: Retriever,
        cancellations: Cancellations,
        tidy: Callable[[str, IngestSpec], Awaitable[None]],
        settings: JobsSettings,
    ) -> None:
        """Keep the parts; `tidy` removes what lies about of an upload."""
        self._retriever = retriever
        self._cancellations = cancellations
        self._tidy = tidy
        self._max_queued = settings.max_queued
        self._max_watchers = settings.max_watchers
        self._watchers = 0
        self._waiting: dict[JobKind, tuple[float, int]] = {}

    async def submit_ingest(self, spec: IngestSpec, key: str | None) -> Submitted:
        """Submit, unless the document is searchable or being ingested already."""
        if key is not None and (known := await self._by_key(spec, key)):
            if known.job.status is not JobStatus.SUCCEEDED or await self._searchable(spec):
                return known
            key = None  # what was done under it has been deleted since
        with contextlib.suppress(NotFound, Unavailable):  # then the job finds out
            document = await self._retriever.document(spec.collection, spec.document_id)
            return Submitted(await self._job_behind(document), created=False)
        unique = f"{spec.collection}/{spec.document_id}"
        submitted = await self._submit(spec, key, unique)
        if submitted.job.cancel_requested:
            # It winds down, and takes along what it has done: this one begins after it.
            await self._until_ended(submitted.job.id, _WIND_DOWN_S)
            submitted = await self._submit(spec, key, unique)
        if submitted.job.cancel_requested and not submitted.created:
            msg = "an earlier job of this document is being cancelled; try again shortly"
            raise Overloaded(msg)
        return submitted

    async def submit_images(self, spec: ImagesSpec, key: str | None) -> Submitted:
        """Submit a new job, or find the one that was submitted under this key."""
        if key is not None and (known := await self._by_key(spec, key)):
            return known
        return await self._submit(spec, key)

    async def job(self, job_id: str) -> Job:
        """Find one job; raises NotFound."""
        return job_of(await _row(job_id))

    async def jobs(
        self, kind: JobKind | None, status: JobStatus | None, limit: int, after: str | None
    ) -> JobList:
        """List jobs, newest first, from behind the job id `after`."""
        behind = await self.job(after) if after else None
        limit, offset, passed = min(limit, _MAX_LISTED), 0, behind is None
        found: list[Job] = []
        # A job taken up after a crash is queued to DBOS, so more may have to be read.
        while len(found) <= limit:
            rows = await _answered(
                DBOS.list_workflows_async(
                    name=kind.value if kind else _KINDS,
                    status=workflow_statuses(status) if status else None,
                    end_time=_iso(behind.created_at) if behind else None,
                    sort_desc=True,
                    limit=_MAX_LISTED,
                    offset=offset,
                )
            )
            for job in map(job_of, rows):
                if passed and status in {None, job.status}:
                    found.append(job)
                # Others may have been submitted in the same second.
                passed = passed or job.id == after
            offset += len(rows)
            if len(rows) < _MAX_LISTED:
                break
        return JobList(tuple(found[:limit]), found[limit - 1].id if len(found) > limit else None)

    async def cancel(self, job_id: str) -> Job:
        """Have a job stop, and wait a moment for it; Conflict if it ended otherwise."""
        job = await self.job(job_id)
        if not job.ended:
            await _answered(
                DBOS.update_workflow_attributes_async(job_id, {CANCEL: True}, merge=True)
            )
            self._cancellations.request(job_id)
            job = await self.job(job_id)
            if job.status is JobStatus.QUEUED:
                # Should it begin just now, its first step sees the request above.
                await _answered(DBOS.cancel_workflow_async(job_id))
                if isinstance(job.spec, IngestSpec):
                    await self._tidy(job_id, job.spec)
            job = await self._until_ended(job_id, _CANCEL_WAIT_S)
        if job.ended:
            self._cancellations.forget(job_id)
            if job.status is not JobStatus.CANCELLED:
                msg = f"the job has {job.status} already and cannot be cancelled"
                raise Conflict(msg, code="job_ended")
        return job

    async def watch(self, job_id: str) -> AsyncGenerator[Job, None]:
        """Yield the job now and at every change, until it has ended; raises NotFound.

        Overloaded when too many watch already.
        """
        if self._watchers >= self._max_watchers:
            msg = "too many jobs are being watched; ask for the job now and then instead"
            raise Overloaded(msg)
        self._watchers += 1
        try:
            async for job in self._changes(job_id):
                yield job
        finally:
            self._watchers -= 1

    async def _changes(self, job_id: str) -> AsyncGenerator[Job, None]:
        shown: Job | None = None
        while shown is None or not shown.ended:
            job = await self.job(job_id)
            if job != shown:
                yield job
            shown = job
            if not job.ended:
                await asyncio.sleep(_POLL_S)

    async def _until_ended(self, job_id: str, timeout_s: float) -> Job:
        """Wait a while; the job as it then stands."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                async for _ in self._changes(job_id):
                    pass
        return await self.job(job_id)

    async def _by_key(self, spec: IngestSpec | ImagesSpec, key: str) -> Submitted | None:
        try:
            job = await self.job(_keyed_id(spec, key))
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
            return True  # as it was when the job ended
        return True

    async def _submit(
        self, spec: IngestSpec | ImagesSpec, key: str | None, unique: str | None = None
    ) -> Submitted:
        kind = _kind(spec)
        await self._refuse_when_full(kind)
        submission = uuid.uuid4().hex
        options: EnqueueOptions = {
            "queue_name": kind.value,
            "workflow_name": kind.value,
            "workflow_id": _keyed_id(spec, key) if key is not None else f"job_{submission}",
            "attributes": {SUBMISSION: submission},
        }
        if unique is not None:
            options["deduplication_id"] = unique
            options["duplication_policy"] = "return-existing"
        handle = await _answered(DBOS.enqueue_workflow_with_options_async(options, fields_of(spec)))
        row = await _row(handle.get_workflow_id())
        job, created = job_of(row), (row.attributes or {}).get(SUBMISSION) == submission
        if not created and unique is None:
            _check_same(job, spec)  # another request with this key was a moment earlier
        return Submitted(job, created)

    async def _refuse_when_full(self, kind: JobKind) -> None:
        """Count what waits once a second, and what is submitted here in between."""
        counted_at, waiting = self._waiting.get(kind, (-_COUNT_AGAIN_S, 0))
        if time.monotonic() - counted_at > _COUNT_AGAIN_S or waiting >= self._max_queued:
            rows = await _answered(
                DBOS.list_workflows_async(
                    status="ENQUEUED",
                    queue_name=kind.value,
                    limit=self._max_queued,
                    load_input=False,
                    load_output=False,
                )
            )
            counted_at, waiting = time.monotonic(), len(rows)
        if waiting >= self._max_queued:
            msg = "too many jobs are waiting; try again later"
            raise Overloaded(msg)
        self._waiting[kind] = counted_at, waiting + 1

    async def _job_behind(self, document: Document) -> Job:
        """Find the job that made a document; if it is forgotten, say what it must have been."""
        with contextlib.suppress(NotFound):
            if document.job_id is not None:
                return await self.job(document.job_id)
        return Job(
            id=document.job_id or f"job_{document.id.removeprefix('doc_')}",
            spec=IngestSpec(
                document.id, document.collection, document.filename, document.size_bytes, ""
            ),
            status=JobStatus.SUCCEEDED,
            created_at=document.created_at,
            updated_at=document.created_at,
            done=document.chunks,
            total=document.chunks,
        )


async def _row(job_id: str) -> WorkflowStatus:
    found = await _answered(DBOS.list_workflows_async(workflow_ids=[job_id], name=_KINDS))
    if not found:
        msg = "there is no such job"
        raise NotFound(msg, param="job_id")
    return found[0]


async def _answered(asked: Awaitable[T]) -> T:
    """Bound what DBOS itself would try for ever."""
    try:
        async with asyncio.timeout(_DATABASE_TIMEOUT_S):
            return await asked
    except TimeoutError:
        msg = "the database of the jobs does not answer"
        raise Unavailable(msg) from None


def _check_same(job: Job, spec: IngestSpec | ImagesSpec) -> None:
    if job.spec != spec:
        msg = "this Idempotency-Key was used for another request: choose a new one"
        raise Conflict(msg, code="idempotency_key_reused", param="Idempotency-Key")


async def cancel_requested(job_id: str) -> bool:
    """Whether a job is to stop; read where every replica writes."""
    found = await _answered(
        DBOS.list_workflows_async(workflow_ids=[job_id], load_input=False, load_output=False)
    )
    return bool(found and (found[0].attributes or {}).get(CANCEL))


def _kind(spec: IngestSpec | ImagesSpec) -> JobKind:
    return JobKind.INGEST if isinstance(spec, IngestSpec) else JobKind.IMAGES


def _keyed_id(spec: IngestSpec | ImagesSpec, key: str) -> str:
    """The same key is the same job, whichever replica is asked and whatever crashed."""
    digest = hashlib.sha256(f"{_kind(spec)}/{key}".encode()).hexdigest()
    return f"job_{digest[:32]}"


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()
