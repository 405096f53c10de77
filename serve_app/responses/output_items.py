"""Output items of a response during its generation, and their events."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from serve_app.responses.logprobs import shown_logprobs

if TYPE_CHECKING:
    from collections.abc import Iterator

    NamedFields = tuple[str, dict[str, Any]]
    """The type of a streaming event, without its prefix, and its fields."""

_PART_ADDED, _PART_DONE = "content_part.added", "content_part.done"


@dataclass(slots=True)
class OutputMessage:
    """A message of the assistant, with one text part."""

    id: str
    index: int
    texts: list[str] = field(default_factory=list)
    annotations: list[dict[str, Any]] = field(default_factory=list)
    logprobs: list[dict[str, Any]] = field(default_factory=list)

    def where(self) -> dict[str, Any]:
        """Return the fields by which events identify the text."""
        return {"item_id": self.id, "output_index": self.index, "content_index": 0}

    def item(self, status: str) -> dict[str, Any]:
        """Return the item as OpenAI's JSON."""
        return {
            "id": self.id,
            "type": "message",
            "status": status,
            "role": "assistant",
            "content": [] if status == "in_progress" else [self._part()],
        }

    def start(self) -> Iterator[NamedFields]:
        """Yield the events that follow `output_item.added`."""
        yield _PART_ADDED, self.where() | {"part": self._part()}

    def end(self) -> Iterator[NamedFields]:
        """Yield the events that precede `output_item.done`."""
        part = self._part()
        text = {"text": part["text"], "logprobs": shown_logprobs(part["logprobs"])}
        yield "output_text.done", self.where() | text
        yield _PART_DONE, self.where() | {"part": part}

    def _part(self) -> dict[str, Any]:
        return {
            "type": "output_text",
            "text": "".join(self.texts),
            "annotations": list(self.annotations),
            "logprobs": list(self.logprobs),
        }


@dataclass(slots=True)
class OutputReasoning:
    """Reasoning of the model, with one text part."""

    id: str
    index: int
    texts: list[str] = field(default_factory=list)

    def where(self) -> dict[str, Any]:
        """Return the fields by which events identify the text."""
        return {"item_id": self.id, "output_index": self.index, "content_index": 0}

    def item(self, status: str) -> dict[str, Any]:
        """Return the item as OpenAI's JSON."""
        return {
            "id": self.id,
            "type": "reasoning",
            "status": status,
            "summary": [],
            "content": [] if status == "in_progress" else [self._part()],
            "encrypted_content": None,
        }

    def start(self) -> Iterator[NamedFields]:
        """Yield the events that follow `output_item.added`."""
        yield _PART_ADDED, self.where() | {"part": self._part()}

    def end(self) -> Iterator[NamedFields]:
        """Yield the events that precede `output_item.done`."""
        part = self._part()
        yield "reasoning_text.done", self.where() | {"text": part["text"]}
        yield _PART_DONE, self.where() | {"part": part}

    def _part(self) -> dict[str, Any]:
        return {"type": "reasoning_text", "text": "".join(self.texts)}


@dataclass(slots=True)
class OutputCall:
    """A call of a function that the caller runs."""

    id: str
    index: int
    call_id: str
    name: str
    namespace: str | None = None
    arguments: list[str] = field(default_factory=list)

    def where(self) -> dict[str, Any]:
        """Return the fields by which events identify the call."""
        return {"item_id": self.id, "output_index": self.index}

    def item(self, status: str) -> dict[str, Any]:
        """Return the item as OpenAI's JSON."""
        return {
            "id": self.id,
            "type": "function_call",
            "status": status,
            "call_id": self.call_id,
            "name": self.name,
            "arguments": "".join(self.arguments),
            **({"namespace": self.namespace} if self.namespace else {}),
        }

    def start(self) -> Iterator[NamedFields]:
        """Yield nothing: a call has no parts."""
        yield from ()

    def end(self) -> Iterator[NamedFields]:
        """Yield the event that precedes `output_item.done`."""
        named = {"name": self.name, "arguments": "".join(self.arguments)}
        yield "function_call_arguments.done", self.where() | named


OutputItem = OutputMessage | OutputReasoning | OutputCall
