"""Write the streaming events of a response as server-sent events."""

from __future__ import annotations

from json.encoder import encode_basestring
from typing import TYPE_CHECKING

from serve_app.http.named_events import named_event
from serve_app.responses.output import ARGUMENTS_DELTA, REASONING_DELTA, TEXT_DELTA

if TYPE_CHECKING:
    from collections.abc import Sequence

    from serve_app.responses.output import Event


# The constant fields of the events that are sent for each token.
_FIXED_FIELDS = {
    TEXT_DELTA: '"content_index":0,"logprobs":[],',
    REASONING_DELTA: '"content_index":0,',
    ARGUMENTS_DELTA: "",
}


class EventWriter:
    """Writes the events of one response.

    Most events have text only: the JSON around the text is prepared once.
    """

    def __init__(self) -> None:
        self._item_id = ""
        self._before = ""

    def blocks(self, events: Sequence[Event]) -> str:
        """Return the events as text."""
        return "".join(map(self._block, events))

    def _block(self, event: Event) -> str:
        kind = event["type"]
        if kind not in _FIXED_FIELDS or event.get("logprobs"):
            return named_event(event)
        if event["item_id"] != self._item_id:
            self._item_id = event["item_id"]
            self._before = (
                f'event: {kind}\ndata: {{"type":"{kind}","item_id":"{self._item_id}",'
                f'"output_index":{event["output_index"]},{_FIXED_FIELDS[kind]}"delta":'
            )
        text, number = encode_basestring(event["delta"]), event["sequence_number"]
        return f'{self._before}{text},"sequence_number":{number}}}\n\n'
