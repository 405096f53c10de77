"""Made-up documents, the same each time: words as unevenly frequent as those of real text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from deployments.retriever.document_retriever import DocumentRetriever
from deployments.types import Chunk, Document, EmbeddingModel

COLLECTION = "default"
DIMENSIONS = 384
_CHUNKS_A_DOCUMENT = 400
_VOCABULARY = 30_000
_STOP_WORDS = 50  # the most frequent words of real text, which BM25 leaves out
_CHUNK_WORDS = 65  # some 90 tokens
_SENTENCE_WORDS = 13
_SEED = 11
_SYLLABLES = "ba co di fu ge ha jo ki lu me na po ri su te va wo xi yu za".split()


async def fill(retriever: DocumentRetriever, words: Words, chunks: int) -> None:
    """Store and publish documents of so many chunks in all."""
    for number, begin in enumerate(range(0, chunks, _CHUNKS_A_DOCUMENT)):
        texts = [words.text(_CHUNK_WORDS) for _ in range(min(_CHUNKS_A_DOCUMENT, chunks - begin))]
        document = _document(number, len(texts))
        some = [Chunk(position, text, tokens=90) for position, text in enumerate(texts)]
        await retriever.add(document, some)
        await retriever.publish(document)


def _document(number: int, chunks: int) -> Document:
    return Document(
        id=f"doc_{number:032x}",
        collection=COLLECTION,
        filename=f"Volume {number}.txt",
        title=f"Volume {number}",
        media_type="text/plain",
        size_bytes=1,
        pages=None,
        chunks=chunks,
        created_at=0.0,
    )


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


class RandomVectors:
    """An embedder whose time does not count: it returns random vectors of unit length."""

    def __init__(self) -> None:
        self._draw = np.random.default_rng(_SEED)

    async def model(self) -> EmbeddingModel:
        return EmbeddingModel("random", "random", DIMENSIONS)

    async def embed(
        self, texts: Sequence[str], kind: str, fingerprint: str = ""
    ) -> NDArray[np.float32]:
        del kind, fingerprint
        rows = self._draw.standard_normal((len(texts), DIMENSIONS), dtype=np.float32)
        unit: NDArray[np.float32] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return unit
