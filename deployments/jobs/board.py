"""The board of all jobs: submitting, finding, cancelling and watching them, in DBOS's tables."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from dbos import DBOS

from deployments.errors import Conflict, NotFound, Overloaded, Unavailable
from deployments.jobs.records import job_of
from deployments.jobs.workflows import CANCEL, fields_of
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

    from deployments.interfaces import Retriever
    from deployments.jobs.cancelling import Cancellations

_POLL_S = 0.25
_CANCEL_WAIT_S = 3.0
_WIND_DOWN_S = 30.0
_MAX_LISTED = 100
_KINDS = [kind.value for kind in JobKind]


class JobBoard:
    """Implements `deployments.interfaces.Jobs`, health aside, over a launched DBOS."""

    def __init__(
        self,
        retriever: Retriever,
        cancellations: Cancellations,
        tidy: Callable[[str, IngestSpec], Awaitable[None]],
        max_queued: int,
    ) -> None:
        """Keep the parts; `tidy` removes what lies about of an upload."""
        self._retriever = retriever
        self._tidied = tidy
        self._cancellations = cancellations
        self._max_queued = max_queued

    async def submit_ingest(self, spec: IngestSpec, key: str | None) -> Submitted:
        """Submit, unless the document is searchable or being ingested already."""
        if key is not None and (known := await self._by_key(spec, key)):
            return known
        with contextlib.suppress(NotFound, Unavailable):  # then the job finds out
            document = await self._retriever.document(spec.collection, spec.document_id)
            return Submitted(await self._job_behind(document), created=False)
        unique = f"{spec.collection}/{spec.document_id}"
        submitted = await self._submit(spec, key, unique)
        if submitted.job.cancel_requested:
            # It winds down, and takes along what it has done: this one begins after it.
            await self._until_ended(submitted.job.id, _WIND_DOWN_S)
            submitted = await self._submit(spec, key, unique)
        return submitted

    async def submit_images(self, spec: ImagesSpec, key: str | None) -> Submitted:
        """Submit a new job, or find the one that was submitted under this key."""
        if key is not None and (known := await self._by_key(spec, key)):
            return known
        return await self._submit(spec, key)

    async def job(self, job_id: str) -> Job:
        """Find one job; raises NotFound."""
        found = await DBOS.list_workflows_async(workflow_ids=[job_id], name=_KINDS)
        if not found:
            msg = "there is no such job"
            raise NotFound(msg, param="job_id")
        return job_of(found[0])

    async def jobs(
        self, kind: JobKind | None, status: JobStatus | None, limit: int, after: str | None
    ) -> JobList:
        """List jobs, newest first, from behind the job id `after`."""
        behind = await self.job(after) if after else None
        limit, offset, passed = min(limit, _MAX_LISTED), 0, behind is None
        found: list[Job] = []
        # Some states of a job are not those of its workflow, so more may have to be read.
        while len(found) <= limit:
            rows = await DBOS.list_workflows_async(
                name=kind.value if kind else _KINDS,
                end_time=_iso(behind.created_at) if behind else None,
                sort_desc=True,
                limit=_MAX_LISTED,
                offset=offset,
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
            await DBOS.update_workflow_attributes_async(job_id, {CANCEL: True}, merge=True)
            self._cancellations.request(job_id)
            if job.status is JobStatus.QUEUED:
                # Should it begin just now, its first step sees the request above.
                await DBOS.cancel_workflow_async(job_id)
                await self._tidy(job)
            job = await self._until_ended(job_id, _CANCEL_WAIT_S)
        if job.ended and job.status is not JobStatus.CANCELLED:
            msg = f"the job has {job.status} already and cannot be cancelled"
            raise Conflict(msg, code="job_ended")
        return job

    async def watch(self, job_id: str) -> AsyncGenerator[Job, None]:
        """Yield the job now and at every change, until it has ended; raises NotFound."""
        shown: Job | None = None
        while shown is None or not shown.ended:
            job = await self.job(job_id)
            if job != shown:
                yield job
            shown = job
            if not job.ended:
                await asyncio.sleep(_POLL_S)

    async def _tidy(self, job: Job) -> None:
        if isinstance(job.spec, IngestSpec):
            await self._tidied(job.id, job.spec)

    async def _until_ended(self, job_id: str, timeout_s: float) -> Job:
        """Wait a while; the job as it then stands."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                async for _ in self.watch(job_id):
                    pass
        return await self.job(job_id)

    async def _by_key(self, spec: IngestSpec | ImagesSpec, key: str) -> Submitted | None:
        try:
            job = await self.job(_keyed_id(spec, key))
        except NotFound:
            return None
        if job.spec != spec:
            msg = "this Idempotency-Key was used for another request: choose a new one"
            raise Conflict(msg, code="idempotency_key_reused", param="Idempotency-Key")
        return Submitted(job, created=False)

    async def _submit(
        self, spec: IngestSpec | ImagesSpec, key: str | None, unique: str | None = None
    ) -> Submitted:
        kind = _kind(spec)
        waiting = await DBOS.list_workflows_async(
            status="ENQUEUED",
            queue_name=kind.value,
            limit=self._max_queued,
            load_input=False,
            load_output=False,
        )
        if len(waiting) >= self._max_queued:
            msg = "too many jobs are waiting; try again later"
            raise Overloaded(msg)
        job_id = _keyed_id(spec, key) if key is not None else f"job_{uuid.uuid4().hex}"
        options: dict[str, Any] = {
            "queue_name": kind.value,
            "workflow_name": kind.value,
            "workflow_id": job_id,
        }
        if unique is not None:
            options |= {"deduplication_id": unique, "duplication_policy": "return-existing"}
        handle = await DBOS.enqueue_workflow_with_options_async(options, fields_of(spec))  # type: ignore[arg-type]
        there = handle.get_workflow_id()
        return Submitted(await self.job(there), created=there == job_id)

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


async def cancel_requested(job_id: str) -> bool:
    """Whether a job is to stop; read where every replica writes."""
    found = await DBOS.list_workflows_async(
        workflow_ids=[job_id], load_input=False, load_output=False
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
