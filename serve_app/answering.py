"""One answer: pages and documents gathered at once, fitted into a prompt, streamed."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from deployments.errors import DeadlineExceeded, InvalidRequest, ServiceError
from deployments.types import PageOutcome
from serve_app import prompts
from serve_app.schemas import Source, Warning_
from serve_app.stopwatch import Watch
from serve_app.urls import find_urls, without_urls

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from deployments.types import Page, Passage
    from serve_app.services import Services
    from serve_app.settings import AppSettings

_QUERY_CHARS = 2000  # More than an embedder reads.


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: messages in OpenAI's form, what to draw on, and how to sample.

    `sampling` holds further fields of the engine's request; `max_tokens` is None when the
    caller did not say.
    """

    messages: Sequence[Mapping[str, Any]]
    web: bool
    documents: bool
    collection: str
    top_k: int
    max_tokens: int | None = None
    sampling: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Grounded:
    """First event: what the answer was given to read, and what it had to do without."""

    sources: list[Source]
    warnings: list[Warning_]


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chat completion chunk of the engine."""

    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Finished:
    """Last event: seconds by stage."""

    timings: dict[str, float]


Event = Grounded | Chunk | Finished


@dataclass(slots=True)
class _Gathered:
    """The two halves of the context write here side by side."""

    sources: list[Source] = field(default_factory=list)
    warnings: list[Warning_] = field(default_factory=list)


class Answering:
    """Orchestration only: every wait is on another deployment."""

    def __init__(self, services: Services, settings: AppSettings) -> None:
        self._services = services
        self._settings = settings.answer
        self._model = settings.llm.served_name
        self._window: int | None = None

    async def whole(self, question: Question) -> tuple[dict[str, Any], Grounded, Finished]:
        """Return the engine's completion with what it was grounded on."""
        watch = Watch()
        async with self._deadline(watch):
            prompt, grounded = await self._prepare(question, watch)
            completion = await self._services.llm.chat(self._body(question, prompt))
        return completion, grounded, Finished(watch.finished())

    async def stream(self, question: Question) -> AsyncGenerator[Event, None]:
        """Yield Grounded once the engine has begun, its chunks, and Finished.

        Whoever awaits the first event gets a failure to begin as an exception. Closing the
        generator stops everything that is under way for it.
        """
        watch = Watch()
        async with self._deadline(watch):
            prompt, grounded = await self._prepare(question, watch)
        body = self._body(question, prompt)
        events = _chunks(self._services.llm.stream_chat(body))
        async with contextlib.aclosing(events):
            async with self._deadline(watch, self._settings.first_token_timeout_s):
                # The engine opens with a chunk that only names the role.
                opening = await anext(events)
            yield grounded
            yield Chunk(opening)
            while True:
                # Entered anew for each chunk: the consumer's task may not be always the same.
                async with self._deadline(watch):
                    chunk = await anext(events, None)
                watch.mark("first_token_s", once=True)
                if chunk is None:
                    break
                yield Chunk(chunk)
        yield Finished(watch.finished())

    async def bare(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return the bare model's completion, under the same time limit."""
        async with self._deadline(Watch()):
            return await self._services.llm.chat(body)

    async def bare_stream(self, body: Mapping[str, Any]) -> AsyncGenerator[str, None]:
        """Yield the bare model's events as they are, under the same time limits."""
        watch, first_timeout_s = Watch(), self._settings.first_token_timeout_s
        events = self._services.llm.stream_chat(body)
        async with contextlib.aclosing(events):
            async with self._deadline(watch, first_timeout_s):
                event = await anext(events, None)
            while event is not None:
                yield event
                async with self._deadline(watch):
                    event = await anext(events, None)

    @contextlib.asynccontextmanager
    async def _deadline(
        self, watch: Watch, step_timeout_s: float = float("inf")
    ) -> AsyncGenerator[None, None]:
        left = min(self._settings.total_timeout_s - watch.elapsed_s, step_timeout_s)
        try:
            async with asyncio.timeout(left):
                yield
        except TimeoutError:
            msg = "the answer took longer than the time allowed for it"
            raise DeadlineExceeded(msg) from None

    def _body(self, question: Question, prompt: prompts.Prompt) -> dict[str, Any]:
        return {
            "temperature": self._settings.temperature,
            **question.sampling,
            "model": self._model,
            "messages": prompt.messages,
            "max_tokens": prompt.answer_tokens,
        }

    async def _prepare(self, question: Question, watch: Watch) -> tuple[prompts.Prompt, Grounded]:
        gathered = await self._gather(question, watch)
        if self._window is None:
            self._window = (await self._services.llm.card()).context_tokens
        prompt = await prompts.build(
            question.messages,
            gathered.sources,
            extra=json.dumps(question.sampling.get("tools") or ""),
            wanted_answer_tokens=question.max_tokens,
            llm=self._services.llm,
            window=self._window,
            settings=self._settings,
        )
        watch.mark("prompt_s")
        if prompt.shortened:
            message = "the sources were shortened to fit the model's window"
            gathered.warnings.append(Warning_(code="sources_shortened", message=message))
        return prompt, Grounded(prompt.sources, gathered.warnings)

    async def _gather(self, question: Question, watch: Watch) -> _Gathered:
        text = _last_user_text(question.messages)
        urls = find_urls(text) if question.web else []
        query = without_urls(text)[:_QUERY_CHARS] if question.documents else ""
        pages, passages = _Gathered(), _Gathered()
        refused: InvalidRequest | None = None

        async def search() -> None:
            nonlocal refused
            try:
                await self._search(query, question, passages)
            except InvalidRequest as error:  # The caller's mistake, such as the collection.
                refused = error

        async with asyncio.TaskGroup() as tasks:
            if urls:
                tasks.create_task(watch.timed("pages_s", self._read(urls, pages)))
            if query:
                tasks.create_task(watch.timed("search_s", search()))
        if refused is not None:
            raise refused
        watch.mark("context_s")
        # Pages first: the person named them.
        sources = [
            source.model_copy(update={"id": n})
            for n, source in enumerate([*pages.sources, *passages.sources], 1)
        ]
        return _Gathered(sources, [*pages.warnings, *passages.warnings])

    async def _read(self, urls: Sequence[str], into: _Gathered) -> None:
        try:
            async with asyncio.timeout(self._settings.context_timeout_s):
                pages = await self._services.scraper.fetch(urls)
        except (TimeoutError, ServiceError):
            message = "the page could not be read: the page reader did not answer"
            into.warnings += [
                Warning_(code="page_unavailable", message=message, url=url) for url in urls
            ]
            return
        into.sources += [_page_source(page) for page in pages if page.outcome is PageOutcome.OK]
        into.warnings += [_page_warning(p) for p in pages if p.outcome is not PageOutcome.OK]

    async def _search(self, query: str, question: Question, into: _Gathered) -> None:
        try:
            async with asyncio.timeout(self._settings.context_timeout_s):
                passages = await self._services.retriever.search(
                    query, question.collection, question.top_k
                )
        except InvalidRequest:
            raise
        except (TimeoutError, ServiceError):
            message = "the documents could not be searched; the answer does without them"
            into.warnings.append(Warning_(code="search_unavailable", message=message))
            return
        into.sources += [_passage_source(passage) for passage in passages]


async def _chunks(events: AsyncGenerator[str, None]) -> AsyncGenerator[dict[str, Any], None]:
    """Parse server-sent events; an error among them is raised."""
    async with contextlib.aclosing(events):
        async for block in events:
            for line in block.splitlines():
                data = line.removeprefix("data: ")
                if data in {line, "[DONE]"}:
                    continue
                chunk = json.loads(data)
                if "error" in chunk:
                    raise ServiceError(str(chunk["error"].get("message", "generation failed")))
                yield chunk


def _last_user_text(messages: Sequence[Mapping[str, Any]]) -> str:
    for message in reversed(messages):
        if message["role"] == "user":
            return str(message["content"])
    msg = "the messages need at least one of the role `user`"
    raise InvalidRequest(msg, param="messages")


def _page_source(page: Page) -> Source:
    uri = page.final_url or page.url
    return Source(id=0, kind="page", title=page.title or uri, uri=uri, text=page.text)


def _page_warning(page: Page) -> Warning_:
    return Warning_(
        code=f"page_{page.outcome.value}",
        message=page.detail or "the page could not be read",
        url=page.url,
    )


def _passage_source(passage: Passage) -> Source:
    return Source(
        id=0,
        kind="document",
        title=passage.title or passage.filename,
        uri=f"/v1/documents/{passage.document_id}",
        page=passage.page_start,
        page_end=passage.page_end,
        score=round(passage.score, 4),
        text=passage.text,
    )
