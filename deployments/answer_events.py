"""The events of a streamed answer, as they cross from the language model to the ingress.

OpenAI's chunks repeat the id, the date and the model with every token, and are JSON. Here an
`Opening` has these once, and a `Piece` has the text itself. `ChunkReader` and `chunk_of` translate
between events and chunks.

An ingress of another version unpickles these classes by position: they get no more fields. What is
new goes into the mappings.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DONE = "data: [DONE]\n\n"
"""The last block of a stream of chunks."""

_OF_OPENING = ("id", "object", "created", "model")
_DATA = "data: "


class Opening(NamedTuple):
    """What the chunks from here on have in common: id, object, created and model.

    In those of a text completion, unlike those of a chat, the text is not in a `delta`.
    """

    fields: Mapping[str, Any]
    is_chat: bool = True


class Piece(NamedTuple):
    """What is added to a choice of an answer, or to none of them.

    `text` is None where there is none, such as beside a tool call. `delta`, `choice` and `chunk`
    are all other fields, by their level in OpenAI's chunk.
    """

    text: str | None
    choice_index: int | None = 0
    finish_reason: str | None = None
    delta: Mapping[str, Any] | None = None
    choice: Mapping[str, Any] | None = None
    chunk: Mapping[str, Any] | None = None


class TokenUsage(NamedTuple):
    """The tokens of the whole answer, and the other fields of the chunk that reports them."""

    tokens: Mapping[str, Any]
    chunk: Mapping[str, Any] | None = None


AnswerEvent = Opening | Piece | TokenUsage


class ChunkReader:
    """Reads the chunks of one answer, one after the other. Fields that are null are left out."""

    def __init__(self) -> None:
        self._opening: Opening | None = None

    def events_in(self, block: str) -> Iterator[AnswerEvent]:
        """Yield the events of server-sent events, of which each holds one chunk."""
        for line in block.split("\n"):  # JSON may contain the other characters that end a line
            if line.startswith(_DATA) and line != DONE.rstrip():
                yield from self.events(json.loads(line[len(_DATA) :]))

    def events(self, chunk: Mapping[str, Any]) -> Iterator[AnswerEvent]:
        """Yield the events of a chunk; the first one of an answer is an Opening."""
        rest = {name: value for name, value in chunk.items() if value is not None}
        if usage := rest.get("usage"):
            rest["usage"] = {name: value for name, value in usage.items() if value is not None}
        choices = rest.pop("choices", None) or []
        fields = {name: rest.pop(name) for name in _OF_OPENING if name in rest}
        opening = Opening(fields, not any("text" in choice for choice in choices))
        if self._opening is None or opening.fields != self._opening.fields:
            self._opening = opening
            yield opening
        if not choices:
            usage = rest.pop("usage", None)
            if usage:
                yield TokenUsage(usage, rest or None)
            else:
                yield Piece(None, choice_index=None, chunk=rest or None)
        for choice in choices:
            yield _piece(choice, rest or None)


def chunk_of(event: Piece | TokenUsage, opening: Opening) -> dict[str, Any]:
    """Return the chunk of an event."""
    if isinstance(event, TokenUsage):
        return {**opening.fields, "choices": [], "usage": event.tokens, **(event.chunk or {})}
    more = event.chunk or {}
    if event.choice_index is None:
        return {**opening.fields, "choices": [], **more}
    choice: dict[str, Any] = {"index": event.choice_index}
    if opening.is_chat:
        text = {} if event.text is None else {"content": event.text}
        choice["delta"] = {**(event.delta or {}), **text}
    else:
        choice["text"] = event.text or ""
    choice |= {"logprobs": None, "finish_reason": event.finish_reason, **(event.choice or {})}
    return {**opening.fields, "choices": [choice], **more}


def block_of(chunk: Mapping[str, Any]) -> str:
    """Return the server-sent event of a chunk."""
    return f"{_DATA}{json.dumps(chunk, ensure_ascii=False, separators=(',', ':'))}\n\n"


def _piece(given: Mapping[str, Any], chunk: Mapping[str, Any] | None) -> Piece:
    choice = {name: value for name, value in given.items() if value is not None}
    index, finish_reason = choice.pop("index", 0), choice.pop("finish_reason", None)
    delta = {name: value for name, value in choice.pop("delta", {}).items() if value is not None}
    text = delta.pop("content", None) if "delta" in given else choice.pop("text", None)
    return Piece(text, index, finish_reason, delta or None, choice or None, chunk)
