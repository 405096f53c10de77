"""Translate the engine's events to content blocks, for whole answers and for streams."""

from __future__ import annotations

import json
import secrets
from json.encoder import encode_basestring
from typing import TYPE_CHECKING, Any, Protocol

from pydantic_core import from_json

from deployments.answer_events import Piece, TokenUsage
from serve_app.answering.completion_events import reasoning_of
from serve_app.http.named_events import named_event

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from deployments.answer_events import AnswerEvent

_STOP_REASONS = {
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}
_DELTAS = {
    "text": '"type":"text_delta","text"',
    "thinking": '"type":"thinking_delta","thinking"',
    "tool_use": '"type":"input_json_delta","partial_json"',
}
"""The beginning of a delta's JSON, by the type of its block."""


class BlockSink(Protocol):
    """Receives the content blocks of an answer, one after the other."""

    def start(self, block: dict[str, Any]) -> None:
        """Begin a block."""

    def text(self, text: str) -> None:
        """Append text, reasoning or JSON to the block."""

    def cite(self, citation: dict[str, Any]) -> None:
        """Add a citation to the block, which is a text block."""

    def stop(self) -> None:
        """End the block."""


class BlockReader:
    """Reads the engine's events of one answer into a sink.

    `usage` is what the engine reported. White space alone makes no block: clients send blocks back,
    and Anthropic's API refuses blank ones.
    """

    def __init__(self, sink: BlockSink, *, thinking: bool) -> None:
        """Keep the sink; with `thinking`, reasoning is shown."""
        self.usage: Mapping[str, Any] = {}
        self._sink = sink
        self._thinking = thinking
        self._open = ""  # the type of the open block
        self._blank = ""  # white space before any text
        self._finish_reason: str | None = None
        self._stopped_by: object = None
        self._has_calls = False

    def read(self, events: Iterable[AnswerEvent]) -> None:
        """Read the next events."""
        for event in events:
            if isinstance(event, Piece):
                self._piece(event)
            elif isinstance(event, TokenUsage):
                self.usage = event.tokens

    def cite(self, citations: Sequence[dict[str, Any]]) -> None:
        """Add citations to the open text block; ignore them if it has ended."""
        if self._open == "text":
            for citation in citations:
                self._sink.cite(citation)

    def end(self) -> None:
        """End the open block."""
        if self._open:
            self._sink.stop()
        self._open = self._blank = ""

    @property
    def stop(self) -> dict[str, str | None]:
        """Why the answer ended, in Anthropic's terms."""
        if self._finish_reason in {"stop", "tool_calls"} and isinstance(self._stopped_by, str):
            return {"stop_reason": "stop_sequence", "stop_sequence": self._stopped_by}
        reason = _STOP_REASONS.get(self._finish_reason or "", "end_turn")
        # The engine's finish reason for a forced call is `stop`.
        if self._has_calls and reason == "end_turn":
            reason = "tool_use"
        return {"stop_reason": reason, "stop_sequence": None}

    def _piece(self, piece: Piece) -> None:
        text, index, finish_reason, delta, choice, chunk = piece
        if delta and index is not None:
            self._reasoning(delta)
        if text:
            self._text(text)
        if delta and index is not None:
            for call in delta.get("tool_calls") or ():
                self._call(call)
        if finish_reason:
            self._finish_reason = finish_reason
            self._stopped_by = (choice or {}).get("stop_reason")
        if chunk and chunk.get("usage"):
            self.usage = chunk["usage"]

    def _text(self, text: str) -> None:
        if self._open != "text":
            text = self._blank + text
            if not text.strip():
                self._blank = text
                return
            self._begin({"type": "text", "text": ""})
        self._sink.text(text)

    def _reasoning(self, delta: Mapping[str, Any]) -> None:
        reasoning = reasoning_of(delta)
        if not (reasoning and self._thinking):
            return
        if self._open != "thinking":
            self._begin({"type": "thinking", "thinking": "", "signature": ""})
        self._sink.text(reasoning)

    def _call(self, call: Mapping[str, Any]) -> None:
        function = call.get("function") or {}
        if function.get("name"):
            call_id = call.get("id") or f"toolu_{secrets.token_hex(12)}"
            begun = {"type": "tool_use", "id": call_id, "name": function["name"], "input": {}}
            self._begin(begun)
            self._has_calls = True
        if function.get("arguments") and self._open == "tool_use":
            self._sink.text(function["arguments"])

    def _begin(self, block: dict[str, Any]) -> None:
        self.end()
        self._open = block["type"]
        self._sink.start(block)


class BlockList:
    """Collects the blocks of a whole answer."""

    def __init__(self) -> None:
        self._blocks: list[dict[str, Any]] = []
        self._parts: list[str] = []  # of the last block

    def start(self, block: dict[str, Any]) -> None:
        self._parts = []
        self._blocks.append(dict(block))

    def text(self, text: str) -> None:
        self._parts.append(text)

    def cite(self, citation: dict[str, Any]) -> None:
        self._blocks[-1].setdefault("citations", []).append(citation)

    def stop(self) -> None:
        block, written = self._blocks[-1], "".join(self._parts)
        if block["type"] == "tool_use":
            block["input"] = _arguments(written)
        else:
            block[block["type"]] = written

    def blocks(self) -> list[dict[str, Any]]:
        """Return the blocks that have ended."""
        return self._blocks


class EventWriter:
    """Writes the blocks of a stream as server-sent events.

    Most events have text only: the JSON around the text is prepared once.
    """

    def __init__(self) -> None:
        self._written: list[str] = []
        self._index = -1
        self._before_text = ""

    def take(self) -> str:
        """Return the events written since the last call."""
        written = "".join(self._written)
        self._written.clear()
        return written

    def event(self, kind: str, **fields: Any) -> None:  # noqa: ANN401 - any JSON
        """Write an event of any kind."""
        self._written.append(named_event({"type": kind, **fields}))

    def start(self, block: dict[str, Any]) -> None:
        self._index += 1
        self.event("content_block_start", index=self._index, content_block=block)
        self._before_text = (
            "event: content_block_delta\n"
            f'data: {{"type":"content_block_delta","index":{self._index},'
            f'"delta":{{{_DELTAS[block["type"]]}:'
        )

    def text(self, text: str) -> None:
        self._written.append(f"{self._before_text}{encode_basestring(text)}}}}}\n\n")

    def cite(self, citation: dict[str, Any]) -> None:
        delta = {"type": "citations_delta", "citation": citation}
        self.event("content_block_delta", index=self._index, delta=delta)

    def stop(self) -> None:
        self.event("content_block_stop", index=self._index)


def _arguments(text: str) -> dict[str, Any]:
    """Return the arguments of a call; they may be cut off, or hold numbers that JSON has not."""
    try:
        value = from_json(text or "{}", allow_partial=True)
        json.dumps(value, allow_nan=False)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
