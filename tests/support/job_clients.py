"""Clients of the kill test: each submits work, watches it to its end, and begins again."""

from __future__ import annotations

import itertools
import math
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Self

import httpx

from tests.support.document_clients import DocumentClient, Shelves
from tests.support.pdfs import pdf, plain_text

INGEST, IMAGES = "ingest", "images"
ENDED = frozenset({"succeeded", "failed", "cancelled"})
PATIENCE_S = 300.0  # a node is ready again after a minute or two

_REQUEST_TIMEOUT_S = 30.0
_PAUSE_S = 0.5
_DOWN = frozenset({429, 502, 503, 504})
_SAME_AGAIN_SHARE, _AT_ONCE_SHARE, _CANCELLED_SHARE = 0.15, 0.2, 0.15
_DOCUMENTS_SHARE = 0.5
_CANCEL_WITHIN_S = 5.0
_PAGES = (2, 8)
_PICTURES = (3, 6)
_COLOURS = "red green blue yellow white black orange purple".split()
_SHAPES = "circle square triangle star".split()


@dataclass
class Acknowledged:
    """A job that was promised; `status` is the last one seen."""

    job_id: str
    kind: str
    document_id: str = ""
    pictures: int = 0
    status: str = ""
    error: dict[str, Any] | None = None
    done: int = 0
    total: int | None = None
    cancelled: bool = False


@dataclass
class Ledger:
    """What the service has promised and said, for all clients together."""

    jobs: dict[str, Acknowledged] = field(default_factory=dict)
    lies: list[str] = field(default_factory=list)
    lost: set[str] = field(default_factory=set)
    down: Counter[str] = field(default_factory=Counter)
    given_up: int = 0
    shelves: Shelves = field(default_factory=Shelves)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def acknowledge(self, job: Acknowledged) -> Acknowledged:
        """Write down a promise; the same job may be promised twice."""
        with self._lock:
            known = self.jobs.setdefault(job.job_id, job)
            if (known.kind, known.document_id) != (job.kind, job.document_id):
                self.lies.append(f"{job.job_id} was promised for two different things")
            return known

    def said(self, job: Acknowledged, answer: httpx.Response) -> None:
        """Write down what a job says of itself, and whether that can be true."""
        with self._lock:
            if answer.status_code == httpx.codes.NOT_FOUND:
                self.lost.add(job.job_id)
                return
            if not answer.is_success:
                self.lies.append(f"{job.job_id} answers {answer.status_code}")
                return
            told = answer.json()
            if job.status in ENDED and told["status"] != job.status:
                self.lies.append(f"{job.job_id} was {job.status} and is {told['status']}")
            job.status, job.error = told["status"], told["error"]
            job.done, job.total = told["progress"]["done"], told["progress"]["total"]
            if job.total is not None and job.done > job.total:
                self.lies.append(f"{job.job_id} has done {job.done} of {job.total}")

    def lie(self, text: str) -> None:
        """Write down an answer that cannot be right."""
        with self._lock:
            self.lies.append(text)

    def was_down(self, reason: str) -> None:
        """Count a request that has to be repeated."""
        with self._lock:
            self.down[reason] += 1

    def give_up(self) -> None:
        """Count a request that was repeated for too long."""
        with self._lock:
            self.given_up += 1


