"""Citations in chat completions of OpenAI's form, whole or in chunks, each choice by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from serve_app.answering.citations import Citations

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from serve_app.schemas.answers import Source


class CitedAnswer:
    """Takes numbers that are not among the `known` sources out of one answer.

    Without sources nothing is filtered: the model was not asked to cite, and a bracketed
    number refers to nothing. Reasoning and tool calls are left alone.
    """

    def __init__(self, known: int) -> None:
        self._known = known
        self._of_choice: dict[int, Citations] = {}
        self._last: Mapping[str, Any] = {}

    @property
    def cited(self) -> list[int]:
        """The numbers of the sources referred to, in order of appearance, choice by choice."""
        choices = (self._of_choice[index] for index in sorted(self._of_choice))
        return list(dict.fromkeys(number for choice in choices for number in choice.cited))

    def marked(self, sources: Sequence[Source]) -> list[Source]:
        """Return the sources saying whether they were cited; for when the answer is whole."""
        cited = set(self.cited)
        return [source.model_copy(update={"cited": source.id in cited}) for source in sources]

    def whole(self, completion: Mapping[str, Any]) -> dict[str, Any]:
        """Return a completion as it may be shown."""
        if not self._known:
            return dict(completion)
        choices = []
        for choice in completion["choices"]:
            message = choice["message"]
            if text := message.get("content"):
                of_choice = self._citations(choice)
                message = message | {"content": of_choice.feed(text) + of_choice.close()}
            choices.append(choice | {"message": message})
        return {**completion, "choices": choices}

    def chunk(self, data: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return a chunk as it may be shown, or None if all it says is held back for now."""
        if not self._known or not data["choices"]:
            return dict(data)
        self._last = data
        choices = [self._filtered(choice) for choice in data["choices"]]
        held = any(choice["delta"].get("content") for choice in data["choices"])
        if held and not data.get("usage") and not any(map(_says_something, choices)):
            return None
        return {**data, "choices": choices}

    def rest(self) -> dict[str, Any] | None:
        """Return a chunk with what is held back of choices that never finished, if any is."""
        choices = list(self._rests())
        return {**self._last, "choices": choices} if choices else None

    def _rests(self) -> Iterator[dict[str, Any]]:
        for index, citations in self._of_choice.items():
            if text := citations.close():
                yield {"index": index, "delta": {"content": text}, "finish_reason": None}

    def _citations(self, choice: Mapping[str, Any]) -> Citations:
        index = choice.get("index", 0)
        if index not in self._of_choice:
            self._of_choice[index] = Citations(self._known)
        return self._of_choice[index]

    def _filtered(self, choice: Mapping[str, Any]) -> dict[str, Any]:
        delta = choice["delta"]
        given = delta.get("content") or ""
        citations = self._citations(choice)
        shown = citations.feed(given) if given else ""
        if choice.get("finish_reason"):
            shown += citations.close()
        if shown == given:
            return dict(choice)
        return {**choice, "delta": {**delta, "content": shown}}


def _says_something(choice: Mapping[str, Any]) -> bool:
    return bool(
        choice.get("finish_reason") or choice.get("logprobs") or any(choice["delta"].values())
    )
