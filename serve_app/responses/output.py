"""Translate the events of an answer to output items and streaming events.

Whole and streamed responses share this code, so that they cannot differ.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from deployments.answer_events import Piece, TokenUsage
from serve_app.answering.answer import Attributed, Finished, Grounded
from serve_app.answering.completion_events import reasoning_of
from serve_app.responses.annotations import annotation_of, search_result
from serve_app.responses.ids import (
    FILE_SEARCH,
    FUNCTION_CALL,
    MESSAGE,
    REASONING,
    WEB_SEARCH,
    new_item_id,
)
from serve_app.responses.logprobs import output_logprobs, shown_logprobs
from serve_app.responses.output_items import OutputCall, OutputMessage, OutputReasoning
from serve_app.schemas.answers import dumped

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from deployments.answer_events import AnswerEvent
    from deployments.errors import ServiceError
    from serve_app.answering.answer import Event as AnswerPart
    from serve_app.responses.output_items import OutputItem
    from serve_app.schemas.answers import Attribution, PageReport, Source

Event = dict[str, Any]
"""A streaming event of OpenAI's Responses API, as JSON."""

TEXT_DELTA = "response.output_text.delta"
REASONING_DELTA = "response.reasoning_text.delta"
ARGUMENTS_DELTA = "response.function_call_arguments.delta"
SEARCH_FAILED = "search_unavailable"
"""The warning code for documents that could not be searched."""
_READ = "ok"
"""The outcome of a page that was read."""
_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""The reason of an incomplete response, by the engine's finish reason."""
_RATE_LIMIT = "rate_limit_exceeded"
_SERVER_ERROR = "server_error"


@dataclass(frozen=True, slots=True)
class Shown:
    """Which hosted tools are shown as items, and what the items include.

    `namespaces` has the namespace and the name of functions, by the names that the model knows.
    """

    file_search: bool = False
    web_search: bool = False
    search_results: bool = False
    namespaces: Mapping[str, tuple[str, str]] = field(default_factory=dict)


