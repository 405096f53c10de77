"""The Jobs deployment by its handle."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from deployments.remote.handle import Remote, streamed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from deployments import types
    from deployments.remote.handle import Handle


class RemoteJobs(Remote):
    """Calls of the Jobs deployment."""

    _methods = (
        "submit_ingest",
        "submit_images",
        "submit_import",
        "submit_zip",
        "submit_response",
        "begin_batches",
        "job",
        "jobs",
        "cancel",
    )

    def __init__(self, handle: Handle, name: str) -> None:
        super().__init__(handle, name)
        self._stream = handle.options(method_name="watch", stream=True)

    async def submit_ingest(self, spec: types.IngestSpec, key: str | None) -> types.Submitted:
        # Repeated even without a key: the same file twice is one document.
        submitted: types.Submitted = await self._repeatable("submit_ingest", spec, key)
        return submitted

    async def submit_images(self, spec: types.ImagesSpec, key: str | None) -> types.Submitted:
        # Without a key, a repeated call could make a second job.
        call = self._call if key is None else self._repeatable
        submitted: types.Submitted = await call("submit_images", spec, key)
        return submitted

    async def submit_import(self, spec: types.ImportSpec, key: str) -> types.Submitted:
        submitted: types.Submitted = await self._repeatable("submit_import", spec, key)
        return submitted

    async def submit_zip(self, spec: types.ZipSpec, key: str | None) -> types.Submitted:
        # Repeated even without a key: the path of an upload is one.
        submitted: types.Submitted = await self._repeatable("submit_zip", spec, key)
        return submitted

    async def submit_response(self, spec: types.ResponseSpec) -> types.Submitted:
        submitted: types.Submitted = await self._repeatable("submit_response", spec)
        return submitted

    async def begin_batches(self) -> None:
        await self._repeatable("begin_batches")

    async def job(self, job_id: str) -> types.Job:
        job: types.Job = await self._repeatable("job", job_id)
        return job

    async def jobs(self, query: types.JobQuery) -> types.JobList:
        listed: types.JobList = await self._repeatable("jobs", query)
        return listed

    async def cancel(self, job_id: str) -> types.Job:
        job: types.Job = await self._repeatable("cancel", job_id)
        return job

    async def watch(self, job_id: str) -> AsyncGenerator[types.Job, None]:
        async with contextlib.aclosing(streamed(self._stream, self._name, job_id)) as jobs:
            async for job in jobs:
                yield job