class Clients:
    """A closed loop of `count` clients in threads, while the block lasts.

    Each has one submission under way, so that the load is bounded whatever is killed.
    """

    def __init__(self, url: str, ledger: Ledger, *, count: int, seed: int) -> None:
        self._url = url
        self._ledger = ledger
        self._count = count
        self._seed = seed
        self._numbers = itertools.count(1)
        self._last = 0
        self._closing = threading.Event()
        self._end = math.inf
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="client")
        self._clients: list[Future[None]] = []

    def __enter__(self) -> Self:
        for number in range(self._count):
            draw = random.Random(f"{self._seed}/{number}")  # noqa: S311
            self._clients.append(self._pool.submit(self._client, str(number), draw))
        return self

    def __exit__(self, *_: object) -> None:
        self._end = 0.0
        self._closing.set()
        self._pool.shutdown()

    def drain(self, limit_s: float) -> None:
        """Submit nothing more, and wait until all has ended, but no longer than `limit_s`."""
        self._end = time.monotonic() + limit_s
        self._closing.set()
        for client in self._clients:
            client.result()

    def _client(self, name: str, draw: random.Random) -> None:
        with httpx.Client(base_url=self._url, timeout=_REQUEST_TIMEOUT_S, trust_env=False) as http:
            documents = DocumentClient(
                self._ledger.shelves, name, partial(self._ask, http), self._ledger.lie
            )
            while not self._closing.is_set():
                if draw.random() < _DOCUMENTS_SHARE:
                    self._change(http, documents, draw)
                    continue
                submit = draw.choice((self._upload, self._pictures))
                jobs = list(submit(http, draw))
                if jobs and draw.random() < _CANCELLED_SHARE:
                    self._closing.wait(draw.uniform(0, _CANCEL_WITHIN_S))
                    self._cancel(http, jobs[0])
                for job in jobs:
                    self._watch(http, job)

    def _change(self, http: httpx.Client, documents: DocumentClient, draw: random.Random) -> None:
        """Change the document or the vector store of the client."""
        for job_id, document_id in documents.act(draw, lambda: time.monotonic() > self._end):
            promised = Acknowledged(job_id, INGEST, document_id=document_id)
            job = self._ledger.acknowledge(promised)
            self._watch(http, job)
            documents.version_ended(job.status)

    def _upload(self, http: httpx.Client, draw: random.Random) -> Iterator[Acknowledged]:
        """Upload a new document or one from before; now and then the same twice at once."""
        if self._last and draw.random() < _SAME_AGAIN_SHARE:
            number = draw.randint(1, self._last)
        else:
            number = self._last = next(self._numbers)
        pages = random.Random(number).randint(*_PAGES)  # noqa: S311
        if number % 2:
            file = (f"volume-{number}.pdf", pdf(number, pages))
        else:
            file = (f"volume-{number}.txt", plain_text(number, pages))
        documents = set()
        for _ in range(2 if draw.random() < _AT_ONCE_SHARE else 1):
            answer = self._ask(http, "POST", "/upload", files={"file": file})
            if answer is None:
                return
            if answer.status_code not in {httpx.codes.OK, httpx.codes.ACCEPTED}:
                self._ledger.lie(f"an upload was answered {answer.status_code}: {answer.text}")
                return
            told = answer.json()
            documents.add(told["document_id"])
            if told.get("job_id"):
                yield self._ledger.acknowledge(
                    Acknowledged(told["job_id"], INGEST, document_id=told["document_id"])
                )
        if len(documents) > 1:
            self._ledger.lie(f"one file became {documents}")

    def _pictures(self, http: httpx.Client, draw: random.Random) -> Iterator[Acknowledged]:
        """Ask for some pictures; by its key a repeated request is the same one."""
        colour, ground = draw.sample(_COLOURS, 2)
        count = draw.randint(*_PICTURES)
        body = {
            "prompt": f"a {colour} {draw.choice(_SHAPES)} on a {ground} background",
            "count": count,
            "seed": draw.randrange(1 << 30),
        }
        key = {"Idempotency-Key": f"{draw.getrandbits(64):016x}"}
        answer = self._ask(http, "POST", "/generate/image/background", json=body, headers=key)
        if answer is None:
            return
        if answer.status_code not in {httpx.codes.OK, httpx.codes.ACCEPTED}:
            self._ledger.lie(f"pictures were answered {answer.status_code}: {answer.text}")
            return
        job = Acknowledged(answer.json()["job_id"], IMAGES, pictures=count)
        yield self._ledger.acknowledge(job)

    def _cancel(self, http: httpx.Client, job: Acknowledged) -> None:
        answer = self._ask(http, "POST", f"/v1/jobs/{job.job_id}/cancel")
        if answer is None:
            return
        if answer.is_success:
            job.cancelled = True
        elif answer.status_code == httpx.codes.NOT_FOUND:
            self._ledger.said(job, answer)
        elif answer.status_code != httpx.codes.CONFLICT:
            self._ledger.lie(f"cancelling was answered {answer.status_code}: {answer.text}")

    def _watch(self, http: httpx.Client, job: Acknowledged) -> None:
        while time.monotonic() < self._end:
            answer = self._ask(http, "GET", f"/v1/jobs/{job.job_id}")
            if answer is None:
                return
            self._ledger.said(job, answer)
            if job.status in ENDED or job.job_id in self._ledger.lost:
                return
            time.sleep(_PAUSE_S)

    def _ask(
        self, http: httpx.Client, method: str, path: str, **content: Any
    ) -> httpx.Response | None:
        """Ask for as long as is left; None, and noted, if nobody is there to answer."""
        end = min(time.monotonic() + PATIENCE_S, self._end)
        return ask(http, self._ledger, end, method, path, **content)


def ask(
    http: httpx.Client, ledger: Ledger, end: float, method: str, path: str, **content: Any
) -> httpx.Response | None:
    """Ask until somebody is there to answer, or until the monotonic time `end`."""
    while True:
        try:
            answer = http.request(method, path, **content)
        except httpx.TransportError as error:
            reason = type(error).__name__
        else:
            if answer.status_code not in _DOWN and not _from_the_proxy(answer):
                return answer
            reason = str(answer.status_code)
        ledger.was_down(reason)
        if time.monotonic() > end:
            ledger.give_up()
            return None
        time.sleep(_PAUSE_S)


def _from_the_proxy(answer: httpx.Response) -> bool:
    """Whether Serve's proxy knows no application yet: a node that starts is down a while longer.

    An application of ours answers in the one form of errors, whatever it does not find.
    """
    return answer.status_code == httpx.codes.NOT_FOUND and "/-/routes" in answer.text
