"""Spans of our own, between those that Serve makes of every call of a deployment.

Off unless the configuration's `tracing_config` says otherwise: then a span is an empty context,
and costs some microseconds. Serve sets up OpenTelemetry in each replica and carries the trace along
with every call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry import trace

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from opentelemetry.trace import Span

_TRACER = trace.get_tracer("genserve")


def span(name: str, **attributes: str | int) -> AbstractContextManager[Span]:
    """Make what happens inside a span; never around a `yield`, where the task may change."""
    return _TRACER.start_as_current_span(name, attributes=attributes)


class LongSpan:
    """A span that lasts over the yields of a generator, and has a beginning to be made in it."""

    def __init__(self, name: str) -> None:
        self._span = _TRACER.start_span(name)

    def inside(self) -> AbstractContextManager[Span]:
        """Make what is begun here part of it; not to be left by a `yield`."""
        return trace.use_span(self._span)

    def end(self) -> None:
        """End it; may be called again."""
        if self._span.is_recording():
            self._span.end()
