"""Rank candidate chunks and documents; independent of the store.

Measurements for the constants: `tests/bench/RESULTS.md`.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from deployments.retriever.vector_store import Candidate, StoredChunk

DocumentKey: TypeAlias = tuple[str, str]  # collection and id

# The weight of meaning in a score, for passages and for documents; words have the rest.
_MEANING, _MEANING_OF_DOCUMENTS = 0.6, 0.7
# Scores of documents of a large collection are compared in standard deviations: nDCG@10 is 6 %
# above the best baseline on CISI and 2.6 % on NPL, and 3.4 % and 1.7 % with shares of the best. In
# small collections shares are better: hit@3 of XQuAD in Hindi is 0.892 with them, and 0.876.
_MEANING_IN_LARGE = 0.64
# The best similarity has the full share 1 only if it is at least this much above that of unrelated
# texts.
_FULL_RISE = 0.5
# Meaning has its full weight if words find a fifth of its candidates, too, and a quarter of it if
# they find none.
_FULL_AGREEMENT, _LEAST_WEIGHT = 0.2, 0.25
# The weight also depends on the spread: the relative drop of the scores by meaning, over the square
# of that by words. It is full from the first bound on and 0 below the second. Both rules: hit@3 of
# XQuAD is 0.980 in Chinese and 0.938 in Thai; without this one 0.971 and 0.925. The square spares
# long questions such as those of CISI, many words of which occur in many texts.
_FULL_SPREAD, _NO_SPREAD = 1.5, 0.8
_PEAK_RANK = 5  # from 0: the drop by words is measured from the first candidate to this one
# Each chunk of a document counts half as much as the one before: nDCG@10 rises by 3 % on CISI,
# whose abstracts have 2.4 chunks, and is the same on NPL, whose abstracts have one.
_FURTHER_CHUNK = 0.5
_SAME_WORDS = 0.8  # two chunks with this share of common words are near-duplicates


def ranked(
    candidates: Sequence[Candidate],
    unrelated: float,
    limit: int,
    *,
    of_documents: bool = False,
    large: bool = False,
) -> list[Candidate]:
    """Score candidates by meaning and by words, best first.

    Both scores of all candidates are known, so they are added as shares of the best ones. Ranks
    would lose the distances (Bruch, Gai and Ingber, 2023). Scores are averaged over the queries. A
    model that does not know a language finds all texts alike, or finds other texts than words do:
    then words count more.

    Args:
        candidates: in any order.
        unrelated: the mean similarity of unrelated texts.
        limit: how many were looked up by meaning, and how many by words.
        of_documents: whether documents are ranked, not passages.
        large: whether their collection is large.
    """
    if not candidates:
        return []
    cosines = np.array([one.cosines for one in candidates], dtype=np.float64) - unrelated
    bm25 = np.array([one.bm25 for one in candidates], dtype=np.float64)
    if of_documents and large:
        weight, meaning, words = _MEANING_IN_LARGE, _standard(cosines), _standard(bm25)
    else:
        weight = _MEANING_OF_DOCUMENTS if of_documents else _MEANING
        meaning = cosines / np.maximum(cosines.max(axis=0), _FULL_RISE)
        words = bm25 / np.maximum(bm25.max(axis=0), 1e-9)
    of_meaning = weight * _weights(cosines, bm25, limit)
    scores = (of_meaning * meaning + (1 - weight) * words).mean(axis=1)
    order = np.argsort(-scores, kind="stable")
    return [replace(candidates[place], score=float(scores[place])) for place in order]


def _standard(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the standard scores of each column."""
    spread = np.maximum(scores.std(axis=0), 1e-9)
    standard: NDArray[np.float64] = (scores - scores.mean(axis=0)) / spread
    return standard


