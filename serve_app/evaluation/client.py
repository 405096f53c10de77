"""Client of the running service for evaluations, with timeouts and retries."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from typing import TYPE_CHECKING, Any, TypeVar

import aiohttp

from serve_app.evaluation.answers import Answer
from serve_app.evaluation.retrieval import Found, Search
from serve_app.launch.progress import say
from serve_app.schemas.searches import MAX_QUERY_CHARS
from serve_app.service_client import (
    ATTEMPTS,
    BUSY,
    CommandError,
    Interruption,
    Refusal,
    checked_address,
    pause_s,
    refusal,
)
from serve_app.settings import ANSWERING_MODEL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from serve_app.evaluation.data_sets import File, Question

T = TypeVar("T")
R = TypeVar("R")

_REQUEST_TIMEOUT_S = 300.0
REPORT_S = 5.0
"""Interval of progress reports."""
_MAX_BUSY_S = 900.0  # of retries of one request while the service is overloaded
_TOO_MANY = 429
_UNAUTHORISED = {401, 403}
_ERROR_STATUS = 400


@contextlib.asynccontextmanager
async def connected(url: str, key: str, clients: int) -> AsyncIterator[Client]:
    """Connect to the service; raises CommandError if it cannot be reached or refuses the key."""
    address, proxied = checked_address(url)
    async with aiohttp.ClientSession(
        headers={"authorization": f"Bearer {key}"} if key else {},
        timeout=aiohttp.ClientTimeout(total=_REQUEST_TIMEOUT_S),
        connector=aiohttp.TCPConnector(limit=0),
        trust_env=proxied,
    ) as http:
        client = Client(http, address, clients)
        await client.connect()
        yield client


class Client:
    """Sends at most `clients` requests at once; its methods raise CommandError."""

    def __init__(self, http: aiohttp.ClientSession, address: str, clients: int) -> None:
        self.models: dict[str, str] = {}
        """The names of the service's models by their kinds, after `connect`."""
        self._http = http
        self._address = address
        self._clients = clients

    async def connect(self) -> None:
        """Read the models; raise CommandError without retries if that fails."""
        try:
            listed, _ = await self._attempt("GET", "/v1/models")
        except Interruption as error:
            msg = f"{error}: start the service with `genserve serve FILE`, or name its --url"
            raise CommandError(msg) from error
        except Refusal as error:
            if error.status not in _UNAUTHORISED:
                raise
            msg = f"the service refuses the API key: {error}"
            raise CommandError(msg) from error
        try:
            self.models = {str(model["kind"]): str(model["id"]) for model in listed["data"]}
        except (LookupError, TypeError) as error:
            msg = f"{self._address} is no GenServe service"
            raise CommandError(msg) from error

    async def search(
        self,
        store: str,
        question: Question,
        results: int,
        characters: int | None = None,
        query: str | Sequence[str] | None = None,
    ) -> Search:
        """Search for the question, or for `query` in its place."""
        asked = query or question.text[:MAX_QUERY_CHARS]
        body: dict[str, Any] = {"query": asked, "max_num_results": results}
        if characters is not None:
            body["max_characters"] = characters
        path = f"/v1/vector_stores/{store}/search"
        page, seconds = await self._sent("POST", path, json=body)
        found = [
            Found(one["filename"], [part["text"] for part in one["content"]])
            for one in page["data"]
        ]
        return Search(question, found, seconds)

    async def answer(self, store: str, question: Question, max_tokens: int) -> Answer:
        """Answer the question from the documents."""
        body = {
            "model": ANSWERING_MODEL,
            "messages": [{"role": "user", "content": question.text[:MAX_QUERY_CHARS]}],
            "temperature": 0,
            "max_tokens": max_tokens,
            "context": {"web": False, "collection": store},
        }
        completion, seconds = await self._sent("POST", "/v1/chat/completions", json=body)
        message = completion["choices"][0]["message"]
        sources = completion["sources"]
        return Answer(
            question,
            message["content"] or "",
            {one["id"]: Found(one["filename"] or "", [one["text"]]) for one in sources},
            cited_sources(completion),
            seconds,
        )

    async def upload(self, store: str, file: File) -> str:
        """Upload a file; return the name of its document. Raises Refusal or CommandError."""

        def form() -> aiohttp.FormData:
            # As browsers send names; by default a space would arrive as %20.
            made = aiohttp.FormData({"collection": store}, quote_fields=False)
            made.add_field("file", file.data, filename=file.name)
            return made

        accepted, _ = await self._sent("POST", "/upload", form=form)
        if accepted["document_id"] is None:
            msg = f"{file.name} is a ZIP file: unpack it, as each file in it is a document"
            raise CommandError(msg)
        return str(accepted["filename"])

    async def json(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:  # noqa: ANN401 - JSON
        """Return the JSON that a request is answered with."""
        return (await self._sent(method, path, json=body))[0]

    async def each(
        self,
        work: Callable[[T], Awaitable[R]],
        items: Sequence[T],
        at_once: int | None = None,
        *,
        progress: str = "",
    ) -> list[R]:
        """Do the work for each item, at most `at_once` at a time (default: the clients), in order.

        With `progress`, a verb, report the number of finished items every few seconds.
        """
        limit = asyncio.Semaphore(at_once or self._clients)
        done, reported_at = 0, time.monotonic()

        async def one(item: T) -> R:
            nonlocal done, reported_at
            async with limit:
                result = await work(item)
            done += 1
            if progress and time.monotonic() - reported_at >= REPORT_S:
                reported_at = time.monotonic()
                say(f"{progress}: {done:,} of {len(items):,}")
            return result

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(item)) for item in items]
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _sent(
        self,
        method: str,
        path: str,
        form: Callable[[], aiohttp.FormData] | None = None,
        **content: Any,  # noqa: ANN401 - of aiohttp
    ) -> tuple[Any, float]:
        """Return the JSON of the response, and the seconds that the last attempt took."""
        failed, give_up = 0, time.monotonic() + _MAX_BUSY_S
        while True:
            try:
                data = {"data": form()} if form else {}
                return await self._attempt(method, path, **data, **content)
            except (Interruption, Refusal) as error:
                if isinstance(error, Refusal) and error.status not in BUSY:
                    raise
                # A full queue or a rate limit is no failure.
                waits = isinstance(error, Refusal) and error.status == _TOO_MANY
                failed += not waits
                if failed >= ATTEMPTS or time.monotonic() > give_up:
                    raise CommandError(str(error)) from error
                await asyncio.sleep(pause_s(error, failed))

    async def _attempt(self, method: str, path: str, **content: Any) -> tuple[Any, float]:  # noqa: ANN401 - as above
        began = time.perf_counter()
        try:
            async with self._http.request(method, self._address + path, **content) as response:
                body = await response.read()
                seconds = time.perf_counter() - began
                if response.status >= _ERROR_STATUS:
                    raise refusal(response.status, body, response.headers.get("Retry-After"))
            return json.loads(body), seconds
        except (aiohttp.ClientError, OSError, ValueError) as error:
            msg = f"{self._address} cannot be reached: {error or type(error).__name__}"
            raise Interruption(msg) from error


def cited_sources(completion: Mapping[str, Any]) -> list[int]:
    """Return the numbers of the sources that an answer cites, each once.

    If the service has attributed the sentences of the answer, its annotations name the sources;
    else the numbers in brackets do.
    """
    annotations = completion["choices"][0]["message"].get("annotations") or []
    if annotations or completion.get("attributions"):
        return list(dict.fromkeys(one[one["type"]]["source"] for one in annotations))
    return [source["id"] for source in completion["sources"] if source.get("cited")]
