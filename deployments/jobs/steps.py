"""Execution of one step: recorded by DBOS, retried, and only while this replica may run jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from dbos import DBOS
from dbos import error as dbos_errors

from deployments.jobs.retrying import CLEAN_UP_RETRIES, WORK_RETRIES
from deployments.observability.tracing import span

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from dbos import StepOptions

    from deployments.jobs.cancellation import Cancellations
    from deployments.jobs.leases import Lease

T = TypeVar("T")


class StepRunner:
    """Runs the steps of all jobs of this replica."""

    def __init__(self, lease: Lease, cancellations: Cancellations) -> None:
        self._lease = lease
        self._cancellations = cancellations

    @property
    def may_run(self) -> bool:
        """Whether no other replica can have taken over a job of this one."""
        return self._lease.valid

    async def run(
        self,
        job_id: str,
        name: str,
        work: Callable[..., Awaitable[T]],
        *args: Any,  # noqa: ANN401 - whatever the work takes
    ) -> T:
        """Run a step of the work, or raise JobCancelled if the job is to stop."""

        async def unless_cancelled() -> T:
            await self._cancellations.check(job_id)
            return await work(*args)

        return await self._run(name, unless_cancelled, WORK_RETRIES)

    async def run_clean_up(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Run a step that must be done in the end, however long it takes."""
        await self._run(name, work, CLEAN_UP_RETRIES)

    async def _run(self, name: str, work: Callable[[], Awaitable[T]], retries: StepOptions) -> T:
        """Do the work and record its result; after a crash, return what was recorded."""

        async def attempt() -> T:  # DBOS needs a coroutine function, which a lambda is not
            await self._lease.wait_until_valid()
            with span(name):
                return await work()

        try:
            result: T = await DBOS.run_step_async({**retries, "name": name}, attempt)
        except dbos_errors.DBOSMaxStepRetriesExceeded as error:
            raise error.errors[-1] from None
        return result
