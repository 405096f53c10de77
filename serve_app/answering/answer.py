"""One answer: grounded, fitted into a prompt, streamed."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from deployments.errors import DeadlineExceeded, ServiceError, Unavailable
from deployments.observability.metrics import FIRST_TOKEN, WARNINGS
from deployments.observability.tracing import LongSpan, span
from serve_app.answering import prompts
from serve_app.answering.cited_answer import CitedAnswer
from serve_app.answering.grounding import Grounding, numbered
from serve_app.answering.metrics import Counted
from serve_app.answering.stopwatch import Stopwatch
from serve_app.schemas.answers import Warning_

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable

    from serve_app.answering.grounding import Question
    from serve_app.schemas.answers import PageReport, Source
    from serve_app.services import Services
    from serve_app.settings import AppSettings

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Grounded:
    """First event: what the answer was given to read, and what it had to do without."""

    sources: list[Source]
    warnings: list[Warning_]
    pages: list[PageReport]


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chat completion chunk of the engine, without citations of what is no source."""

    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Finished:
    """Last event: seconds by stage, and the numbers of the sources referred to."""

    timings: dict[str, float]
    cited: list[int]


Event = Grounded | Chunk | Finished


class Answering:
    """Orchestration only: every wait is on another deployment."""

    def __init__(self, services: Services, settings: AppSettings) -> None:
        self._llm = services.llm
        self._grounding = Grounding(services, settings)
        self._settings = settings.answer
        self._model = settings.llm.served_name
        self._window: int | None = None

    async def whole(self, question: Question) -> tuple[dict[str, Any], Grounded, Finished]:
        """Return the engine's completion with what it was grounded on."""
        watch = Stopwatch()
        with Counted("genserve"):
            async with self._deadline(watch):
                prompt, grounded = await self._prepare(question, watch)
                with span("generation"):
                    completion = await self._llm.chat(self._body(question, prompt))
            answer = _cited_answer(question, grounded)
            completion = answer.whole(completion)
        grounded = replace(grounded, sources=answer.marked(grounded.sources))
        return completion, grounded, Finished(watch.finished(), answer.cited)

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
            body = self._body(question, prompt)
            generation = LongSpan("generation")
            ending.callback(generation.end)
            events = _chunks(self._llm.stream_chat(body))
            async with contextlib.aclosing(events):
                async with self._deadline(watch, self._settings.first_token_timeout_s):
                    # Most engines open with a chunk that only names the role.
                    with generation.inside():
                        opening = await _first(events)
                yield grounded
                if shown := answer.chunk(opening):
                    yield Chunk(shown)
                while True:
                    # Entered anew for each chunk: the consumer's task may not be always the same.
                    async with self._deadline(watch):
                        chunk = await anext(events, None)
                    watch.mark("first_token_s", once=True)
                    if chunk is None:
                        break
                    if shown := answer.chunk(chunk):
                        yield Chunk(shown)
            if rest := answer.rest():
                yield Chunk(rest)
        yield Finished(watch.finished(), answer.cited)

    async def bare(self, answer: Awaitable[dict[str, Any]]) -> dict[str, Any]:
        """Return what the bare model makes, under the same time limit."""
        with Counted("bare"):
            async with self._deadline(Stopwatch()):
                return await answer

    async def bare_stream(self, events: AsyncGenerator[str, None]) -> AsyncGenerator[str, None]:
        """Yield the bare model's events as they are, under the same time limits."""
        watch, first_timeout_s = Stopwatch(), self._settings.first_token_timeout_s
        with Counted("bare"):
            async with contextlib.aclosing(events):
                async with self._deadline(watch, first_timeout_s):
                    event: str | None = await _first(events)
                # vLLM opens with the role when it has the first token, not before.
                FIRST_TOKEN.observe(watch.elapsed_s, model="bare")
                while event is not None:
                    yield event
                    async with self._deadline(watch):
                        event = await anext(events, None)

    @contextlib.asynccontextmanager
    async def _deadline(
        self, watch: Stopwatch, step_timeout_s: float = float("inf")
    ) -> AsyncGenerator[None, None]:
        left = min(self._settings.total_timeout_s - watch.elapsed_s, step_timeout_s)
        try:
            async with asyncio.timeout(left):
                yield
        except TimeoutError:
            msg = "the answer took longer than the time allowed for it"
            raise DeadlineExceeded(msg) from None

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
                llm=self._llm,
                window=self._window,
                settings=self._settings,
            )
        watch.mark("prompt_s")
        if prompt.shortened:
            message = "the sources were shortened to fit the model's window"
            context.warnings.append(Warning_(code="sources_shortened", message=message))
        if prompt.forgotten:
            message = (
                f"the {prompt.forgotten} oldest messages were left out: the conversation is "
                "longer than the model's window"
            )
            context.warnings.append(Warning_(code="history_shortened", message=message))
        if (question.max_tokens or 0) > prompt.answer_tokens:
            message = f"there is room for an answer of {prompt.answer_tokens} tokens only"
            context.warnings.append(Warning_(code="answer_limited", message=message))
        for warning in context.warnings:
            WARNINGS.add(code=warning.code)
        reports = numbered(context.pages, prompt.sources)
        return prompt, Grounded(prompt.sources, context.warnings, reports)


def _cited_answer(question: Question, grounded: Grounded) -> CitedAnswer:
    """Let JSON be: its numbers in brackets are lists, and without them it could not be read."""
    form = question.sampling.get("response_format") or {"type": "text"}
    return CitedAnswer(len(grounded.sources) if form.get("type") == "text" else 0)


async def _first(events: AsyncGenerator[T, None]) -> T:
    """Return the first item; raise Unavailable if the engine's stream ends without one."""
    async for event in events:
        return event
    msg = "the language model ended its answer before it began"
    raise Unavailable(msg)


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
