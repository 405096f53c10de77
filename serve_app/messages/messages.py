"""Answer requests for messages, whole or as a stream, and count their tokens."""

from __future__ import annotations

import contextlib
import json
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from serve_app.answering.answer import (
    ANSWER_LIMITED,
    Attributed,
    Finished,
    Grounded,
    answer_limited,
)
from serve_app.answering.completion_events import ending_events, text_events
from serve_app.answering.grounding import Question
from serve_app.messages.blocks import (
    BlockList,
    BlockReader,
    EventWriter,
)
from serve_app.messages.citations import SourceCitations
from serve_app.messages.conversation import is_continued
from serve_app.messages.options import options
from serve_app.schemas.answers import dumped
from serve_app.settings import ANSWERING_MODEL

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Mapping

    from deployments.interfaces import TextGenerator
    from serve_app.answering.answer import Answering
    from serve_app.schemas.answers import Attribution, Warning_
    from serve_app.schemas.messages.requests import CountTokensRequest, MessagesRequest
    from serve_app.settings import AppSettings

_TEMPLATE_TOKENS = 512  # more than a chat template adds to messages and tools


class Messages:
    """Answers a request with the bare model or with a grounded answer.

    A grounded answer is one of `genserve`, or of the bare model with a hosted tool.
    """

    def __init__(
        self,
        answering: Answering,
        llm: TextGenerator,
        settings: AppSettings,
        messages: list[dict[str, Any]],
    ) -> None:
        """Keep the parts; `messages` are the chat messages of the request."""
        self._answering = answering
        self._llm = llm
        self._settings = settings
        self._messages = messages

    async def whole(self, request: MessagesRequest) -> dict[str, Any]:
        """Return the message."""
        blocks = BlockList()
        reader = BlockReader(blocks, thinking=_shows_thinking(request))
        more: dict[str, Any]
        if _is_grounded(request):
            question = self._question(request)
            completion, grounded, finished = await self._answering.whole(question)
            grounded = self._warned(request, grounded)
            reader.read(text_events(completion))
            reader.cite(SourceCitations(grounded.sources).of(finished.attributions))
            more = grounded.fields() | _ending(finished, finished.attributions)
            more["warnings"] = dumped([*grounded.warnings, *finished.warnings])
        else:
            body, more = await self._bare_body(request)
            completion = await self._answering.bare(self._llm.chat(body))
            reader.read(text_events(completion))
        reader.read(ending_events(completion))
        reader.end()
        usage = _usage(reader.usage) | {"service_tier": "standard"}
        return (
            _opening(request) | {"content": blocks.blocks()} | reader.stop | {"usage": usage} | more
        )

    async def stream(self, request: MessagesRequest) -> AsyncGenerator[str, None]:
        """Yield Anthropic's events as text, several at once where several are ready.

        The first event waits for the sources and the first token.
        """
        writer = EventWriter()
        reader = BlockReader(writer, thinking=_shows_thinking(request))
        write = self._grounded if _is_grounded(request) else self._bare
        steps = write(request, writer, reader)
        async with contextlib.aclosing(steps):
            async for more in steps:
                if more is not None:
                    reader.end()
                    usage = _usage(reader.usage)
                    writer.event("message_delta", delta=reader.stop, usage=usage, **more)
                    writer.event("message_stop")
                if written := writer.take():
                    yield written

    async def count_tokens(self, request: CountTokensRequest) -> int:
        """Count the tokens of the prompt, without the sources of a grounded answer."""
        return await self._answering.prompt_tokens(self._prompt(request))

    async def _grounded(
        self, request: MessagesRequest, writer: EventWriter, reader: BlockReader
    ) -> AsyncGenerator[dict[str, Any] | None, None]:
        """Write an answer; yield None after each step, and the fields of `message_delta` last."""
        citations = SourceCitations([])
        attributions: list[Attribution] = []
        warnings: list[Warning_] = []
        stream = self._answering.stream(self._question(request))
        async with contextlib.aclosing(stream):
            async for given in stream:
                match given:
                    case Grounded(sources):
                        citations = SourceCitations(sources)
                        grounded = self._warned(request, given)
                        warnings = grounded.warnings
                        begun = _begun(request, grounded.fields())
                        writer.event("message_start", message=begun)
                    case Attributed(found):
                        attributions += found
                        reader.cite(citations.of(found))
                    case Finished():
                        more = _ending(given, attributions)
                        if given.warnings:
                            more["warnings"] = dumped([*warnings, *given.warnings])
                        yield more
                        return
                    case _:
                        reader.read(given)
                yield None

    async def _bare(
        self, request: MessagesRequest, writer: EventWriter, reader: BlockReader
    ) -> AsyncGenerator[dict[str, Any] | None, None]:
        """Write an answer of the bare model; yield like `_grounded`."""
        body, more = await self._bare_body(request)
        begun = False
        stream = self._answering.bare_stream(self._llm.stream_chat(body))
        async with contextlib.aclosing(stream):
            async for given in stream:
                if not begun:
                    begun = True
                    writer.event("message_start", message=_begun(request, more))
                reader.read(given)
                yield None
        yield {}

    def _prompt(self, request: CountTokensRequest) -> dict[str, Any]:
        """Return the engine's request without `max_tokens`."""
        return {
            "model": self._settings.llm.served_name,
            "messages": self._messages,
            **options(request, continued=is_continued(self._messages)),
        }

    def _question(self, request: MessagesRequest) -> Question:
        question = Question.within(
            request.context,
            self._messages,
            top_k=self._settings.answer.top_k,
            max_tokens=self._max_tokens(request),
            sampling=options(request, continued=is_continued(self._messages)),
        )
        if request.model == ANSWERING_MODEL:
            return question
        return replace(question, documents=False)

    async def _bare_body(self, request: MessagesRequest) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the engine's request, and a warning if `max_tokens` was lowered.

        `max_tokens` is required, and clients send the maximum of a large model. So it is lowered to
        the room in the window. The engine refuses a prompt that leaves no room for an answer.
        """
        body = self._prompt(request)
        most = self._max_tokens(request)
        window = self._settings.llm.window or (await self._llm.card()).context_tokens
        written = json.dumps([body["messages"], body.get("tools")], ensure_ascii=False)
        # Count the tokens only if this bound is exceeded: no token is shorter than a byte.
        if most + len(written.encode()) + _TEMPLATE_TOKENS > window:
            room = window - await self._answering.prompt_tokens(body)
            most = min(most, room) if room > 0 else most
        body["max_tokens"] = most
        if most == request.max_tokens:
            return body, {}
        return body, {"warnings": dumped([answer_limited(most)])}

    def _warned(self, request: MessagesRequest, grounded: Grounded) -> Grounded:
        """Add a warning if the settings lower `max_tokens`."""
        most = self._max_tokens(request)
        known = any(warning.code == ANSWER_LIMITED for warning in grounded.warnings)
        if known or most == request.max_tokens:
            return grounded
        return replace(grounded, warnings=[*grounded.warnings, answer_limited(most)])

    def _max_tokens(self, request: MessagesRequest) -> int:
        return min(request.max_tokens, self._settings.limits.max_output_tokens)


def _is_grounded(request: MessagesRequest) -> bool:
    return request.model == ANSWERING_MODEL or request.reads_pages


def _shows_thinking(request: MessagesRequest) -> bool:
    thinking = request.thinking
    return thinking is None or (thinking.type != "disabled" and thinking.display != "omitted")


def _opening(request: MessagesRequest) -> dict[str, Any]:
    """Return the fields of a message that are known before its content."""
    opening: dict[str, Any] = {
        "id": f"msg_{secrets.token_hex(16)}",
        "type": "message",
        "role": "assistant",
        "model": request.model,
    }
    if (request.diagnostics or {}).get("previous_message_id"):
        opening["diagnostics"] = {"cache_miss_reason": {"type": "unavailable"}}
    if request.context_management is not None:
        opening["context_management"] = {"applied_edits": []}
    return opening


def _begun(request: MessagesRequest, more: Mapping[str, Any]) -> dict[str, Any]:
    """Return the message of the first event; only the last event has the token usage."""
    usage = _usage({}) | {"service_tier": "standard"}
    empty: dict[str, Any] = {
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage,
    }
    return _opening(request) | empty | dict(more)


def _usage(reported: Mapping[str, Any]) -> dict[str, Any]:
    cached = int((reported.get("prompt_tokens_details") or {}).get("cached_tokens") or 0)
    usage: dict[str, Any] = {
        "input_tokens": max(int(reported.get("prompt_tokens") or 0) - cached, 0),
        "output_tokens": int(reported.get("completion_tokens") or 0),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
    }
    if details := reported.get("completion_tokens_details"):
        reasoning = int(details.get("reasoning_tokens") or 0)
        usage["output_tokens_details"] = {"thinking_tokens": reasoning}
    return usage


def _ending(finished: Finished, attributions: Iterable[Attribution]) -> dict[str, Any]:
    return {
        "cited": finished.cited,
        "attributions": dumped(attributions),
        "timings": finished.timings,
    }
