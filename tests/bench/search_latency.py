"""`python -m tests.bench.search_latency`: a search of the embedded store, without the embedding.

It is `DocumentRetriever.search` over 20,000 chunks of made-up text whose words are as unevenly
frequent as those of real text; vectors are random and ready when they are asked for.
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
from tests.bench import machine
from tests.bench.figures import percentile
from tests.bench.report import HEADING, with_section

HERE = Path(__file__).parent
COLLECTION = "default"
_CHUNKS, _QUERIES = 20_000, 500
_CHUNKS_A_DOCUMENT = 400
_DIMENSIONS = 384
_VOCABULARY = 30_000
_STOP_WORDS = 50  # the most frequent words of real text, which BM25 leaves out
_CHUNK_WORDS, _QUERY_WORDS = 65, 8  # some 90 tokens
_SENTENCE_WORDS = 13
_PASSAGES, _CHARS = 4, 3000
_WARM_UP = 20
_P50_MS = 5.0
_SEED = 11
_SYLLABLES = "ba co di fu ge ha jo ki lu me na po ri su te va wo xi yu za".split()


class Words:
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
        """So many words, as likely as they are frequent."""
        drawn = np.searchsorted(self._up_to[:-1], self._draw.random(count))
        return [self._words[number] for number in drawn]

    def text(self, count: int) -> str:
        """Sentences of so many words in all."""
        words = self.some(count)
        sentences = (
            " ".join(words[begin : begin + _SENTENCE_WORDS]).capitalize() + "."
            for begin in range(0, count, _SENTENCE_WORDS)
        )
        return " ".join(sentences)


class ReadyVectors:
    """Stands for the embedder, whose time is not looked at: random vectors of unit length."""

    def __init__(self) -> None:
        self._draw = np.random.default_rng(_SEED)

    async def embed(self, texts: Sequence[str], kind: str) -> NDArray[np.float32]:
        del kind
        rows = self._draw.standard_normal((len(texts), _DIMENSIONS), dtype=np.float32)
        unit: NDArray[np.float32] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return unit


class Timed:
    """Adds up the seconds of each method of what it stands before, all of them coroutines."""

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


def main() -> int:
    """Measure and print; 0 if the median is under its bound."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.search_latency", description=__doc__
    )
    parser.add_argument("--chunks", type=int, default=_CHUNKS)
    parser.add_argument("--queries", type=int, default=_QUERIES)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="genserve-search-") as folder:
        totals_ms, parts_ms = asyncio.run(measured(Path(folder), options.chunks, options.queries))
    text = _section(totals_ms, parts_ms, options.chunks)
    if (options.chunks, options.queries) == (_CHUNKS, _QUERIES):
        results = HERE / "RESULTS.md"
        before = results.read_text(encoding="utf-8") if results.exists() else HEADING
        results.write_text(with_section(before, "search", text), encoding="utf-8")
    sys.stdout.write(text + "\n")
    return 0 if percentile(totals_ms, 50) < _P50_MS else 1


async def measured(
    folder: Path, chunks: int, queries: int
) -> tuple[list[float], dict[str, list[float]]]:
    """Return the milliseconds of each search, and of each part of it; embedding is in neither."""
    words = Words()
    store = EdgeStore(folder / "vectors", chunker_version=1, max_collections=1)
    timed_store, timed_embedder = Timed(store), Timed(ReadyVectors())
    retriever = DocumentRetriever(
        cast("VectorStore", timed_store), cast("Embedder", timed_embedder), RetrieverSettings()
    )
    try:
        for number, begin in enumerate(range(0, chunks, _CHUNKS_A_DOCUMENT)):
            count = min(_CHUNKS_A_DOCUMENT, chunks - begin)
            document = _document(number, count)
            await retriever.add(document, list(_chunks(words, count)))
            await retriever.publish(document)
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
            if number >= _WARM_UP:
                totals_ms.append(spent * 1000)
                for name, seconds in timed_store.seconds.items():
                    parts_ms[name].append(seconds * 1000)
                rest = spent - sum(timed_store.seconds.values())
                parts_ms["words and ranking"].append(rest * 1000)
    finally:
        await store.close()
    return totals_ms, dict(parts_ms)


def _document(number: int, chunks: int) -> Document:
    name = f"Volume {number}"
    return Document(
        id=f"doc_{number:032x}",
        collection=COLLECTION,
        filename=f"{name}.txt",
        title=name,
        media_type="text/plain",
        size_bytes=1,
        pages=None,
        chunks=chunks,
        created_at=0.0,
    )


def _chunks(words: Words, count: int) -> Iterator[Chunk]:
    for number in range(count):
        yield Chunk(number, words.text(_CHUNK_WORDS), tokens=90)


def _section(totals_ms: Sequence[float], parts_ms: dict[str, list[float]], chunks: int) -> str:
    about = ", ".join(f"{name} {value}" for name, value in machine.description().items())
    median = percentile(totals_ms, 50)
    rows = "\n".join(
        f"| {_called(name)} | {percentile(values, 50):.2f} | {percentile(values, 99):.2f} |"
        for name, values in parts_ms.items()
    )
    return f"""\
## A search inside the retriever

`make bench-search`: {len(totals_ms)} questions of {_QUERY_WORDS} words, one after the other, of
{chunks:,} chunks in the embedded store: dense and BM25 in one query, fusion, ranking, neighbours,
and {_PASSAGES} passages of {_CHARS} characters. Embedding the question is left out; the text is
made up, with the word frequencies of real text, and the {_DIMENSIONS}-dimensional vectors are
random.

| | p50, ms | p99, ms |
|---|---|---|
| **search** (wanted: p50 under {_P50_MS:.0f} ms, {"holds" if median < _P50_MS else "MISSED"}) \
| **{median:.2f}** | {percentile(totals_ms, 99):.2f} |
{rows}

Machine: {about}."""


def _called(part: str) -> str:
    return f"the store's `{part}`" if part.isidentifier() else part


if __name__ == "__main__":
    sys.exit(main())
