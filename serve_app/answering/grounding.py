"""Grounding: web pages and documents, fetched concurrently under one deadline."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from deployments.errors import InvalidRequest, ServiceError
from deployments.types import PageOutcome
from serve_app.answering.excerpts import Excerpts, cut_at_top, share
from serve_app.answering.query_rewriting import Understanding
from serve_app.answering.urls import find_urls, without_urls
from serve_app.schemas.answers import PageReport, Source, Warning_
from serve_app.schemas.passages import content_uri, document_uri, own_title, place_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from deployments.filters import Filter
    from deployments.types import Page, Passage
    from serve_app.answering.stopwatch import Stopwatch
    from serve_app.schemas.chat import ContextOptions
    from serve_app.services import Services
    from serve_app.settings import AppSettings

_QUERY_CHARS = 2000  # More than an embedder reads.
_CHARS_PER_TOKEN = 3  # Little, for what is cut to real counts later loses its end.


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: messages in OpenAI's form, what to draw on, and how to sample.

    `web`, `documents` and `attribution` say what the request allows; the operator's settings can
    only take away from it, see `Grounding.gather`. Passages below `min_score` are left out.
    Without `shorten_history` a conversation that is longer than the model's window is refused.
    `sampling` holds further fields of the engine's request. `max_tokens` is None if the caller
    did not set it: the answer then has the tokens of the settings, or with `fill_window` all that
    the prompt leaves.
    """

    messages: Sequence[Mapping[str, Any]]
    collections: Sequence[str]
    top_k: int
    web: bool = True
    documents: bool = True
    filters: Filter | None = None
    attribution: bool = True
    max_tokens: int | None = None
    fill_window: bool = False
    min_score: float = 0.0
    shorten_history: bool = True
    sampling: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def within(
        cls,
        context: ContextOptions,
        messages: Sequence[Mapping[str, Any]],
        *,
        top_k: int,
        max_tokens: int | None,
        sampling: Mapping[str, Any],
    ) -> Self:
        """Return a question that draws on what a `context` allows, `top_k` passages by default."""
        return cls(
            messages=messages,
            collections=context.searched(),
            top_k=context.top_k or top_k,
            web=context.web,
            documents=context.documents,
            filters=context.filters.parsed() if context.filters else None,
            attribution=context.attribution,
            max_tokens=max_tokens,
            sampling=sampling,
        )


@dataclass(slots=True)
class Context:
    """The sources, best first and not yet numbered, and the warnings about missing ones.

    `queries` are the search queries for the documents.
    """

    sources: list[Source] = field(default_factory=list)
    warnings: list[Warning_] = field(default_factory=list)
    pages: list[PageReport] = field(default_factory=list)
    queries: list[str] = field(default_factory=list)


