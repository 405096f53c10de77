"""The running service as the evaluation uses it: upload, search, ask."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import urlsplit

import aiohttp

from tests.bench.retrieval.answers import Answer
from tests.bench.retrieval.data import File
from tests.bench.retrieval.metrics import Found, Question, Search

T = TypeVar("T")
R = TypeVar("R")

COLLECTION = "evaluation"
_REQUEST_TIMEOUT_S = 300.0
_INGEST_TIMEOUT_S = 1800.0
_POLL_S = 0.5
_SHOWN_CHARS = 300


class RequestError(Exception):
    """The service refused or failed; the message holds its answer."""


class Service:
    """At most `clients` requests are under way at once; raises RequestError."""

    def __init__(self, http: aiohttp.ClientSession, clients: int) -> None:
        self._http = http
        self._clients = clients
        self._file_names: dict[str, str] = {}

    @classmethod
    def session(cls, url: str) -> aiohttp.ClientSession:
        """Make what it speaks HTTP with."""
        timeout = aiohttp.ClientTimeout(total=_REQUEST_TIMEOUT_S)
        return aiohttp.ClientSession(url, timeout=timeout)

    async def upload(self, files: Sequence[File]) -> None:
        """Make the files searchable. Raises TimeoutError if that takes half an hour."""
        async with asyncio.timeout(_INGEST_TIMEOUT_S):
            await self.each(self._upload, files)

    async def search(
        self,
        questions: Sequence[Question],
        passages: int,
        characters: int,
        queries: Sequence[Sequence[str]] | None = None,
    ) -> list[Search]:
        """Ask each question, or what `queries` has in its place, for so much."""
        asked = queries or [question.text for question in questions]

        async def one(both: tuple[Question, str | Sequence[str]]) -> Search:
            question, query = both
            body = {
                "query": query,
                "max_num_results": passages,
                "max_characters": characters,
            }
            began = time.perf_counter()
            page = await self._json("POST", f"/v1/vector_stores/{COLLECTION}/search", json=body)
            seconds = time.perf_counter() - began
            found = [
                Found(
                    self._file_names.get(result["file_id"].replace("file-", "doc_"), ""),
                    "\n".join(content["text"] for content in result["content"]),
                )
                for result in page["data"]
            ]
            return Search(question, found, seconds)

        return await self.each(one, zip(questions, asked, strict=True))

    async def ask(self, questions: Sequence[Question], max_tokens: int) -> list[Answer]:
        """Have each question answered from the documents."""

        async def one(question: Question) -> Answer:
            body = {
                "prompt": question.text,
                "temperature": 0,
                "max_tokens": max_tokens,
                "collection": COLLECTION,
            }
            began = time.perf_counter()
            told = await self._json("POST", "/generate/text", json=body)
            seconds = time.perf_counter() - began
            sources = {
                source["id"]: Found(self._document_of(source["uri"]), source["text"])
                for source in told["sources"]
            }
            return Answer(question, told["content"], sources, seconds)

        return await self.each(one, questions)

    async def chat(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Have a model of the service answer a chat completion request."""
        return await self._json("POST", "/v1/chat/completions", json=body)

    async def _upload(self, file: File) -> None:
        while True:
            # As browsers send names: else they arrive with %20 for each space.
            form = aiohttp.FormData({"collection": COLLECTION}, quote_fields=False)
            form.add_field("file", file.data, filename=file.name)
            async with self._http.post("/upload", data=form) as answer:
                if answer.status != HTTPStatus.TOO_MANY_REQUESTS:
                    told = await _read(answer)
                    break
                pause_s = float(answer.headers.get("Retry-After", _POLL_S))
            await asyncio.sleep(pause_s)
        self._file_names[told["document_id"]] = file.name
        while True:
            job = await self._json("GET", f"/v1/jobs/{told['job_id']}")
            if job["status"] not in {"queued", "running"}:
                break
            await asyncio.sleep(_POLL_S)
        if job["status"] != "succeeded":
            msg = f"{file.name} has {job['status']}: {job['error']}"
            raise RequestError(msg)

    def _document_of(self, uri: str) -> str:
        return self._file_names.get(urlsplit(uri).path.rsplit("/", 1)[-1], "")

    async def _json(self, method: str, path: str, **content: Any) -> dict[str, Any]:
        async with self._http.request(method, path, **content) as answer:
            return await _read(answer)

    async def each(self, work: Callable[[T], Awaitable[R]], items: Iterable[T]) -> list[R]:
        """Do the work for each item, in order, by so many clients."""
        given = list(items)
        done: dict[int, R] = {}
        waiting = iter(enumerate(given))

        async def client() -> None:
            for number, item in waiting:
                done[number] = await work(item)

        # The failure itself and not a group of one: the caller shows its message.
        clients = [asyncio.ensure_future(client()) for _ in range(self._clients)]
        try:
            await asyncio.gather(*clients)
        finally:
            for one in clients:
                one.cancel()
            await asyncio.gather(*clients, return_exceptions=True)
        return [done[number] for number in range(len(given))]


async def _read(answer: aiohttp.ClientResponse) -> dict[str, Any]:
    if not answer.ok:
        msg = f"{answer.method} {answer.url.path} was answered {answer.status}: "
        raise RequestError(msg + (await answer.text())[:_SHOWN_CHARS])
    told: dict[str, Any] = await answer.json()
    return told
