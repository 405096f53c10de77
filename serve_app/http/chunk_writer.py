"""Streamed answers as OpenAI's server-sent events."""

from __future__ import annotations

import contextlib
import json
from json.encoder import encode_basestring
from typing import TYPE_CHECKING, Any

from deployments.answer_events import DONE, Opening, Piece, block_of, chunk_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from deployments.answer_events import AnswerEvent

_PLACEHOLDER = "\ufffc"
_OF_TEXT = Piece("")[1:]  # the other fields of a piece that has text only


class ChunkWriter:
    """Writes the events of one answer.

    Most events have text only: the JSON around the text is prepared once.
    """

    def __init__(self) -> None:
        self._open(Opening({}))

    def blocks(self, events: Sequence[AnswerEvent], more: Mapping[str, Any] | None = None) -> str:
        """Return the events as text; `more` are further fields of the first of their chunks."""
        written: list[str] = []
        for event in events:
            if isinstance(event, Opening):
                self._open(event)
            elif not more and isinstance(event, Piece) and event.text and event[1:] == _OF_TEXT:
                written.append(f"{self._before}{encode_basestring(event.text)}{self._behind}")
            else:
                written.append(block_of({**chunk_of(event, self._opening), **(more or {})}))
                more = None
        return "".join(written)

    def _open(self, opening: Opening) -> None:
        self._opening = opening
        block = block_of(chunk_of(Piece(_PLACEHOLDER), self._opening))
        self._before, _, self._behind = block.rpartition(
            json.dumps(_PLACEHOLDER, ensure_ascii=False)
        )


async def written(
    stream: AsyncGenerator[Sequence[AnswerEvent], None],
) -> AsyncGenerator[str, None]:
    """Yield a whole answer as server-sent events."""
    writer = ChunkWriter()
    async with contextlib.aclosing(stream):
        async for events in stream:
            if blocks := writer.blocks(events):
                yield blocks
    yield DONE
