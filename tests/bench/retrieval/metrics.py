"""Retrieval metrics: hit rate, reciprocal rank, nDCG, and the length of what was found."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from tests.support.data_sets import Question


@dataclass(frozen=True)
class Found:
    """A retrieved passage, and the file name of its document."""

    document: str
    text: str


@dataclass(frozen=True)
class Search:
    """The passages found for one question, best first, and the seconds taken."""

    question: Question
    found: Sequence[Found]
    seconds: float

    @property
    def rank(self) -> int | None:
        """The rank of the first hit, from 1."""
        ranks = (n for n, one in enumerate(self.found, 1) if is_hit(self.question, one))
        return next(ranks, None)

    @property
    def characters(self) -> int:
        """The characters of all passages."""
        return sum(len(one.text) for one in self.found)


@dataclass(frozen=True)
class Scores:
    """Means over the questions.

    `mrr` counts no rank beyond what was retrieved. `ndcg_10` is that of question answering
    with a single answer: a passage is relevant if it is a hit, the gain is counted for the
    first hit only, and ideal is that one at rank 1; so it is the mean of 1 / log2(1 + rank).
    `hit_5` and `ndcg_10` are None when fewer passages were asked for.
    """

    questions: int
    hit_1: float
    hit_3: float
    hit_5: float | None
    mrr: float
    ndcg_10: float | None
    context_chars: float
    longest_chars: int
    p50_ms: float
    p99_ms: float

    @classmethod
    def of(cls, searches: Sequence[Search], passages: int) -> Self:
        """Score at least one search for at most `passages` passages each."""
        ranks = [search.rank for search in searches]
        characters = [search.characters for search in searches]
        p50, p99 = np.percentile([search.seconds * 1000 for search in searches], (50, 99))

        def hit_at(most: int) -> float:
            return _mean([rank is not None and rank <= most for rank in ranks])

        gains = [1 / math.log2(1 + rank) if rank and rank <= 10 else 0.0 for rank in ranks]
        return cls(
            questions=len(searches),
            hit_1=hit_at(1),
            hit_3=hit_at(3),
            hit_5=hit_at(5) if passages >= 5 else None,
            mrr=_mean([1 / rank if rank else 0.0 for rank in ranks]),
            ndcg_10=_mean(gains) if passages >= 10 else None,
            context_chars=_mean(characters),
            longest_chars=max(characters),
            p50_ms=float(p50),
            p99_ms=float(p99),
        )


def is_hit(question: Question, found: Found) -> bool:
    """Return whether a passage of the right document contains an answer, in the same case."""
    text = collapsed(found.text)
    right = found.document == question.document
    return right and any(collapsed(answer) in text for answer in question.answers)


def collapsed(text: str) -> str:
    """Replace every run of white space by one space."""
    return " ".join(text.split())


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