class Output:
    """Collects one response, and returns the streaming events of each step.

    `response` is the response as it begins; `first_number` is the sequence number of the first
    event. With `begun_before`, the first event is `response.in_progress`, as an earlier attempt has
    sent `response.created`.
    """

    def __init__(
        self,
        response: Mapping[str, Any],
        shown: Shown,
        *,
        first_number: int = 0,
        begun_before: bool = False,
    ) -> None:
        self.response: dict[str, Any] = {**response, "output": []}
        self.begun = False
        self._shown = shown
        self._number = first_number
        self._begun_before = begun_before
        self._items: list[dict[str, Any] | None] = []  # None while an item is not complete
        self._open: list[OutputItem] = []
        self._calls: dict[int, OutputCall] = {}
        self._message: OutputMessage | None = None
        self._answered = self._ended = False
        self._sources: dict[int, Source] = {}
        self._attributions: list[dict[str, Any]] = []
        self._finish_reason: str | None = None
        self._usage: Mapping[str, Any] | None = None
        self._finished: Finished | None = None

    def add(self, given: AnswerPart) -> list[Event]:
        """Add the next part of an answer, and return its events."""
        if isinstance(given, Grounded):
            self._ground(given)
        events = [] if self.begun else self._start_response()
        match given:
            case Grounded():
                events += self._tool_items(given)
            case Attributed(attributions):
                events += self._annotate(attributions)
            case Finished():
                events += self._annotate(given.attributions)
                self._finished = given
            case _:
                for event in given:
                    events += self._add_event(event)
        return events

    def end(self) -> list[Event]:
        """End the response, and return its last events."""
        events = [] if self.begun else self._start_response()
        reason = _INCOMPLETE.get(self._finish_reason or "")
        if not self._answered:
            events += self._start_message()
        events += self._end_items(cut=reason is not None)
        if self._finished is not None:
            self._add_findings(self._finished)
        if reason:
            self.response["incomplete_details"] = {"reason": reason}
        self._finish("incomplete" if reason else "completed")
        events.append(self._event(f"response.{self.response['status']}", response=self.response))
        return events

    def fail(self, error: ServiceError) -> list[Event]:
        """End the response as failed, and return its last events.

        After `end`, they replace the last event that `end` returned.
        """
        if self._ended:
            self._number -= 1
        events = self._end_items(cut=True)
        code = _RATE_LIMIT if error.code == "overloaded" else _SERVER_ERROR
        self.response["error"] = {"code": code, "message": error.message}
        self._finish("failed")
        events.append(self._event("response.failed", response=self.response))
        return events

    def cancel(self) -> None:
        """Cancel the response of a client that has disconnected, without further events."""
        self._end_items(cut=True)
        self._finish("cancelled")

    def _event(self, kind: str, **fields: Any) -> Event:  # noqa: ANN401 - JSON
        number = self._number
        self._number += 1
        return {"type": kind, "sequence_number": number, **fields}

    def _start_response(self) -> list[Event]:
        self.begun = True
        kinds = ("in_progress",) if self._begun_before else ("created", "in_progress")
        response = dict(self.response)
        return [self._event(f"response.{kind}", response=response) for kind in kinds]

    def _finish(self, status: str) -> None:
        self._ended = True
        self.response["status"] = status
        self.response["completed_at"] = int(time.time()) if status == "completed" else None
        self.response["output"] = [item for item in self._items if item is not None]
        self.response["usage"] = _usage(self._usage) if self._usage else None

    def _ground(self, grounded: Grounded) -> None:
        self._sources = {source.id: source for source in grounded.sources}
        self.response |= grounded.fields()

    def _add_findings(self, finished: Finished) -> None:
        cited = set(finished.cited)
        self.response["sources"] = dumped(
            source.model_copy(update={"cited": source.id in cited})
            for source in self._sources.values()
        )
        self.response["warnings"] = [*self.response["warnings"], *dumped(finished.warnings)]
        self.response["attributions"] = self._attributions
        self.response["timings"] = finished.timings

    def _tool_items(self, grounded: Grounded) -> Iterator[Event]:
        if self._shown.file_search and grounded.queries:
            yield from self._file_search(grounded)
        if self._shown.web_search:
            for page in grounded.pages:
                yield from self._page_read(page)

    def _file_search(self, grounded: Grounded) -> Iterator[Event]:
        failed = any(warning.code == SEARCH_FAILED for warning in grounded.warnings)
        results = None
        if self._shown.search_results:
            documents = [one for one in grounded.sources if one.kind == "document"]
            results = [search_result(source) for source in documents]
        done = {"queries": grounded.queries, "results": results}
        begun: Event = {"queries": [], "results": None}
        yield from self._tool_item("file_search_call", FILE_SEARCH, begun, done, failed=failed)

    def _page_read(self, page: PageReport) -> Iterator[Event]:
        action = {"action": {"type": "open_page", "url": page.url}}
        failed = page.outcome != _READ
        yield from self._tool_item("web_search_call", WEB_SEARCH, action, action, failed=failed)

    def _tool_item(
        self, kind: str, prefix: str, begun: Event, done: Event, *, failed: bool
    ) -> Iterator[Event]:
        """Return the events of a hosted tool, which has run already."""
        index = len(self._items)
        item = {"id": new_item_id(prefix, self.response["id"]), "type": kind}
        opened = {**item, "status": "in_progress", **begun}
        yield self._event("response.output_item.added", output_index=index, item=opened)
        where = {"output_index": index, "item_id": item["id"]}
        steps = ["in_progress", "searching", *([] if failed else ["completed"])]
        for step in steps:
            yield self._event(f"response.{kind}.{step}", **where)
        item |= {"status": "failed" if failed else "completed", **done}
        self._items.append(item)
        yield self._event("response.output_item.done", output_index=index, item=item)

    def _add_event(self, event: AnswerEvent) -> list[Event]:
        if not isinstance(event, Piece):
            if isinstance(event, TokenUsage):
                self._usage = event.tokens
            return []
        text, choice_index, finish_reason, delta, choice, chunk = event
        if chunk and chunk.get("usage"):
            self._usage = chunk["usage"]
        if choice_index != 0:
            return []
        if finish_reason:
            self._finish_reason = finish_reason
        if not (delta or choice):  # most events have text only
            return self._add_text(text) if text else []
        events: list[Event] = []
        delta = delta or {}
        if reasoning := reasoning_of(delta):
            events += self._add_reasoning(reasoning)
        logprobs = output_logprobs(choice) if choice else []
        if text or logprobs:
            events += self._add_text(text or "", logprobs)
        for place, call in enumerate(delta.get("tool_calls") or ()):
            events += self._add_call(call.get("index", place), call)
        return events

    def _add_reasoning(self, text: str) -> list[Event]:
        events: list[Event] = []
        last = self._open[-1] if self._open else None
        if not isinstance(last, OutputReasoning):
            last = OutputReasoning(*self._new_item(REASONING))
            events += self._start_item(last)
        last.texts.append(text)
        events.append(self._event(REASONING_DELTA, **last.where(), delta=text))
        return events

    def _add_text(self, text: str, logprobs: Sequence[dict[str, Any]] = ()) -> list[Event]:
        events = [] if self._message else self._start_message()
        message = self._message
        assert message is not None  # noqa: S101 - opened above
        message.texts.append(text)
        message.logprobs += logprobs
        number = self._number
        self._number += 1
        events.append(
            {
                "type": TEXT_DELTA,
                "sequence_number": number,
                "item_id": message.id,
                "output_index": message.index,
                "content_index": 0,
                "delta": text,
                "logprobs": shown_logprobs(logprobs) if logprobs else [],
            }
        )
        return events

    def _start_message(self) -> list[Event]:
        self._answered = True
        events = self._end_items_of(OutputReasoning)
        self._message = OutputMessage(*self._new_item(MESSAGE))
        return events + self._start_item(self._message)

    def _add_call(self, index: int, call: Mapping[str, Any]) -> list[Event]:
        function = call.get("function") or {}
        events: list[Event] = []
        if index not in self._calls:
            self._answered = True
            events += self._end_items_of(OutputReasoning)
            events += self._end_items_of(OutputCall)
            if not self._sources:  # otherwise attributions are still to come
                events += self._end_items_of(OutputMessage)
            item_id, place = self._new_item(FUNCTION_CALL)
            call_id = str(call.get("id") or f"call_{item_id.partition('_')[2]}")
            full_name = str(function.get("name") or "")
            namespace, name = self._shown.namespaces.get(full_name, (None, full_name))
            self._calls[index] = OutputCall(item_id, place, call_id, name, namespace)
            events += self._start_item(self._calls[index])
        made = self._calls[index]
        if arguments := function.get("arguments"):
            made.arguments.append(arguments)
            events.append(self._event(ARGUMENTS_DELTA, **made.where(), delta=arguments))
        return events

    def _annotate(self, attributions: Sequence[Attribution]) -> list[Event]:
        events: list[Event] = []
        for one in attributions:
            self._attributions.append(one.model_dump())
            annotation = annotation_of(one, self._sources.get(one.source or 0))
            if annotation is None or self._message is None:
                continue
            number = len(self._message.annotations)
            self._message.annotations.append(annotation)
            events.append(
                self._event(
                    "response.output_text.annotation.added",
                    **self._message.where(),
                    annotation_index=number,
                    annotation=annotation,
                )
            )
        return events

    def _new_item(self, prefix: str) -> tuple[str, int]:
        self._items.append(None)
        return new_item_id(prefix, self.response["id"]), len(self._items) - 1

    def _start_item(self, item: OutputItem) -> list[Event]:
        self._open.append(item)
        shown = item.item("in_progress")
        added = self._event("response.output_item.added", output_index=item.index, item=shown)
        return [added, *(self._event(f"response.{kind}", **more) for kind, more in item.start())]

    def _end_items(self, *, cut: bool) -> list[Event]:
        """End all open items, and return their events; with `cut`, the last one is incomplete."""
        events: list[Event] = []
        last = max((item.index for item in self._open), default=0)
        for item in list(self._open):
            status = "incomplete" if cut and item.index == last else "completed"
            events += self._end_item(item, status)
        return events

    def _end_items_of(self, kind: type[OutputItem]) -> list[Event]:
        events: list[Event] = []
        for item in [one for one in self._open if isinstance(one, kind)]:
            events += self._end_item(item, "completed")
        return events

    def _end_item(self, item: OutputItem, status: str) -> list[Event]:
        self._open.remove(item)
        if item is self._message:
            self._message = None
        done = self._items[item.index] = item.item(status)
        events = [self._event(f"response.{kind}", **more) for kind, more in item.end()]
        events.append(self._event("response.output_item.done", output_index=item.index, item=done))
        return events


def _usage(tokens: Mapping[str, Any]) -> dict[str, Any]:
    read = tokens.get("prompt_tokens_details") or {}
    written = tokens.get("completion_tokens_details") or {}
    prompt, completion = tokens.get("prompt_tokens") or 0, tokens.get("completion_tokens") or 0
    return {
        "input_tokens": prompt,
        "input_tokens_details": {
            "cached_tokens": read.get("cached_tokens") or 0,
            "cache_write_tokens": 0,
        },
        "output_tokens": completion,
        "output_tokens_details": {"reasoning_tokens": written.get("reasoning_tokens") or 0},
        "total_tokens": tokens.get("total_tokens") or prompt + completion,
    }
