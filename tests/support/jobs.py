"""Wait for jobs of a running service."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Container
from typing import Any

import aiohttp
import httpx

from tests.support.job_clients import ENDED

STATUSES = ENDED | {"queued", "running"}
_POLL_S = 0.2
_PROGRESS_WITHIN_S = 240.0


async def job_in(
    http: aiohttp.ClientSession, job_id: str, statuses: Container[str] = STATUSES
) -> dict[str, Any]:
    """Wait until a job has one of `statuses`, and return it; error answers are ignored."""
    while True:
        async with http.get(f"/v1/jobs/{job_id}") as answer:
            job: dict[str, Any] = await answer.json()
        if answer.ok and job["status"] in statuses:
            return job
        await asyncio.sleep(_POLL_S)


def job_ended(
    http: httpx.Client, job_id: str, timeout_s: float = _PROGRESS_WITHIN_S
) -> dict[str, Any]:
    """Wait until a job has ended, and return it; raise TimeoutError if it makes no progress."""
    seen: dict[str, Any] = {}
    end = time.monotonic() + timeout_s
    while True:
        job: dict[str, Any] = http.get(f"/v1/jobs/{job_id}").raise_for_status().json()
        if job["status"] in ENDED:
            return job
        if job != seen:
            seen, end = job, time.monotonic() + timeout_s
        if time.monotonic() > end:
            msg = f"the job makes no progress: {job}"
            raise TimeoutError(msg)
        time.sleep(_POLL_S)
