"""Citations in a chat completion, whole or streamed, each choice by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deployments.answer_events import Piece
from serve_app.answering.citations import Citations

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from deployments.answer_events import AnswerEvent
    from serve_app.schemas.answers import Source


class CitedAnswer:
    """Takes numbers that are not among the `known` sources out of one answer.

    Without sources nothing is filtered: the model was not asked to cite, and a bracketed
    number refers to nothing. Reasoning and tool calls are left alone.
    """

    def __init__(self, known: int) -> None:
        self._known = known
        self._of_choice: dict[int, Citations] = {}

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
                of_choice = self._citations(choice.get("index", 0))
                message = message | {"content": of_choice.feed(text) + of_choice.close()}
            choices.append(choice | {"message": message})
        return {**completion, "choices": choices}

    def shown(self, events: Sequence[AnswerEvent]) -> Sequence[AnswerEvent]:
        """Return events as they may be shown, without those of which all is held back for now."""
        if not self._known:
            return events
        return [shown for event in events if (shown := self._shown(event)) is not None]

    def rest(self) -> list[AnswerEvent]:
        """Return what is held back of choices that never finished."""
        return [
            Piece(text, index)
            for index, citations in self._of_choice.items()
            if (text := citations.close())
        ]

    def _shown(self, event: AnswerEvent) -> AnswerEvent | None:
        if not isinstance(event, Piece) or event.choice_index is None:
            return event
        citations = self._citations(event.choice_index)
        shown = citations.feed(event.text) if event.text else ""
        if event.finish_reason:
            shown += citations.close()
        if shown == (event.text or ""):
            return event
        has_usage = event.chunk is not None and "usage" in event.chunk
        if not (shown or event.finish_reason or event.delta or event.choice or has_usage):
            return None
        return event._replace(text=shown)

    def _citations(self, index: int) -> Citations:
        if index not in self._of_choice:
            self._of_choice[index] = Citations(self._known)
        return self._of_choice[index]
