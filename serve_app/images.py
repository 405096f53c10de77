"""Pictures on request: what may be asked for, and an answer that waits for its job."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
import secrets
from typing import TYPE_CHECKING

from deployments.bounds import MAX_IMAGE_PROMPT_CHARS
from deployments.errors import (
    Conflict,
    DeadlineExceeded,
    InvalidRequest,
    ServiceError,
    Unavailable,
    error_of,
)
from deployments.serving.request_context import detached
from deployments.types import ImagesSpec, JobStatus
from serve_app.schemas.images import MAX_SEED

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from contextlib import AbstractContextManager

    from deployments.interfaces import Jobs
    from deployments.types import Job, Submitted
    from serve_app.settings import AppSettings

    Place = Callable[[], AbstractContextManager[None]]

_SIZE = re.compile(r"([0-9]{1,5})x([0-9]{1,5})")
_SIDE_MULTIPLE = 8
_WATCH_AGAIN_S = 0.5


def images_spec(  # noqa: PLR0913 - what can be asked for
    settings: AppSettings,
    *,
    prompt: str,
    count: int,
    size: str | None = None,
    steps: int | None = None,
    seed: int | None = None,
    key: str | None = None,
    count_param: str = "count",
) -> ImagesSpec:
    """Fill in what the request left open; raises InvalidRequest, naming bound and field.

    Without a seed, an idempotency `key` settles it: sent again, the request is the same.
    """
    bounds, most = settings.images, settings.jobs.max_images
    _require(
        bool(prompt.strip()) and len(prompt) <= MAX_IMAGE_PROMPT_CHARS,
        "prompt",
        f"must have 1 to {MAX_IMAGE_PROMPT_CHARS} characters that are not all blank",
    )
    # PostgreSQL keeps no text with it.
    _require("\0" not in prompt, "prompt", "must not contain the character NUL")
    _require(1 <= count <= most, count_param, f"must be from 1 to {most}")
    steps = bounds.steps if steps is None else steps
    _require(1 <= steps <= bounds.max_steps, "steps", f"must be from 1 to {bounds.max_steps}")
    width, height = _sides(settings, size)
    if seed is None:
        seed = secrets.randbelow(MAX_SEED + 1) if key is None else _seed_of(key)
    return ImagesSpec(prompt, count, width, height, steps, seed)


class Imaging:
    """Image jobs that somebody waits for."""

    def __init__(self, jobs: Jobs, timeout_s: float, place: Place) -> None:
        """Hold a `place` for each caller that waits."""
        self._jobs = jobs
        self._place = place
        self._timeout_s = timeout_s
        self._leftover: set[asyncio.Task[None]] = set()

    async def made(self, spec: ImagesSpec, key: str | None) -> Job:
        """Return the job once it has succeeded, and raise what it failed of.

        Raises Overloaded if too many callers of the owner wait. A caller that is cancelled, and
        one whose time has run out, cancels the job it began.
        """
        with self._place():
            return await self._made(spec, key)

    async def _made(self, spec: ImagesSpec, key: str | None) -> Job:
        # A task of its own: a job that is being accepted just now must not go unnoticed.
        submission = detached(self._submitted(spec, key))
        try:
            async with asyncio.timeout(self._timeout_s):
                job = await self._end_of((await asyncio.shield(submission)).job)
        except BaseException as error:
            self._in_background(self._abandon(submission))
            if isinstance(error, TimeoutError):
                msg = f"the pictures took longer than {self._timeout_s:g} s; ask for fewer at once"
                raise DeadlineExceeded(msg) from None
            raise
        if job.status is not JobStatus.SUCCEEDED:
            raise _failure_of(job)
        return job

    async def _submitted(self, spec: ImagesSpec, key: str | None) -> Submitted:
        return await self._jobs.submit_images(spec, key)

    async def _end_of(self, job: Job) -> Job:
        while True:
            try:
                async with contextlib.aclosing(self._jobs.watch(job.id)) as changes:
                    async for change in changes:
                        job = change
            except Unavailable:
                # The job outlives the replica that reported on it: keep waiting.
                await asyncio.sleep(_WATCH_AGAIN_S)
            else:
                return job

    async def _abandon(self, submission: asyncio.Future[Submitted]) -> None:
        # Conflict when it has ended just now; whatever else fails, nobody is left to hear it.
        with contextlib.suppress(ServiceError):
            submitted = await submission
            # A job found by its key was begun by another request, which may still wait for it.
            if submitted.created:
                await self._jobs.cancel(submitted.job.id)

    def _in_background(self, work: Coroutine[None, None, None]) -> None:
        task = detached(work)
        self._leftover.add(task)  # else it might be collected while it runs
        task.add_done_callback(self._leftover.discard)


def _require(holds: bool, param: str, rule: str) -> None:  # noqa: FBT001 - reads like assert
    if not holds:
        msg = f"{param}: {rule}"
        raise InvalidRequest(msg, code="invalid_value", param=param)


def _sides(settings: AppSettings, size: str | None) -> tuple[int, int]:
    bounds = settings.images
    if size is None or size == "auto":
        return bounds.size, bounds.size
    match = _SIZE.fullmatch(size)
    width, height = (int(match[1]), int(match[2])) if match else (0, 0)
    _require(
        all(
            side % _SIDE_MULTIPLE == 0 and bounds.min_size <= side <= bounds.max_size
            for side in (width, height)
        ),
        "size",
        f"must be WIDTHxHEIGHT, each a multiple of {_SIDE_MULTIPLE} from {bounds.min_size} "
        f"to {bounds.max_size} pixels, such as {bounds.size}x{bounds.size}",
    )
    return width, height


def _seed_of(key: str) -> int:
    return int.from_bytes(hashlib.sha256(key.encode()).digest()) % (MAX_SEED + 1)


def _failure_of(job: Job) -> ServiceError:
    if job.status is JobStatus.CANCELLED:
        msg = "the job that made these pictures was cancelled"
        return Conflict(msg)
    return error_of(job.error_code, job.error_message or "the pictures could not be made")
