"""Rank candidate chunks and documents; independent of the store.

Measurements for the constants: `tests/bench/RESULTS.md`.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from deployments.retriever.vector_store import Candidate, StoredChunk

DocumentKey: TypeAlias = tuple[str, str]  # collection and id

# The weight of meaning in a score for passages and for documents; words have the rest.
_MEANING = 0.55
# Scores of documents of a large collection are compared in standard deviations: nDCG@10 is 5.4 %
# above the best baseline on CISI and 3.5 % on NPL; with shares of the best, 4.9 % and 2.2 %. In
# small collections shares are better: hit@3 of XQuAD in German is 0.940, and 0.926 without them.
_MEANING_IN_LARGE = 0.64
# For a question in a script that the embedding model does not know, meaning keeps this share of its
# weight: it then mainly decides between texts that share no word with the question.
_LEAST_SHARE = 0.18
# The best similarity has the full share 1 only if it is at least this much above that of unrelated
# texts.
_FULL_RISE = 0.5
# Each chunk of a document counts half as much as the one before: nDCG@10 rises by 3 % on CISI,
# whose abstracts have 2.4 chunks, and is the same on NPL, whose abstracts have one.
_FURTHER_CHUNK = 0.5
_SAME_WORDS = 0.8  # two chunks with this share of common words are near-duplicates


def ranked(
    candidates: Sequence[Candidate],
    unrelated: float,
    known: Sequence[float],
    *,
    of_large: bool = False,
) -> list[Candidate]:
    """Score candidates by meaning and by words, best first.

    Both scores of all candidates are known, so they are added as shares of the best ones. Ranks
    would lose the distances (Bruch, Gai and Ingber, 2023). Scores are averaged over the queries.

    Args:
        candidates: in any order.
        unrelated: the mean similarity of unrelated texts.
        known: the share of each query's letters in scripts that the embedding model knows.
        of_large: whether documents of a large collection are ranked, not passages.
    """
    if not candidates:
        return []
    cosines = np.array([one.cosines for one in candidates], dtype=np.float64) - unrelated
    bm25 = np.array([one.bm25 for one in candidates], dtype=np.float64)
    if of_large:
        weight, meaning, words = _MEANING_IN_LARGE, _standard(cosines), _standard(bm25)
    else:
        weight = _MEANING
        meaning = cosines / np.maximum(cosines.max(axis=0), _FULL_RISE)
        words = bm25 / np.maximum(bm25.max(axis=0), 1e-9)
    weights = weight * (_LEAST_SHARE + (1 - _LEAST_SHARE) * np.array(known))
    scores = (weights * meaning + (1 - weights) * words).mean(axis=1)
    order = np.argsort(-scores, kind="stable")
    return [_scored(candidates[place], float(scores[place])) for place in order]


def _standard(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the standard scores of each column."""
    spread = np.maximum(scores.std(axis=0), 1e-9)
    standard: NDArray[np.float64] = (scores - scores.mean(axis=0)) / spread
    return standard


def in_order_of(scores: NDArray[np.float32], candidates: Sequence[Candidate]) -> list[Candidate]:
    """Put the first len(scores) candidates into a reranker's order; the others stay behind."""
    order = [*np.argsort(-scores, kind="stable"), *range(len(scores), len(candidates))]
    return [_scored(candidates[place], 1 / (1 + rank)) for rank, place in enumerate(order)]


def _scored(one: Candidate, score: float) -> Candidate:
    """Return a candidate with a score; `dataclasses.replace` would take three times as long."""
    return type(one)(one.stored, one.cosines, one.bm25, score)


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

    @cache
    def words(place: int) -> frozenset[str]:
        return frozenset(candidates[place].stored.chunk.text.casefold().split())

    likeness = np.zeros(len(candidates))
    chosen: list[int] = []
    while len(chosen) < most:
        best = int(np.argmax(relevance - diversity * likeness))
        if not np.isfinite(relevance[best]):
            break
        relevance[best] = -np.inf
        if any(_common(words(best), words(other)) >= _SAME_WORDS for other in chosen):
            continue
        chosen.append(best)
        if diversity:
            alike = [_common(words(best), words(other)) for other in range(len(candidates))]
            likeness = np.maximum(likeness, alike)
    return [candidates[place] for place in chosen]


def _common(words: frozenset[str], others: frozenset[str]) -> float:
    """Return the share of common words of two texts, in any order."""
    common = len(words & others)
    return common / max(len(words) + len(others) - common, 1)


def document_key(one: StoredChunk) -> DocumentKey:
    """Return the collection and the id of the document of a chunk."""
    return one.document.collection, one.document.id
