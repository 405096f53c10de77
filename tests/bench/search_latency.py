"""`python -m tests.bench.search_latency`: time a search of the embedded store.

`DocumentRetriever.search` is called over 20,000 chunks of made-up text whose words are as unevenly
frequent as those of real text; vectors are random and ready, so no embedding is timed.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, cast

from qdrant_edge import Query, QueryRequest

from deployments.interfaces import Embedder
from deployments.retriever.document_retriever import DocumentRetriever
from deployments.retriever.edge.store import EdgeStore
from deployments.retriever.points import DENSE
from deployments.retriever.vector_store import VectorStore
from deployments.settings import RetrieverSettings
from tests.bench import command
from tests.bench.report import Check, Section, checks_table, percentile, table
from tests.support.made_up_documents import COLLECTION, DIMENSIONS, RandomVectors, Words, fill

_CHUNKS, _QUERIES = 20_000, 500
_QUICK_CHUNKS, _QUICK_QUERIES = 2_000, 50
_QUERY_WORDS = 8
_PASSAGES, _CHARS = 4, 3000
_WARM_UP = 20
_MAX_P50_MS = 5.0
_RANKING = "words and ranking"
_BARE = "a bare query of Qdrant Edge by meaning"


def main() -> int:
    """Run the bench; return its exit status."""
    options = command.parser("tests.bench.search_latency", __doc__)
    options.add_argument("--chunks", type=int, default=_CHUNKS)
    options.add_argument("--queries", type=int, default=_QUERIES)
    return command.run(options, measure)


def measure(options: argparse.Namespace) -> Iterator[Section]:
    """Fill a store and time searches of it, one after the other."""
    chunks, queries = options.chunks, options.queries
    if options.quick:
        chunks, queries = _QUICK_CHUNKS, _QUICK_QUERIES
    with tempfile.TemporaryDirectory(prefix="genserve-search-") as folder:
        totals_ms, parts_ms = asyncio.run(_searches(Path(folder), chunks, queries))
    check = Check.at_most("p50 of a search", percentile(totals_ms, 50), _MAX_P50_MS, "{:.2f} ms")
    rows = [
        (name, f"{percentile(values, 50):.2f}", f"{percentile(values, 99):.2f}")
        for name, values in {"**search**": totals_ms, **parts_ms}.items()
    ]
    ratio = percentile(totals_ms, 50) / percentile(parts_ms[_BARE], 50)
    body = f"""\
## A search inside the retriever

`make bench-search`: {queries} questions of {_QUERY_WORDS} words, one after the other, of
{chunks:,} chunks in the embedded store: dense and BM25 in one query, fusion, ranking, neighbours,
and {_PASSAGES} passages of {_CHARS} characters. Embedding the question is left out; the text is
made up, with the word frequencies of real text, and the {DIMENSIONS}-dimensional vectors are
random. A search takes {ratio:.0f} times as long as a bare query, of which one followed each.

{checks_table([check])}

{table(("", "p50, ms", "p99, ms"), rows)}"""
    yield Section("search", body, [check])


async def _searches(
    folder: Path, chunks: int, queries: int
) -> tuple[list[float], dict[str, list[float]]]:
    """Return the milliseconds of each search, and of each part of it; embedding is in neither."""
    words = Words()
    store = EdgeStore(folder / "vectors", chunker_version=1)
    timed_store, timed_embedder = _Timed(store), _Timed(RandomVectors())
    settings, bare_vectors = RetrieverSettings(min_relevance=None), RandomVectors()
    retriever = DocumentRetriever(
        cast("VectorStore", timed_store),
        cast("Embedder", timed_embedder),
        settings,  # random vectors resemble nothing
    )
    try:
        await fill(retriever, words, chunks)
        totals_ms: list[float] = []
        parts_ms: defaultdict[str, list[float]] = defaultdict(list)
        for number in range(_WARM_UP + queries):
            query = " ".join(words.some(_QUERY_WORDS))
            timed_store.seconds.clear()
            timed_embedder.seconds.clear()
            began = time.perf_counter()
            found = await retriever.search([query], COLLECTION, _PASSAGES, _CHARS)
            spent = time.perf_counter() - began - sum(timed_embedder.seconds.values())
            if not found:
                msg = "a search found nothing"
                raise RuntimeError(msg)
            (vector,) = await bare_vectors.embed([query], "query")
            bare = QueryRequest(
                settings.candidates, query=Query.Nearest(vector.tolist(), using=DENSE)
            )
            (index,) = store._indexes.values()
            began = time.perf_counter()
            index.shard._edge.query(bare)
            bare_ms = (time.perf_counter() - began) * 1000
            if number >= _WARM_UP:
                parts_ms[_BARE].append(bare_ms)
                totals_ms.append(spent * 1000)
                for name, seconds in timed_store.seconds.items():
                    parts_ms[f"the store's `{name}`"].append(seconds * 1000)
                rest = spent - sum(timed_store.seconds.values())
                parts_ms[_RANKING].append(rest * 1000)
    finally:
        await store.close()
    return totals_ms, dict(parts_ms)


class _Timed:
    """A proxy that adds up the seconds of each coroutine method of the object behind it."""

    def __init__(self, inner: object) -> None:
        self._inner = inner
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        method = getattr(self._inner, name)

        async def timed(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            try:
                return await method(*args, **kwargs)
            finally:
                self.seconds[name] += time.perf_counter() - began

        return timed


if __name__ == "__main__":
    sys.exit(main())
