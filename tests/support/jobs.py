"""Wait for jobs of a running service, from asynchronous clients."""

from __future__ import annotations

import asyncio
from collections.abc import Container
from typing import Any

import aiohttp

from tests.support.job_clients import ENDED

STATUSES = ENDED | {"queued", "running"}
_POLL_S = 0.2


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
