"""The spans of a service under test, written to files and read back."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

FOLDER = "GENSERVE_TEST_SPANS"


def to_file() -> list[SpanProcessor]:
    """For `tracing_config.exporter_import_path`: a file for each process."""
    path = Path(os.environ[FOLDER]) / f"{os.getpid()}.jsonl"
    exporter = ConsoleSpanExporter(
        out=path.open("a"), formatter=lambda span: span.to_json(indent=None) + "\n"
    )
    return [SimpleSpanProcessor(exporter)]


@dataclass(frozen=True)
class Trace:
    """The spans of one trace, by their ids."""

    spans: dict[str, dict[str, Any]]

    def names(self) -> list[str]:
        return [span["name"] for span in self.spans.values()]

    def above(self, name: str) -> list[list[str]]:
        """What each span of this name lies in, innermost first."""
        return [list(self._above(span)) for span in self.spans.values() if span["name"] == name]

    def _above(self, span: dict[str, Any]) -> Iterator[str]:
        while (parent := span["parent_id"]) is not None:
            span = self.spans[parent]  # one that is not there was lost, or is of another trace
            yield span["name"]


def read_traces(folder: Path) -> list[Trace]:
    traces: dict[str, dict[str, Any]] = {}
    for path in folder.glob("*.jsonl"):
        for line in path.read_text().splitlines():
            span = json.loads(line)
            context = span["context"]
            traces.setdefault(context["trace_id"], {})[context["span_id"]] = span
    return [Trace(spans) for spans in traces.values()]
