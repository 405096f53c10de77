"""Merge the results of several collections into one ranking.

Similarities compare, but a store scores words by the statistics of their collection. So the scores
by words are computed again over all candidates.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from deployments.retriever.bm25 import SparseVector
    from deployments.retriever.vector_store import Candidate, HybridQuery
    from deployments.types import Passage


def with_common_rarity(
    candidates: Sequence[Candidate], words: Sequence[SparseVector], query: HybridQuery
) -> list[Candidate]:
    """Score candidates by words as if they were of one collection; `words` are their vectors.

    The inverse document frequency is estimated from the candidates, as each collection has its own
    statistics.
    """
    weights = [dict(zip(each.indices, each.values, strict=True)) for each in words]
    rarity = _rarity(weights)
    scores = [_by_words(weights, each, rarity) for each in query.sparse]
    return [
        replace(one, bm25=bm25)
        for one, bm25 in zip(candidates, zip(*scores, strict=True), strict=True)
    ]


def fused(each: Sequence[Sequence[Passage]], limit: int, max_chars: int) -> list[Passage]:
    """Fuse the passages of collections in different indexes by their ranks.

    Vectors of different models do not compare.
    """
    ranked = itertools.chain.from_iterable(itertools.zip_longest(*each))
    best: list[Passage] = []
    chars = 0
    for passage in filter(None, ranked):
        chars += len(passage.text)
        if chars > max_chars or len(best) == limit:
            break
        best.append(passage)
    return best


def _rarity(weights: Sequence[Mapping[int, float]]) -> dict[int, float]:
    """Return the inverse document frequency of each word, by Qdrant's formula."""
    counts = Counter[int]()
    for words in weights:
        counts.update(words)
    total = len(weights)
    return {
        word: math.log(1 + (total - count + 0.5) / (count + 0.5)) for word, count in counts.items()
    }


def _by_words(
    weights: Sequence[Mapping[int, float]], query: SparseVector, rarity: Mapping[int, float]
) -> list[float]:
    """Return the BM25 score of each text."""
    wanted = {
        word: weight * rarity.get(word, 0.0)
        for word, weight in zip(query.indices, query.values, strict=True)
    }
    return [
        sum((wanted[word] * words[word] for word in wanted.keys() & words.keys()), 0.0)
        for words in weights
    ]
