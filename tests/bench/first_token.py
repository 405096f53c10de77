"""`python -m tests.bench.first_token`: what a `genserve` answer waits for before its first token.

Questions are asked one after the other about 20,000 chunks of made-up text. Spans say how long
embedding, search and prefill took, which no answer can do without.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, cast

import yaml

from deployments.interfaces import Embedder
from deployments.parser.chunking.chunker import CHUNKER_VERSION
from deployments.retriever.document_retriever import DocumentRetriever
from deployments.retriever.edge.store import EdgeStore
from deployments.settings import RetrieverSettings
from tests.bench import command
from tests.bench.report import Check, Section, checks_table, percentile, say, table
from tests.support.load import EventTimes, connections
from tests.support.made_up_documents import RandomVectors, Words, fill
from tests.support.processes import started
from tests.support.spans import FOLDER, Trace, read_traces
from tests.support.systems import CPU, Configuration, System, ours

_CHUNKS, _QUESTIONS = 20_000, 40
_QUICK_CHUNKS, _QUICK_QUESTIONS = 800, 4
_WARM_UP = 4
_WORDS = 8
_TOKENS = 8
_MAX_RATIO = 1.2
_EXPORT_S = 3.0
_REQUEST = "first-token-"
_PARTS = ("replica_handle_request Embedder embed", "query", "prefill")


class Wait(NamedTuple):
    """Milliseconds until the first token of one answer, and those that its parts took."""

    whole: float
    embedding: float
    search: float
    prefill: float

    @property
    def unavoidable(self) -> float:
        """The sum of the parts."""
        return self.embedding + self.search + self.prefill


def main() -> int:
    """Run the bench; return its exit status."""
    options = command.parser("tests.bench.first_token", __doc__)
    return command.run(options, measure, errors=(ValueError,))


def measure(options: argparse.Namespace) -> Iterator[Section]:
    """Fill a store, start the service on it, and ask."""
    chunks, questions = _CHUNKS, _QUESTIONS
    if options.quick:
        chunks, questions = _QUICK_CHUNKS, _QUICK_QUESTIONS
    with tempfile.TemporaryDirectory(prefix="genserve-bench-") as text:
        folder = Path(text)
        system = ours(Configuration.read(CPU), folder / "ours")
        data, spans = _traced(system, folder / "spans")
        words = Words()
        say(f"==> storing {chunks:,} chunks")
        (data / "vectors").mkdir()
        asyncio.run(_store(data / "vectors", words, chunks))
        say("==> starting the service")
        with started(replace(system.command, env={FOLDER: str(spans)}), folder / "log"):
            wholes_ms = asyncio.run(_ask(system, words, questions))
            time.sleep(_EXPORT_S)
        waits = list(_waits(wholes_ms, read_traces(spans)))
    yield _section(waits, chunks)


def _traced(system: System, spans: Path) -> tuple[Path, Path]:
    """Turn tracing on in the system's file; return its folders of data and of spans."""
    spans.mkdir()
    path = Path(system.command.args[-1])
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    document["tracing_config"] = {
        "enabled": True,
        "sampling_ratio": 1.0,
        "exporter_import_path": "tests.support.spans:to_file",
    }
    args = document["applications"][0]["args"]
    args.setdefault("limits", {})["requests_per_minute"] = None
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return Path(args["data_dir"]), spans


async def _store(folder: Path, words: Words, chunks: int) -> None:
    store = EdgeStore(folder, chunker_version=CHUNKER_VERSION)
    embedder = cast("Embedder", RandomVectors())
    try:
        await fill(
            DocumentRetriever(store, embedder, RetrieverSettings(min_relevance=None)), words, chunks
        )
    finally:
        await store.close()


async def _ask(system: System, words: Words, questions: int) -> dict[str, float]:
    """Ask one after the other; return the milliseconds until the first text, by request."""
    wholes_ms: dict[str, float] = {}
    async with connections(1) as session:
        for number in range(_WARM_UP + questions):
            body = {
                "model": "genserve",
                "messages": [{"role": "user", "content": f"Say: {' '.join(words.some(_WORDS))}?"}],
                "max_tokens": _TOKENS,
                "stream": True,
                "context": {"web": False},
            }
            name = f"{_REQUEST}{number}"
            events, began = EventTimes(), time.perf_counter()
            async with session.post(
                system.target.url, json=body, headers={"x-request-id": name}
            ) as response:
                response.raise_for_status()
                async for data in response.content.iter_any():
                    events.feed(data, time.perf_counter())
            if number >= _WARM_UP:
                wholes_ms[name] = (events.token_times[0] - began) * 1000
    return wholes_ms


def _waits(wholes_ms: Mapping[str, float], traces: Sequence[Trace]) -> Iterator[Wait]:
    by_request = {
        str(span["attributes"].get("request_id")): trace
        for trace in traces
        for span in trace.spans.values()
    }
    for name, whole_ms in wholes_ms.items():
        trace = by_request[name]
        yield Wait(whole_ms, *(_spent_ms(trace, part) for part in _PARTS))


def _spent_ms(trace: Trace, name: str) -> float:
    """Return how long the spans of this name took; raises ValueError if there are none."""
    spans = [span for span in trace.spans.values() if span["name"] == name]
    if not spans:
        msg = f"no span `{name}`: {sorted(set(trace.names()))}"
        raise ValueError(msg)
    return sum(
        (_time(span["end_time"]) - _time(span["start_time"])).total_seconds() * 1000
        for span in spans
    )


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _section(waits: Sequence[Wait], chunks: int) -> Section:
    ratios = [wait.whole / wait.unavoidable for wait in waits]
    what = "until the first token / (embedding + search + prefill), median"
    check = Check.at_most(what, percentile(ratios, 50), _MAX_RATIO, "{:.2f}")
    rows = [
        (name, *(f"{percentile(values, percent):.1f}" for percent in (50, 99)))
        for name, values in (
            ("**first token**", [wait.whole for wait in waits]),
            ("embedding the question", [wait.embedding for wait in waits]),
            ("search", [wait.search for wait in waits]),
            ("prefill", [wait.prefill for wait in waits]),
            ("all else", [wait.whole - wait.unavoidable for wait in waits]),
        )
    ]
    body = f"""\
## The first token of a grounded answer

`make bench-first-token`: {len(waits)} questions of {_WORDS} words, one after the other, about
{chunks:,} chunks of made-up text, to `genserve` with the small model. Whole by the client's clock,
from the request to the first text; the parts by spans.

{checks_table([check])}

{table(("", "p50, ms", "p99, ms"), rows)}"""
    return Section("first_token", body, [check], {"waits_ms": [wait._asdict() for wait in waits]})


if __name__ == "__main__":
    sys.exit(main())
