"""Jobs and pictures for the HTTP layer's unit tests, as the test tells them to go on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from deployments.errors import Conflict, NotFound, Unavailable
from deployments.file_store import FileStore
from deployments.types import (
    ImageProgress,
    ImageRequest,
    ImagesSpec,
    IngestSpec,
    Job,
    JobList,
    JobQuery,
    JobStatus,
    Submitted,
    image_path,
)


class FakeImages:
    async def check_health(self) -> None: ...

    async def generate(self, request: ImageRequest) -> AsyncGenerator[ImageProgress, None]:
        del request
        yield ImageProgress(1, 1, b"png")


@dataclass
class FakeJobs:
    """Keeps jobs and does none: the test tells how they go on, or lets pictures appear at once."""

    files: FileStore
    draws: bool = False
    known: dict[str, Job] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    submit_error: Exception | None = None
    submit_gate: asyncio.Event | None = None
    lost_watches: int = 0
    watched: asyncio.Event = field(default_factory=asyncio.Event)
    unwatched: asyncio.Event = field(default_factory=asyncio.Event)
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def check_health(self) -> None: ...

    async def submit_ingest(self, spec: IngestSpec, key: str | None) -> Submitted:
        same = (
            job
            for job in self.known.values()
            if isinstance(job.spec, IngestSpec)
            and (job.spec.collection, job.spec.document_id) == (spec.collection, spec.document_id)
            and job.status not in {JobStatus.FAILED, JobStatus.CANCELLED}
        )
        return await self._submitted(spec, key, next(same, None))

    async def submit_images(self, spec: ImagesSpec, key: str | None) -> Submitted:
        submitted = await self._submitted(spec, key, None)
        if self.draws and submitted.created:
            for number in range(spec.count):
                await self.files.put(image_path(submitted.job.id, number), b"png %d" % number)
            await self.change(submitted.job.id, status=JobStatus.SUCCEEDED, done=spec.count)
        return submitted

    async def _submitted(
        self, spec: IngestSpec | ImagesSpec, key: str | None, same: Job | None
    ) -> Submitted:
        if self.submit_gate:
            await self.submit_gate.wait()
        if self.submit_error:
            raise self.submit_error
        if key in self.keys:
            same = self.known[self.keys[key]]
            if same.spec != spec:
                msg = "this idempotency key was used for something else"
                raise Conflict(msg)
        if same:
            return Submitted(same, created=False)
        total = spec.count if isinstance(spec, ImagesSpec) else None
        number = len(self.known)
        job = Job(f"job_{number:032x}", spec, JobStatus.QUEUED, 1e9 + number, 1e9, total=total)
        self.known[job.id] = job
        if key is not None:
            self.keys[key] = job.id
        return Submitted(job, created=True)

    async def change(self, job_id: str, **changes: Any) -> None:
        self.known[job_id] = replace(self.known[job_id], **changes)
        async with self._changed:
            self._changed.notify_all()

    async def job(self, job_id: str) -> Job:
        if job_id not in self.known:
            msg = "there is no such job"
            raise NotFound(msg, param="job_id")
        return self.known[job_id]

    async def jobs(self, query: JobQuery) -> JobList:
        found = [
            job
            for job in reversed(self.known.values())
            if job.spec.owner == query.owner
            and query.kind in {None, job.kind}
            and query.status in {None, job.status}
            and (query.after is None or job.id < query.after)
        ]
        return JobList(
            tuple(found[: query.limit]),
            found[query.limit - 1].id if len(found) > query.limit else None,
        )

    async def find(self, job_ids: Sequence[str]) -> list[Job]:
        return [self.known[job_id] for job_id in job_ids if job_id in self.known]

    async def cancel(self, job_id: str) -> Job:
        job = await self.job(job_id)
        if job.status in {JobStatus.SUCCEEDED, JobStatus.FAILED}:
            msg = f"the job has {job.status} already"
            raise Conflict(msg)
        await self.change(job_id, status=JobStatus.CANCELLED, cancel_requested=True)
        return self.known[job_id]

    async def watch(self, job_id: str) -> AsyncGenerator[Job, None]:
        job = await self.job(job_id)
        try:
            yield job
            self.watched.set()
            while not job.ended:
                if self.lost_watches:
                    self.lost_watches -= 1
                    msg = "the job runner stopped"
                    raise Unavailable(msg)
                async with self._changed:
                    if self.known[job_id] == job:
                        await self._changed.wait()
                    job = self.known[job_id]
                yield job
        finally:
            self.unwatched.set()
