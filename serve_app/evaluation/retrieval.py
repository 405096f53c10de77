"""Retrieval metrics of one search: hit rate, reciprocal rank, nDCG, recall."""

from __future__ import annotations

import math
import unicodedata
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from serve_app.evaluation.data_sets import Question

HIT_CUTOFFS = (1, 3, 5, 10)
RECALL_CUTOFFS = (10, 50)
NDCG_CUTOFF = 10


class Found(NamedTuple):
    """A search result or a source: the file name of its document, and its passages."""

    document: str
    passages: Sequence[str]

    @property
    def text(self) -> str:
        """The passages in one text."""
        return "\n".join(self.passages)


class Search(NamedTuple):
    """The results for one question, best first, and the seconds taken."""

    question: Question
    found: Sequence[Found]
    seconds: float

    @property
    def characters(self) -> int:
        """The characters of all results."""
        return sum(len(text) for one in self.found for text in one.passages)


def search_scores(search: Search, results: int) -> dict[str, float]:
    """Score a search for at most `results` results, by the metrics that this number allows.

    Where documents are judged, the ranking is that of the documents, each counted at its first
    result, and nDCG is that of trec_eval: the gain of a document is its grade. Where spans are
    judged, the ranking is that of the results; there is one answer, so that the first hit has all
    of the gain and nDCG is 1 / log2(1 + rank).
    """
    question = search.question
    if question.relevant:
        documents = dict.fromkeys(one.document for one in search.found)
        gains = [question.relevant.get(document, 0.0) for document in documents]
        ideal = sorted(question.relevant.values(), reverse=True)
    else:
        hits = [holds_answer(question, one) for one in search.found]
        first = hits.index(True) if True in hits else len(hits)
        gains = [float(number == first) for number in range(len(hits))]
        ideal = [1.0]
    scores = {f"hit@{k}": float(any(gains[:k])) for k in HIT_CUTOFFS if k <= results}
    scores["MRR"] = next((1 / rank for rank, gain in enumerate(gains, 1) if gain), 0.0)
    if results >= NDCG_CUTOFF:
        scores[f"nDCG@{NDCG_CUTOFF}"] = _gain(gains) / _gain(ideal)
    if question.relevant:
        for k in RECALL_CUTOFFS:
            if k <= results:
                found = sum(gain > 0 for gain in gains[:k])
                scores[f"recall@{k}"] = found / len(question.relevant)
    return scores


def holds_answer(question: Question, found: Found) -> bool:
    """Return whether a text answers a question, according to its judgement.

    It is of a relevant document; or of the right document and contains a span, in the same case.
    """
    if question.relevant:
        return found.document in question.relevant
    text = collapsed(found.text)
    right = question.document is None or found.document == question.document
    return right and any(collapsed(answer) in text for answer in question.answers)


def collapsed(text: str) -> str:
    """Return the text in Unicode's NFC, with one space for every run of white space."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def _gain(gains: Sequence[float]) -> float:
    """Return the discounted cumulative gain."""
    return sum(gain / math.log2(1 + rank) for rank, gain in enumerate(gains[:NDCG_CUTOFF], 1))
