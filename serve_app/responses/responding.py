"""Answer requests of one owner for responses, whole and as streaming events."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from loguru import logger

from deployments.errors import InvalidRequest, ServiceError, Unavailable
from deployments.llm.grammars.bounds import check_constraints_in_thread
from serve_app.answering.completion_events import ending_events, text_events
from serve_app.answering.engine_fields import WITH_USAGE, chat_text
from serve_app.http.bounds import check_answer_bounds, check_prompt_size
from serve_app.responses.ids import new_response_id
from serve_app.responses.items import (
    chat_messages,
    input_chars,
    latest,
    latest_items,
    prompt_chars,
    split_instructions,
    stored_items,
    text_message,
)
from serve_app.responses.output import Output
from serve_app.responses.turn import (
    constraints_of,
    prompt_of,
    response_of,
    shortens,
    turn_of,
)
from serve_app.schemas.fields import MAX_MESSAGES

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence

    from deployments.answer_events import AnswerEvent
    from deployments.interfaces import TextGenerator
    from serve_app.answering.answer import Answering
    from serve_app.answering.answer import Event as AnswerPart
    from serve_app.responses.interfaces import Item, ResponseStorage
    from serve_app.responses.items import ChatMessage
    from serve_app.responses.output import Event
    from serve_app.responses.turn import Turn
    from serve_app.schemas.responses.request import PromptRequest, ResponseRequest
    from serve_app.settings import AppSettings

# This API's name of each engine field that an error may name.
_NAMES = {
    "messages": "input",
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
    "response_format": "text.format",
}
_SAVE_S = 30.0
"""The timeout for storing the end of a response."""


class Responding:
    """Creates the responses of one owner; all its parts see that owner's data only."""

    def __init__(
        self,
        answering: Answering,
        llm: TextGenerator,
        settings: AppSettings,
        storage: ResponseStorage,
    ) -> None:
        self._answering = answering
        self._llm = llm
        self._settings = settings
        self._storage = storage
        self._saves: set[asyncio.Task[None]] = set()

    async def turn(
        self,
        request: ResponseRequest,
        response_id: str | None = None,
        created_at: int | None = None,
    ) -> Turn:
        """Check a request and read its history; nothing is generated yet.

        A response in the background keeps its `response_id` and `created_at`. Raises
        InvalidRequest, naming the field, for a request that cannot be answered, and NotFound for a
        previous response, conversation or item that does not exist. The caller checks the model.
        """
        response_id = response_id or new_response_id()
        with _renamed():
            messages, items = await self._read(request, response_id, request.max_output_tokens)
            created = int(time.time()) if created_at is None else created_at
            response = response_of(request, response_id, created, self._settings)
            return turn_of(request, messages, response, items, self._settings)

    async def input_tokens(self, request: PromptRequest) -> int:
        """Count the tokens of the prompt, without the sources of a grounded answer.

        Raises the errors of `turn`.
        """
        with _renamed():
            messages, _ = await self._read(request, new_response_id(), None)
            return await self._answering.prompt_tokens(prompt_of(request, messages, self._settings))

    async def whole(self, turn: Turn) -> dict[str, Any]:
        """Return the response, once it has ended and is stored."""
        output = Output(turn.response, turn.shown)
        with _renamed():
            if turn.question is not None:
                completion, grounded, finished = await self._answering.whole(turn.question)
                parts: list[AnswerPart] = [grounded, _events(completion), finished]
            else:
                assert turn.body is not None  # noqa: S101 - one of the two
                completion = await self._answering.bare(self._llm.chat(turn.body))
                parts = [_events(completion)]
        for part in parts:
            output.add(part)
        output.end()
        await self._save(output, turn)
        return output.response

    async def stream(
        self, turn: Turn, *, first_number: int = 0, begun_before: bool = False
    ) -> AsyncGenerator[Sequence[Event], None]:
        """Yield the events of the response, several at once where several are ready.

        Raises an error before the first event; a later one becomes `response.failed`. The response
        is stored before its last event is sent. Closing the generator, or cancelling its task,
        stops the generation, and the response is stored as cancelled with its output so far. For
        `first_number` and `begun_before` see Output.
        """
        output = Output(
            turn.response, turn.shown, first_number=first_number, begun_before=begun_before
        )
        ending: list[Event] = []
        try:
            with _renamed():
                async with contextlib.aclosing(self._parts(turn)) as parts:
                    async for part in parts:
                        if events := output.add(part):
                            yield events
            ending = output.end()
            await self._save_in_task(output, turn)
        except (GeneratorExit, asyncio.CancelledError):
            if output.begun and not ending:
                output.cancel()
                with contextlib.suppress(ServiceError):
                    await self._save_in_task(output, turn)
            raise
        except ServiceError as error:
            if not output.begun:
                raise
            ending = [*ending[:-1], *output.fail(error)]
            with contextlib.suppress(ServiceError):
                await self._save(output, turn)
        yield ending

    def _parts(self, turn: Turn) -> AsyncGenerator[AnswerPart, None]:
        if turn.question is not None:
            sampling = {**turn.question.sampling, **WITH_USAGE}
            return self._answering.stream(replace(turn.question, sampling=sampling))
        assert turn.body is not None  # noqa: S101 - one of the two
        return self._answering.bare_stream(self._llm.stream_chat({**turn.body, **WITH_USAGE}))

    async def _save(self, output: Output, turn: Turn) -> None:
        if turn.is_kept:
            await self._storage.save(output.response, turn.input_items)

    async def _save_in_task(self, output: Output, turn: Turn) -> None:
        """Save the response in a task of its own, which outlives a cancellation of the caller.

        The server cancels every wait of a request whose client has disconnected.
        """

        async def save() -> None:
            try:
                async with asyncio.timeout(_SAVE_S):
                    await self._save(output, turn)
            except TimeoutError:
                msg = "the response could not be stored in time"
                raise Unavailable(msg) from None

        task = asyncio.create_task(save())
        self._saves.add(task)
        task.add_done_callback(self._finish_save)
        await asyncio.shield(task)

    def _finish_save(self, save: asyncio.Task[None]) -> None:
        self._saves.discard(save)
        if not save.cancelled() and (error := save.exception()) is not None:
            logger.warning("a response could not be stored: {}", error)

    async def _read(
        self, request: PromptRequest, response_id: str, max_tokens: int | None
    ) -> tuple[list[ChatMessage], list[Item]]:
        """Check a request; return all its messages, and the input items of this turn."""
        await check_constraints_in_thread(constraints_of(request))
        earlier = await self._storage.history(request.previous_response_id, request.conversation_id)
        items = await self._input(request, response_id)
        # In a thread: converting a long history would block the event loop.
        messages = await asyncio.to_thread(self._messages, request, earlier, items, max_tokens)
        return messages, items

    async def _input(self, request: PromptRequest, response_id: str) -> list[Item]:
        """Return the items of this turn's input, with references resolved."""
        if request.input is None:
            return []
        if isinstance(request.input, str):
            return [text_message(request.input, response_id)]
        return await stored_items(request.input, response_id, self._storage)

    def _messages(
        self,
        request: PromptRequest,
        earlier: Sequence[Item],
        items: Sequence[Item],
        max_tokens: int | None,
    ) -> list[ChatMessage]:
        """Return the messages of the conversation, within the bounds.

        Leaves out the oldest messages of the history if the request allows that; otherwise raises
        InvalidRequest above the bounds.
        """
        limits, shortened = self._settings.limits, shortens(request)
        before, past = split_instructions(earlier)
        given, new = split_instructions(items)
        texts = [request.instructions] if request.instructions else []
        size = sum(map(len, texts)) + sum(map(prompt_chars, before)) + sum(map(input_chars, items))
        if shortened:  # before the conversion: a history may have 32 MiB
            past = latest_items(past, MAX_MESSAGES, limits.max_prompt_chars - size)
        check_prompt_size(self._settings, size + sum(map(prompt_chars, past)), param="input")
        texts += [message["content"] for message in chat_messages([*before, *given])]
        # Joined: many chat templates take only one system message.
        opening = [{"role": "system", "content": "\n\n".join(texts)}] if texts else []
        history, own = chat_messages(past), chat_messages(new)
        if history and shortened:
            spare_chars = limits.max_prompt_chars - _chars([*opening, *own])
            history = latest(history, MAX_MESSAGES - len(own) - 1, spare_chars)
        messages = [*opening, *history, *own]
        check_answer_bounds(
            self._settings,
            texts=[chat_text(message) for message in messages],
            max_tokens=max_tokens,
            top_k=request.context.top_k,
            text_param="input",
            tokens_param="max_output_tokens",
        )
        return messages


def _events(completion: Mapping[str, Any]) -> list[AnswerEvent]:
    return [*text_events(completion), *ending_events(completion)]


def _chars(messages: Sequence[ChatMessage]) -> int:
    return sum(len(chat_text(message)) for message in messages)


@contextlib.contextmanager
def _renamed() -> Iterator[None]:
    """Rename the engine's fields in errors to those of this API."""
    try:
        yield
    except InvalidRequest as error:
        engine, _, rest = (error.param or "").partition("[")
        if engine not in _NAMES or rest:
            raise
        error.param = _NAMES[engine]
        error.message = error.message.replace(f"{engine}:", f"{error.param}:", 1)
        raise
