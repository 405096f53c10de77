"""Scores of retrieval and of answers: hit, reciprocal rank, nDCG; exact match and token F1."""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from tests.bench.figures import percentile

_CITATION = re.compile(r"\[(\d{1,4}(?:\s*,\s*\d{1,4})*)\]")
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True)
class Question:
    """What is asked, the spans that answer it, and the file name of the one right document."""

    text: str
    answers: tuple[str, ...]
    document: str


@dataclass(frozen=True)
class Found:
    """A retrieved text, and the file name of its document."""

    document: str
    text: str


@dataclass(frozen=True)
class Search:
    """What came of one question, best first, and how long that took."""

    question: Question
    found: Sequence[Found]
    seconds: float

    @property
    def rank(self) -> int | None:
        """Where the first hit stands, from 1."""
        ranks = (n for n, one in enumerate(self.found, 1) if is_hit(self.question, one))
        return next(ranks, None)

    @property
    def characters(self) -> int:
        """Of everything found."""
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
        """Sum up at least one search for at most so many passages each."""
        ranks = [search.rank for search in searches]
        times_ms = [search.seconds * 1000 for search in searches]
        characters = [search.characters for search in searches]
        return cls(
            questions=len(searches),
            hit_1=hit_at(ranks, 1),
            hit_3=hit_at(ranks, 3),
            hit_5=hit_at(ranks, 5) if passages >= 5 else None,
            mrr=_mean([1 / rank if rank else 0.0 for rank in ranks]),
            ndcg_10=ndcg(ranks, 10) if passages >= 10 else None,
            context_chars=_mean(characters),
            longest_chars=max(characters),
            p50_ms=percentile(times_ms, 50),
            p99_ms=percentile(times_ms, 99),
        )


def is_hit(question: Question, found: Found) -> bool:
    """Whether a text of the right document contains an answer: same case, any white space."""
    return found.document == question.document and holds_answer(question, found.text)


def holds_answer(question: Question, text: str) -> bool:
    """Whether a text contains an answer: same case, any white space."""
    text = _collapsed(text)
    return any(_collapsed(answer) in text for answer in question.answers)


def hit_at(ranks: Sequence[int | None], most: int) -> float:
    """The share of first hits that are among so many."""
    return _mean([rank is not None and rank <= most for rank in ranks])


def ndcg(ranks: Sequence[int | None], most: int) -> float:
    """See Scores."""
    return _mean([1 / math.log2(1 + rank) if rank and rank <= most else 0.0 for rank in ranks])


def citations(text: str) -> list[int]:
    """The numbers cited in brackets, each once, in order; `[1, 2]` are two."""
    numbers = [int(n) for group in _CITATION.findall(text) for n in group.split(",")]
    return list(dict.fromkeys(numbers))


def without_citations(text: str) -> str:
    """The same text as it would read without sources."""
    return re.sub(r"\s*" + _CITATION.pattern, "", text)


def normalised(text: str) -> str:
    """As SQuAD compares: lower case, without punctuation, articles and superfluous space."""
    return _collapsed(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)))


def exact_match(text: str, answers: Sequence[str]) -> bool:
    """Whether a text is one of the answers, both normalised."""
    return normalised(text) in {normalised(answer) for answer in answers}


def token_f1(text: str, answers: Sequence[str]) -> float:
    """The best harmonic mean of precision and recall of normalised words, over the answers."""
    return max(_f1(normalised(text).split(), normalised(answer).split()) for answer in answers)


def mentions(text: str, answers: Sequence[str]) -> bool:
    """Whether a text contains one of the answers as whole words, both normalised."""
    padded = f" {normalised(text)} "
    return any(f" {words} " in padded for answer in answers if (words := normalised(answer)))


def _f1(given: Sequence[str], wanted: Sequence[str]) -> float:
    if not given or not wanted:
        return float(given == wanted)
    common = (Counter(given) & Counter(wanted)).total()
    return 2 * common / (len(given) + len(wanted))


def _collapsed(text: str) -> str:
    return " ".join(text.split())


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
