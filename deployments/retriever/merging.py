"""One ranking of what was found in several collections.

A store ranks within a collection, where the best of an unrelated collection comes first, too. So
the ranks by meaning and by words are computed again over all candidates, and fused as a store does.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from deployments.retriever.points import RRF_K

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from deployments.retriever.bm25 import SparseVector
    from deployments.retriever.vector_store import Candidate, HybridQuery
    from deployments.types import Passage


def ranked_together(
    candidates: Sequence[Candidate], words: Sequence[SparseVector], query: HybridQuery
) -> list[Candidate]:
    """Rank candidates as if they were of one collection; `words` are those of their texts.

    The inverse document frequency is estimated from the candidates, as each collection has its own
    statistics.
    """
    if not candidates:
        return []
    vectors = np.stack([one.dense for one in candidates])
    weights = [dict(zip(each.indices, each.values, strict=True)) for each in words]
    rarity = _rarity(weights)
    lookups = [vectors @ row for row in query.dense]
    lookups += [_by_words(weights, each, rarity) for each in query.sparse if each.indices]
    fused = np.zeros(len(candidates))
    for scores in lookups:
        order = np.argsort(-scores, kind="stable")[: query.limit]
        order = order[np.isfinite(scores[order])]
        fused[order] += 1 / (RRF_K + np.arange(len(order)))
    best_first = np.argsort(-fused, kind="stable")
    return [replace(candidates[n], score=float(fused[n])) for n in best_first if fused[n] > 0]


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
) -> NDArray[np.float64]:
    """Return the BM25 score of each text; minus infinity without a word of the query."""
    wanted = {
        word: weight * rarity.get(word, 0.0)
        for word, weight in zip(query.indices, query.values, strict=True)
    }
    scores = [
        sum(wanted[word] * words[word] for word in wanted.keys() & words.keys())
        for words in weights
    ]
    return np.array([score or -math.inf for score in scores])