def _weights(
    cosines: NDArray[np.float64], bm25: NDArray[np.float64], limit: int
) -> NDArray[np.float64]:
    """Return the weight of meaning for each query, from 0 to 1.

    It depends on the agreement of meaning and words, and on the spread of the scores by meaning:
    scores that hardly differ carry little information, in particular if only a few candidates have
    the words.
    """
    both = _found(cosines, limit) & _found(bm25, limit) & (bm25 > 0)
    agreement = both.sum(axis=0) / min(limit, len(cosines)) / _FULL_AGREEMENT
    weights = _LEAST_WEIGHT + (1 - _LEAST_WEIGHT) * np.minimum(agreement, 1)
    spread = _fall(cosines, limit - 1) / np.maximum(_fall(bm25, _PEAK_RANK) ** 2, 1e-9)
    shares = np.clip((spread - _NO_SPREAD) / (_FULL_SPREAD - _NO_SPREAD), 0, 1)
    weighted: NDArray[np.float64] = weights * shares
    return weighted


def _fall(scores: NDArray[np.float64], rank: int) -> NDArray[np.float64]:
    """Return the relative drop from the best score to that at a rank, by each column."""
    best_first = -np.sort(-scores, axis=0)
    best, later = best_first[0], best_first[min(rank, len(scores) - 1)]
    fall: NDArray[np.float64] = np.where(best > 0, (best - later) / np.maximum(best, 1e-9), 0.0)
    return fall


def _found(scores: NDArray[np.float64], limit: int) -> NDArray[np.bool_]:
    """Return which candidates are among the best `limit` by each column."""
    places = np.argsort(np.argsort(-scores, axis=0, kind="stable"), axis=0)
    found: NDArray[np.bool_] = places < limit
    return found


def in_order_of(scores: NDArray[np.float32], candidates: Sequence[Candidate]) -> list[Candidate]:
    """Put the first len(scores) candidates into a reranker's order; the others stay behind."""
    order = [*np.argsort(-scores, kind="stable"), *range(len(scores), len(candidates))]
    return [replace(candidates[place], score=1 / (1 + rank)) for rank, place in enumerate(order)]


@dataclass(frozen=True, slots=True)
class FoundDocument:
    """A document with its candidates, best first; `evidence` is its score by all of them."""

    candidates: Sequence[Candidate]
    evidence: float


def documents(candidates: Sequence[Candidate], limit: int) -> list[FoundDocument]:
    """Group ranked candidates by their documents, those with the best evidence first.

    The evidence is a decaying sum of the scores of its chunks above that of the `limit`-th best
    candidate, so that a long document gains nothing by chunks that match every question.
    """
    if not candidates:
        return []
    least = candidates[min(limit, len(candidates) - 1)].score
    groups: defaultdict[DocumentKey, list[Candidate]] = defaultdict(list)
    for one in candidates:
        groups[document_key(one.stored)].append(one)
    found = [FoundDocument(group, _evidence(group, least)) for group in groups.values()]
    return sorted(found, key=lambda one: one.evidence, reverse=True)


def _evidence(group: Sequence[Candidate], least: float) -> float:
    above = (max(one.score - least, 0.0) for one in group)
    return sum(score * _FURTHER_CHUNK**place for place, score in enumerate(above))


def diverse(candidates: Sequence[Candidate], diversity: float, most: int) -> list[Candidate]:
    """Choose by maximal marginal relevance, without near-duplicates.

    Carbonell and Goldstein, 1998, with the share of common words as the similarity of two texts.
    `diversity` from 0 to 1 is one minus their lambda; relevance is the score as a share of the
    best one.
    """
    if not candidates:
        return []
    scores = np.array([one.score for one in candidates])
    relevance = (1 - diversity) * scores / max(scores.max(), 1e-9)
    words = [frozenset(one.stored.chunk.text.casefold().split()) for one in candidates]
    likeness = np.zeros(len(candidates))
    chosen: list[int] = []
    while len(chosen) < most:
        best = int(np.argmax(relevance - diversity * likeness))
        if not np.isfinite(relevance[best]):
            break
        relevance[best] = -np.inf
        if any(_common(words[best], words[other]) >= _SAME_WORDS for other in chosen):
            continue
        chosen.append(best)
        if diversity:
            likeness = np.maximum(likeness, [_common(words[best], each) for each in words])
    return [candidates[place] for place in chosen]


def _common(words: frozenset[str], others: frozenset[str]) -> float:
    """Return the share of common words of two texts, in any order."""
    common = len(words & others)
    return common / max(len(words) + len(others) - common, 1)


def document_key(one: StoredChunk) -> DocumentKey:
    """Return the collection and the id of the document of a chunk."""
    return one.document.collection, one.document.id
