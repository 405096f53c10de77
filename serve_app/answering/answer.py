"""One answer: grounded, fitted into a prompt, streamed."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

from deployments.answer_events import AnswerEvent, Opening, Piece
from deployments.errors import CONTEXT_LENGTH_EXCEEDED, InvalidRequest, Unavailable
from deployments.observability.metrics import FIRST_TOKEN, WARNINGS
from deployments.observability.tracing import LongSpan, span
from serve_app.answering import prompts
from serve_app.answering.attribution.attributor import Attributor
from serve_app.answering.attribution.meanings import Meanings
from serve_app.answering.cited_answer import CitedAnswer
from serve_app.answering.deadline import Deadline, late
from serve_app.answering.grounding import Grounding, numbered
from serve_app.answering.metrics import Counted
from serve_app.answering.stopwatch import Stopwatch
from serve_app.schemas.answers import Warning_, dumped
from serve_app.settings import ANSWERING_MODEL

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Mapping

    from serve_app.answering.grounding import Question
    from serve_app.schemas.answers import Attribution, PageReport, Source
    from serve_app.services import Services
    from serve_app.settings import AppSettings

T = TypeVar("T")

ANSWER_LIMITED = "answer_limited"
_ATTRIBUTION_WAIT_S = 2.0  # for the last sentences, once the answer has ended


@dataclass(frozen=True, slots=True)
class Grounded:
    """First event: what the answer was given to read, and what it had to do without."""

    sources: list[Source]
    warnings: list[Warning_]
    pages: list[PageReport]
    queries: list[str] = field(default_factory=list)

    def fields(self) -> dict[str, Any]:
        """Return the fields that grounding adds to an answer, as JSON."""
        return {
            "sources": dumped(self.sources),
            "pages": dumped(self.pages),
            "warnings": dumped(self.warnings),
        }


@dataclass(frozen=True, slots=True)
class Attributed:
    """Sentences that have ended a while before, with the sources that support them."""

    attributions: list[Attribution]


@dataclass(frozen=True, slots=True)
class Finished:
    """Last event: seconds by stage, and the numbers of the sources referred to.

    `warnings` are those that came after Grounded; `attributions` are empty in a stream, which had
    them in its Attributed events.
    """

    timings: dict[str, float]
    cited: list[int]
    warnings: list[Warning_] = field(default_factory=list)
    attributions: list[Attribution] = field(default_factory=list)


Event = Grounded | Sequence[AnswerEvent] | Attributed | Finished
"""Grounded, then the engine's events without citations of what is no source, among them Attributed
events, then Finished."""


class Answering:
    """Orchestration only: every wait is on another deployment."""

    def __init__(self, services: Services, settings: AppSettings) -> None:
        self._llm = services.llm
        self._grounding = Grounding(services, settings)
        self._settings = settings.answer
        self._meanings = Meanings(services.embedder, reranks=settings.embedder.reranker is not None)
        self._model = settings.llm.served_name
        self._window = settings.llm.window

    async def whole(self, question: Question) -> tuple[dict[str, Any], Grounded, Finished]:
        """Return the engine's completion with what it was grounded on."""
        watch = Stopwatch()
        with Counted("genserve"):
            async with self._deadline(watch):
                prompt, grounded = await self._prepare(question, watch)
                with span("generation"):
                    completion = await self._llm.chat(self._body(question, prompt))
            answer = _cited_answer(question, grounded)
            completion = answer.whole(completion) | {"model": ANSWERING_MODEL}
            with contextlib.closing(self._attributor(question, grounded)) as attributor:
                for choice in completion["choices"]:
                    text = choice["message"].get("content") or ""
                    attributor.feed_text(text, choice.get("index", 0))
                attributions = await attributor.rest(self._attribution_wait_s(watch))
        grounded = replace(grounded, sources=answer.marked(grounded.sources))
        late_warnings = _counted(attributor.warnings)
        return (
            completion,
            grounded,
            Finished(watch.finished(), answer.cited, late_warnings, attributions),
        )

    async def stream(self, question: Question) -> AsyncGenerator[Event, None]:
        """Yield Grounded once the engine has begun, its chunks, and Finished.

        Whoever awaits the first event gets a failure to begin as an exception. Closing the
        generator stops everything that is under way for it.
        """
        watch = Stopwatch()
        with Counted("genserve"), contextlib.ExitStack() as ending:
            async with self._deadline(watch):
                prompt, grounded = await self._prepare(question, watch)
            answer = _cited_answer(question, grounded)
            attributor = self._attributor(question, grounded)
            ending.callback(attributor.close)
            body = self._body(question, prompt)
            generation = LongSpan("generation")
            ending.callback(generation.end)
            stream = self._llm.stream_chat(body)
            async with contextlib.aclosing(stream):
                async with self._deadline(watch, self._settings.first_token_timeout_s):
                    with generation.inside():
                        events: Sequence[AnswerEvent] | None = await _first(stream)
                yield grounded
                with Deadline(self._left_s(watch)) as deadline:
                    while events is not None:
                        if not watch.has("first_token_s") and any(map(_is_written, events)):
                            watch.mark("first_token_s")
                        if shown := answer.shown(_named(events)):
                            yield shown
                            attributor.feed(shown)
                        if ready := attributor.ready():
                            yield Attributed(ready)
                        events = await deadline.next(stream)
            if rest := answer.rest():
                yield rest
                attributor.feed(rest)
            if ready := await attributor.rest(self._attribution_wait_s(watch)):
                yield Attributed(ready)
        if not watch.has("first_token_s"):  # the answer is empty
            watch.mark("first_token_s")
        yield Finished(watch.finished(), answer.cited, _counted(attributor.warnings))

    async def prompt_tokens(self, body: Mapping[str, Any]) -> int:
        """Count the tokens of the prompt of an engine's request, within a time limit."""
        async with self._deadline(Stopwatch(), self._settings.first_token_timeout_s):
            return await self._llm.prompt_tokens(body)

    async def bare(self, answer: Awaitable[dict[str, Any]]) -> dict[str, Any]:
        """Return what the bare model makes, under the same time limit."""
        with Counted("bare"):
            async with self._deadline(Stopwatch()):
                return await answer

    async def bare_stream(
        self, stream: AsyncGenerator[Sequence[AnswerEvent], None]
    ) -> AsyncGenerator[Sequence[AnswerEvent], None]:
        """Yield the bare model's events as they are, under the same time limits."""
        watch = Stopwatch()
        with Counted("bare"):
            async with contextlib.aclosing(stream):
                async with self._deadline(watch, self._settings.first_token_timeout_s):
                    events: Sequence[AnswerEvent] | None = await _first(stream)
                # vLLM opens with the role when it has the first token, not before.
                FIRST_TOKEN.observe(watch.elapsed_s, model="bare")
                with Deadline(self._left_s(watch)) as deadline:
                    while events is not None:
                        yield events
                        events = await deadline.next(stream)

    @contextlib.asynccontextmanager
    async def _deadline(
        self, watch: Stopwatch, step_timeout_s: float = float("inf")
    ) -> AsyncGenerator[None, None]:
        try:
            async with asyncio.timeout(min(self._left_s(watch), step_timeout_s)):
                yield
        except TimeoutError:
            raise late() from None

    def _attributor(self, question: Question, grounded: Grounded) -> Attributor:
        wanted = self._settings.attribution and question.attribution and _is_text(question)
        return Attributor(grounded.sources if wanted else [], self._meanings)

    def _attribution_wait_s(self, watch: Stopwatch) -> float:
        return min(_ATTRIBUTION_WAIT_S, self._left_s(watch))

    def _left_s(self, watch: Stopwatch) -> float:
        return self._settings.total_timeout_s - watch.elapsed_s

    def _body(self, question: Question, prompt: prompts.Prompt) -> dict[str, Any]:
        body = {
            "temperature": self._settings.temperature,
            **question.sampling,
            "model": self._model,
            "messages": prompt.messages,
            "max_tokens": prompt.answer_tokens,
        }
        if "min_tokens" in body:  # or the engine would refuse what there is no room for
            body["min_tokens"] = min(body["min_tokens"], prompt.answer_tokens)
        return body

    async def _prepare(
        self, question: Question, watch: Stopwatch
    ) -> tuple[prompts.Prompt, Grounded]:
        context = await self._grounding.gather(question, watch)
        tools = question.sampling.get("tools")
        if self._window is None:
            self._window = (await self._llm.card()).context_tokens
        with span("prompt"):
            prompt = await prompts.build(
                question.messages,
                context.sources,
                extra=json.dumps(tools, indent=4) if tools else "",  # as most templates write them
                wanted_answer_tokens=question.max_tokens,
                fill_window=question.fill_window,
                llm=self._llm,
                window=self._window,
                settings=self._settings,
            )
        watch.mark("prompt_s")
        if prompt.shortened:
            message = "the sources were shortened to fit the model's window"
            context.warnings.append(Warning_(code="sources_shortened", message=message))
        if prompt.forgotten and not question.shorten_history:
            msg = (
                f"This model's maximum context length is {self._window} tokens: the conversation "
                f"is longer; set `truncation` to `auto` to leave out its oldest messages"
            )
            raise InvalidRequest(msg, code=CONTEXT_LENGTH_EXCEEDED, param="messages")
        if prompt.forgotten:
            message = (
                f"the {prompt.forgotten} oldest messages were left out: the conversation is "
                "longer than the model's window"
            )
            context.warnings.append(Warning_(code="history_shortened", message=message))
        if (question.max_tokens or 0) > prompt.answer_tokens:
            context.warnings.append(answer_limited(prompt.answer_tokens))
        _counted(context.warnings)
        reports = numbered(context.pages, prompt.sources)
        return prompt, Grounded(prompt.sources, context.warnings, reports, context.queries)