class Grounding:
    """Reads the pages a question names and searches the documents for it.

    Whatever fails is reported in `Context.warnings`; only the caller's own mistakes are raised,
    as InvalidRequest.
    """

    def __init__(self, services: Services, settings: AppSettings) -> None:
        self._services = services
        self._settings = settings.answer
        self._max_chars = settings.answer.max_source_tokens * _CHARS_PER_TOKEN
        self._excerpts = Excerpts(services.embedder)
        self._understanding = Understanding(services.llm, settings.answer, settings.llm.served_name)

    async def gather(self, question: Question, watch: Stopwatch) -> Context:
        """Read and search at once; pages come before passages, as the person named them.

        Pages are read, and documents searched, only where both the settings and the request
        allow it: no form of a request can switch on what the operator switched off.
        """
        text = _last_user_text(question.messages)
        urls = find_urls(text)
        wanted = without_urls(text, urls)[:_QUERY_CHARS]
        deadline = asyncio.get_running_loop().time() + self._settings.context_timeout_s
        read, found = Context(), Context()
        refused: InvalidRequest | None = None

        async def search() -> None:
            nonlocal refused
            try:
                await self._search(wanted, question, deadline, found)
            except InvalidRequest as error:  # The caller's mistake, such as the collection.
                refused = error

        async with asyncio.TaskGroup() as tasks:
            if urls and question.web and self._settings.web:
                tasks.create_task(watch.timed("pages_s", self._read(urls, wanted, deadline, read)))
            if wanted and question.documents and self._settings.documents:
                tasks.create_task(watch.timed("search_s", search()))
        if refused is not None:
            raise refused
        watch.mark("context_s")
        return Context(
            [*read.sources, *found.sources],
            [*read.warnings, *found.warnings],
            read.pages,
            found.queries,
        )

    async def _read(
        self, urls: Sequence[str], question: str, deadline: float, into: Context
    ) -> None:
        try:
            async with asyncio.timeout_at(deadline):
                pages = await self._services.scraper.fetch(urls)
        except (TimeoutError, ServiceError):
            message = "the page could not be read: the page reader did not answer"
            into.warnings += [
                Warning_(code="page_unavailable", message=message, url=url) for url in urls
            ]
            into.pages += [PageReport(url=url, outcome="unavailable") for url in urls]
            return
        into.pages += [_report(page) for page in pages]
        into.warnings += [_page_warning(p) for p in pages if p.outcome is not PageOutcome.OK]
        whole = [page for page in pages if page.outcome is PageOutcome.OK]
        texts = [page.text for page in whole]
        try:
            async with asyncio.timeout_at(deadline):
                texts = await self._excerpts.reduce(question, texts, self._max_chars)
        except (TimeoutError, ServiceError):
            shares = share([len(text) for text in texts], self._max_chars)
            texts = [cut_at_top(text, chars) for text, chars in zip(texts, shares, strict=True)]
            message = "of long pages only the beginning was read: their passages were not compared"
            into.warnings.append(Warning_(code="pages_cut", message=message))
        into.sources += [_page_source(*both) for both in zip(whole, texts, strict=True)]

    async def _search(self, query: str, question: Question, deadline: float, into: Context) -> None:
        try:
            async with asyncio.timeout_at(deadline):
                into.queries, into.warnings = await self._understanding.queries(
                    question.messages, query
                )
                passages = await self._services.retriever.search(
                    into.queries,
                    question.collections,
                    question.top_k,
                    self._max_chars,
                    question.filters,
                )
        except InvalidRequest:
            raise
        except (TimeoutError, ServiceError):
            message = "the documents could not be searched; the answer does without them"
            into.warnings.append(Warning_(code="search_unavailable", message=message))
            return
        into.sources += [
            _passage_source(passage) for passage in passages if passage.score >= question.min_score
        ]


def numbered(reports: Sequence[PageReport], sources: Sequence[Source]) -> list[PageReport]:
    """Say under which number each page went into the prompt, if it did."""
    numbers = {source.uri: source.id for source in sources if source.kind == "page"}
    return [
        report.model_copy(update={"source": numbers.get(report.uri) if report.uri else None})
        for report in reports
    ]


def _last_user_text(messages: Sequence[Mapping[str, Any]]) -> str:
    for message in reversed(messages):
        if message["role"] == "user":
            return str(message["content"])
    msg = "the messages need at least one of the role `user`"
    raise InvalidRequest(msg, param="messages")


def _report(page: Page) -> PageReport:
    uri = _uri(page) if page.outcome is PageOutcome.OK else None
    return PageReport(url=page.url, outcome=page.outcome, uri=uri, detail=page.detail or None)


def _uri(page: Page) -> str:
    return page.final_url or page.url


def _page_source(page: Page, text: str) -> Source:
    uri = _uri(page)
    return Source(id=0, kind="page", title=page.title or None, uri=uri, text=text)


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
        title=own_title(passage),
        section=passage.section or None,
        uri=document_uri(passage),
        content_uri=content_uri(passage),
        place=place_of(passage),
        page=passage.page_start,
        page_end=passage.page_end,
        filename=passage.filename,
        version=passage.version,
        attributes=passage.attributes,
        ocr=passage.ocr,
        score=round(passage.score, 4),
        text=passage.text,
    )
