"""A client of the running service for the evaluation: upload, search, ask."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import urlsplit

import aiohttp

from tests.bench.retrieval.answers import Answer
from tests.bench.retrieval.metrics import Found, Search
from tests.support.data_sets import File, Question
from tests.support.load import each

T = TypeVar("T")
R = TypeVar("R")

COLLECTION = "evaluation"
_INGEST_TIMEOUT_S = 1800.0
_POLL_S = 0.5
_SHOWN_CHARS = 300


class RequestError(Exception):
    """The service refused a request or failed; the message holds its answer."""


class Client:
    """Sends at most `clients` requests at once; raises RequestError."""

    def __init__(self, http: aiohttp.ClientSession, clients: int) -> None:
        self._http = http
        self._clients = clients
        self._file_names: dict[str, str] = {}

    async def upload(self, files: Sequence[File]) -> None:
        """Upload the files and wait for their jobs. Raises TimeoutError after half an hour."""
        async with asyncio.timeout(_INGEST_TIMEOUT_S):
            await self.each(self._upload, files)

    async def search(
        self,
        questions: Sequence[Question],
        passages: int,
        characters: int,
        queries: Sequence[Sequence[str]] | None = None,
    ) -> list[Search]:
        """Search for each question, or for `queries` in its place, within both limits."""
        asked = queries or [question.text for question in questions]

        async def one(both: tuple[Question, str | Sequence[str]]) -> Search:
            question, query = both
            body = {"query": query, "max_num_results": passages, "max_characters": characters}
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
        settings = {"temperature": 0, "max_tokens": max_tokens, "collection": COLLECTION}

        async def one(question: Question) -> Answer:
            began = time.perf_counter()
            body = {"prompt": question.text, **settings}
            answer = await self._json("POST", "/generate/text", json=body)
            seconds = time.perf_counter() - began
            sources = {
                source["id"]: Found(self._document_of(source["uri"]), source["text"])
                for source in answer["sources"]
            }
            return Answer(question, answer["content"], sources, seconds)

        return await self.each(one, questions)

    async def chat(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Have a model of the service answer a chat completion request."""
        return await self._json("POST", "/v1/chat/completions", json=body)

    async def each(self, work: Callable[[T], Awaitable[R]], items: Iterable[T]) -> list[R]:
        """Do the work for each item, as many at once as there are clients; keep the order."""
        return await each(work, items, self._clients)

    async def _upload(self, file: File) -> None:
        while True:
            # As browsers send names; by default a space would arrive as %20.
            form = aiohttp.FormData({"collection": COLLECTION}, quote_fields=False)
            form.add_field("file", file.data, filename=file.name)
            async with self._http.post("/upload", data=form) as answer:
                if answer.status != HTTPStatus.TOO_MANY_REQUESTS:
                    accepted = await _read(answer)
                    break
                pause_s = float(answer.headers.get("Retry-After", _POLL_S))
            await asyncio.sleep(pause_s)
        self._file_names[accepted["document_id"]] = file.name
        while True:
            job = await self._json("GET", f"/v1/jobs/{accepted['job_id']}")
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


async def _read(answer: aiohttp.ClientResponse) -> dict[str, Any]:
    if not answer.ok:
        msg = f"{answer.method} {answer.url.path} was answered {answer.status}: "
        raise RequestError(msg + (await answer.text())[:_SHOWN_CHARS])
    content: dict[str, Any] = await answer.json()
    return content
