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
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from deployments.interfaces import Embedder
from deployments.retriever.edge.store import EdgeStore
from deployments.retriever.search import DocumentRetriever
from deployments.retriever.vector_store import VectorStore
from deployments.settings import RetrieverSettings
from deployments.types import Chunk, Document
from tests.bench import command
from tests.bench.report import Check, Section, checks_table, percentile, table

_COLLECTION = "default"
_CHUNKS, _QUERIES = 20_000, 500
_QUICK_CHUNKS, _QUICK_QUERIES = 2_000, 50
_CHUNKS_A_DOCUMENT = 400
_DIMENSIONS = 384
_VOCABULARY = 30_000
_STOP_WORDS = 50  # the most frequent words of real text, which BM25 leaves out
_CHUNK_WORDS, _QUERY_WORDS = 65, 8  # some 90 tokens
_SENTENCE_WORDS = 13
_PASSAGES, _CHARS = 4, 3000
_WARM_UP = 20
_MAX_P50_MS = 5.0
_SEED = 11
_SYLLABLES = "ba co di fu ge ha jo ki lu me na po ri su te va wo xi yu za".split()
_RANKING = "words and ranking"


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
    body = f"""\
## A search inside the retriever

`make bench-search`: {queries} questions of {_QUERY_WORDS} words, one after the other, of
{chunks:,} chunks in the embedded store: dense and BM25 in one query, fusion, ranking, neighbours,
and {_PASSAGES} passages of {_CHARS} characters. Embedding the question is left out; the text is
made up, with the word frequencies of real text, and the {_DIMENSIONS}-dimensional vectors are
random.

{checks_table([check])}

{table(("", "p50, ms", "p99, ms"), rows)}"""
    yield Section("search", body, [check])


async def _searches(
    folder: Path, chunks: int, queries: int
) -> tuple[list[float], dict[str, list[float]]]:
    """Return the milliseconds of each search, and of each part of it; embedding is in neither."""
    words = _Words()
    store = EdgeStore(folder / "vectors", chunker_version=1, max_collections=1)
    timed_store, timed_embedder = _Timed(store), _Timed(_RandomVectors())
    retriever = DocumentRetriever(
        cast("VectorStore", timed_store), cast("Embedder", timed_embedder), RetrieverSettings()
    )
    try:
        for number, begin in enumerate(range(0, chunks, _CHUNKS_A_DOCUMENT)):
            texts = [
                words.text(_CHUNK_WORDS) for _ in range(min(_CHUNKS_A_DOCUMENT, chunks - begin))
            ]
            document = _document(number, len(texts))
            some = [Chunk(position, text, tokens=90) for position, text in enumerate(texts)]
            await retriever.add(document, some)
            await retriever.publish(document)
        totals_ms: list[float] = []
        parts_ms: defaultdict[str, list[float]] = defaultdict(list)
        for number in range(_WARM_UP + queries):
            query = " ".join(words.some(_QUERY_WORDS))
            timed_store.seconds.clear()
            timed_embedder.seconds.clear()
            began = time.perf_counter()
            found = await retriever.search([query], _COLLECTION, _PASSAGES, _CHARS)
            spent = time.perf_counter() - began - sum(timed_embedder.seconds.values())
            if not found:
                msg = "a search found nothing"
                raise RuntimeError(msg)
            if number >= _WARM_UP:
                totals_ms.append(spent * 1000)
                for name, seconds in timed_store.seconds.items():
                    parts_ms[f"the store's `{name}`"].append(seconds * 1000)
                rest = spent - sum(timed_store.seconds.values())
                parts_ms[_RANKING].append(rest * 1000)
    finally:
        await store.close()
    return totals_ms, dict(parts_ms)


def _document(number: int, chunks: int) -> Document:
    return Document(
        id=f"doc_{number:032x}",
        collection=_COLLECTION,
        filename=f"Volume {number}.txt",
        title=f"Volume {number}",
        media_type="text/plain",
        size_bytes=1,
        pages=None,
        chunks=chunks,
        created_at=0.0,
    )


class _Words:
    """Made-up text with Zipf's frequencies, the same each time."""

    def __init__(self) -> None:
        self._draw = np.random.default_rng(_SEED)
        syllables = len(_SYLLABLES)
        self._words = [
            "".join(_SYLLABLES[number // syllables**place % syllables] for place in range(4))
            for number in range(_VOCABULARY)
        ]
        weights = 1 / np.arange(_STOP_WORDS + 1, _STOP_WORDS + 1 + _VOCABULARY)
        self._up_to = np.cumsum(weights / weights.sum())

    def some(self, count: int) -> list[str]:
        """Draw words, each as likely as it is frequent."""
        drawn = np.searchsorted(self._up_to[:-1], self._draw.random(count))
        return [self._words[number] for number in drawn]

    def text(self, count: int) -> str:
        """Draw words and make sentences of them."""
        words = self.some(count)
        sentences = (
            " ".join(words[begin : begin + _SENTENCE_WORDS]).capitalize() + "."
            for begin in range(0, count, _SENTENCE_WORDS)
        )
        return " ".join(sentences)


class _RandomVectors:
    """An embedder whose time does not count: it returns random vectors of unit length."""

    def __init__(self) -> None:
        self._draw = np.random.default_rng(_SEED)

    async def embed(self, texts: Sequence[str], kind: str) -> NDArray[np.float32]:
        del kind
        rows = self._draw.standard_normal((len(texts), _DIMENSIONS), dtype=np.float32)
        unit: NDArray[np.float32] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return unit


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
