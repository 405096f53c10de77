"""Messages of an answer that are some milliseconds apart while the replica is busy.

A message costs several times what a token in it does: gRPC sends it twice, and Serve's proxy writes
it to the client. So what the engine makes soon after a message waits, and makes one message.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_MIN_SPACING_S = 0.008  # nobody sees it, and a fast engine makes several tokens in that time
_SPACING_PER_STREAM_S = 0.003  # up to 31 streams, a replica sends 330 messages a second
_MAX_SPACING_S = 0.1  # ten times a second still looks like writing
_LATE_WEIGHT = 8.0
_LATE_OVER_S = 1.0  # over which lateness is averaged
_MAX_LATE_SPACING_S = 0.4


class Spacing:
    """The time between two messages of a stream: longer, the more a replica has to do.

    It is 8 ms, and 3 ms more for each other stream that has begun, at most 100 ms; and longer while
    the event loop is late, at most 400 ms.
    """

    def __init__(self) -> None:
        self._begun = 0
        self._late_s = 0.0  # a moving average
        self._noted_at = 0.0

    @contextlib.contextmanager
    def stream(self) -> Iterator[None]:
        """Count a stream, from its first message to its end."""
        if not self._begun:
            self._late_s = 0.0
        self._begun += 1
        try:
            yield
        finally:
            self._begun -= 1

    @property
    def seconds(self) -> float:
        """Return the time that is to pass from one message of a stream to its next."""
        spacing = min(_MIN_SPACING_S + (self._begun - 1) * _SPACING_PER_STREAM_S, _MAX_SPACING_S)
        return min(spacing + _LATE_WEIGHT * self._late_s, _MAX_LATE_SPACING_S)

    def note(self, late_s: float, now: float) -> None:
        """Note how late the event loop was, and the time."""
        share = 1 - math.exp((self._noted_at - now) / _LATE_OVER_S)
        self._noted_at = now
        self._late_s += (min(late_s, _MAX_LATE_SPACING_S / _LATE_WEIGHT) - self._late_s) * share


class OutputHold:
    """Holds back outputs on their way into vLLM's collector of one request.

    The collector merges what its reader has not taken yet. Each output that it returns has `parts`,
    of which it was merged. The last output and an error are never held back.
    """

    def __init__(self, collector: Any) -> None:  # noqa: ANN401 - vLLM's
        self._collector = collector
        self._pass_on = collector.put
        self._held: list[Any] = []
        self._holding = False
        collector.put = self._put

    def begin(self, spacing: Spacing) -> None:
        """Hold back outputs from now on, until the next message may be sent."""
        self._holding = True
        loop = asyncio.get_running_loop()
        due = loop.time() + spacing.seconds
        loop.call_at(due, self._end_late, spacing, due)

    def _end_late(self, spacing: Spacing, due: float) -> None:
        now = asyncio.get_running_loop().time()
        spacing.note(now - due, now)
        self._end()

    def _put(self, output: Any) -> None:  # noqa: ANN401 - vLLM's
        if self._holding and not getattr(output, "finished", True):
            self._held.append(output)
        else:
            self._end()
            self._merge(output)

    def _end(self) -> None:
        self._holding = False
        held, self._held = self._held, []
        for output in held:
            self._merge(output)

    def _merge(self, output: Any) -> None:  # noqa: ANN401 - vLLM's
        if not isinstance(output, Exception):
            pending = self._collector.output
            if pending is None:
                output.parts = parts_of(output)
            elif not isinstance(pending, Exception):
                pending.parts = parts_of(pending)
                pending.parts += parts_of(output)
        self._pass_on(output)


class Part(NamedTuple):
    """What the engine sent at once."""

    text: str
    token_ids: Sequence[int]


def parts_of(output: Any) -> list[Part]:  # noqa: ANN401 - vLLM's
    """Return the parts of which an output was merged."""
    parts: list[Part] | None = getattr(output, "parts", None)
    if parts is None:  # it came before the hold
        # The collector appends to the ids of the first output.
        parts = [Part(choice.text, list(choice.token_ids)) for choice in output.outputs[:1]]
    return parts