def answer_limited(most_tokens: int) -> Warning_:
    """Return the warning that an answer may be shorter than was asked."""
    message = f"there is room for an answer of {most_tokens} tokens only"
    return Warning_(code=ANSWER_LIMITED, message=message)


def _cited_answer(question: Question, grounded: Grounded) -> CitedAnswer:
    """Let JSON be: its numbers in brackets are lists, and without them it could not be read."""
    return CitedAnswer(len(grounded.sources) if _is_text(question) else 0)


def _named(events: Sequence[AnswerEvent]) -> Sequence[AnswerEvent]:
    """Return events whose chunks name the requested model."""
    if not any(isinstance(event, Opening) for event in events):
        return events
    return [
        event._replace(fields={**event.fields, "model": ANSWERING_MODEL})
        if isinstance(event, Opening)
        else event
        for event in events
    ]


def _is_text(question: Question) -> bool:
    form = question.sampling.get("response_format") or {"type": "text"}
    return bool(form.get("type") == "text")


def _counted(warnings: list[Warning_]) -> list[Warning_]:
    for warning in warnings:
        WARNINGS.add(code=warning.code)
    return warnings


async def _first(stream: AsyncGenerator[T, None]) -> T:
    """Return the first item; raise Unavailable if the engine's stream ends without one."""
    async for item in stream:
        return item
    msg = "the language model ended its answer before it began"
    raise Unavailable(msg)


def _is_written(event: AnswerEvent) -> bool:
    """Return whether the model wrote this: text, or reasoning or a part of a tool call."""
    if not isinstance(event, Piece):
        return False
    return bool(event.text or (event.delta and event.delta.keys() - {"role"}))
