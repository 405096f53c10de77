"""Mixed honest load on a service, and samples of all its processes meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections import Counter
from collections.abc import Iterator

import aiohttp
import psutil

from tests.support.job_clients import IMAGES, INGEST, Clients, Ledger
from tests.support.load import questions
from tests.support.process_samples import Samples

_CLIENTS, _JOB_CLIENTS = 3, 2
_SAMPLE_S, _TASKS_EVERY = 10.0, 6
_LEAVES_EVERY, _ERRS_EVERY = 5, 7
_DOCUMENTS_KEPT = 20
_DELETED, _NOT_FOUND = 204, 404


async def sampled_load(
    url: str, model: str, launcher: psutil.Process, seconds: float
) -> tuple[Samples, Counter[str]]:
    """Put the load on a service without keys; return the samples, and what the load was."""
    samples, done, ledger, deleted = Samples(launcher), Counter[str](), Ledger(), set[str]()
    began = time.monotonic()
    timeout = aiohttp.ClientTimeout(total=300)
    with Clients(url, ledger, count=_JOB_CLIENTS, seed=1):
        async with aiohttp.ClientSession(url, timeout=timeout) as http:
            numbers = itertools.count()
            chats = [
                asyncio.create_task(_chat(http, model, numbers, done)) for _ in range(_CLIENTS)
            ]
            for sample in itertools.count():
                if (elapsed := time.monotonic() - began) > seconds:
                    break
                await asyncio.to_thread(samples.read, elapsed)
                if sample % _TASKS_EVERY == 0:
                    await asyncio.to_thread(samples.read_tasks, elapsed)
                await _delete_old(http, ledger, deleted)
                await asyncio.sleep(_SAMPLE_S)
            for chat in chats:
                chat.cancel()
            await asyncio.wait(chats)
    for job in ledger.jobs.values():
        if job.status == "succeeded":
            done["documents"] += job.kind == INGEST
            done["image jobs"] += job.kind == IMAGES
        done["cancelled jobs"] += job.status == "cancelled"
    done["deleted documents"] = len(deleted)
    return samples, done


async def _delete_old(http: aiohttp.ClientSession, ledger: Ledger, deleted: set[str]) -> None:
    """Delete all but the last documents, so that the store has the same size all the time."""
    jobs = [job for job in list(ledger.jobs.values()) if job.kind == INGEST]
    stored = [job for job in jobs if job.status == "succeeded"]
    kept = {job.document_id for job in stored[-_DOCUMENTS_KEPT:]}
    for job in stored[:-_DOCUMENTS_KEPT]:
        if job.job_id not in deleted and job.document_id not in kept:
            async with http.delete(f"/v1/documents/{job.document_id}") as answer:
                if answer.status in {_DELETED, _NOT_FOUND}:  # two jobs may be of one document
                    deleted.add(job.job_id)


async def _chat(
    http: aiohttp.ClientSession, model: str, numbers: Iterator[int], done: Counter[str]
) -> None:
    """Ask without end; now and then leave early, or ask for what is refused."""
    for prompt in questions():
        number = next(numbers)
        tokens = 10**6 if number % _ERRS_EVERY == 0 else 32
        body = {"model": model if number % 2 else "genserve", "max_tokens": tokens, "stream": True}
        body |= {"messages": [{"role": "user", "content": prompt}]}
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with http.post("/v1/chat/completions", json=body) as answer:
                if not answer.ok:
                    done["refused chats" if answer.status < 500 else "failed chats"] += 1
                elif number % _LEAVES_EVERY:
                    await answer.read()
                    done["chats"] += 1
                else:
                    await answer.content.read(1)
                    done["chats left early"] += 1
