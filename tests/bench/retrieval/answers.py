"""Answer metrics: SQuAD's exact match and token F1, and whether citations are right."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from tests.bench.retrieval.metrics import Found, collapsed, is_hit
from tests.support.data_sets import Question

_CITATION = re.compile(r"\[(\d{1,4}(?:\s*,\s*\d{1,4})*)\]")
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True)
class Answer:
    """The answer to a question; `sources` by their number."""

    question: Question
    content: str
    sources: Mapping[int, Found]
    seconds: float


@dataclass(frozen=True)
class AnswerScores:
    """Shares of the answers, except for the three counts of citations.

    `exact` and `f1` compare the whole answer with the nearest span, as SQuAD does, which
    suits answers of a few words; `holds_span` asks only that a span is in it. A source holds
    the answer if it is of the right document and contains a span. `cited` counts each source
    once per answer, `cited_right` those of them that hold the answer, and `cited_unknown` the
    numbers that are not among the answer's sources.
    """

    questions: int
    exact: float
    f1: float
    holds_span: float
    source_holds: float
    citing: float
    cited: int
    cited_right: int
    cited_unknown: int
    p50_s: float
    p99_s: float

    @classmethod
    def of(cls, answers: Sequence[Answer]) -> Self:
        """Score at least one answer."""
        count = len(answers)
        plain = [(without_citations(one.content), one.question.answers) for one in answers]
        cited = [(one, number) for one in answers for number in citations(one.content)]
        known = [(one, one.sources[number]) for one, number in cited if number in one.sources]
        held = [
            any(is_hit(one.question, source) for source in one.sources.values()) for one in answers
        ]
        p50, p99 = np.percentile([one.seconds for one in answers], (50, 99))
        return cls(
            questions=count,
            exact=sum(exact_match(*one) for one in plain) / count,
            f1=sum(token_f1(*one) for one in plain) / count,
            holds_span=sum(mentions(*one) for one in plain) / count,
            source_holds=sum(held) / count,
            citing=sum(bool(citations(one.content)) for one in answers) / count,
            cited=len(known),
            cited_right=sum(is_hit(one.question, source) for one, source in known),
            cited_unknown=len(cited) - len(known),
            p50_s=float(p50),
            p99_s=float(p99),
        )


def citations(text: str) -> list[int]:
    """Return the numbers cited in brackets, each once, in order; `[1, 2]` cites two."""
    numbers = [int(n) for group in _CITATION.findall(text) for n in group.split(",")]
    return list(dict.fromkeys(numbers))


def without_citations(text: str) -> str:
    """Remove citations."""
    return re.sub(r"\s*" + _CITATION.pattern, "", text)


def exact_match(text: str, answers: Sequence[str]) -> bool:
    """Return whether a text is one of the answers, both normalised."""
    return _normalised(text) in {_normalised(answer) for answer in answers}


def token_f1(text: str, answers: Sequence[str]) -> float:
    """Return the best harmonic mean of precision and recall of words over the answers."""
    return max(_f1(_normalised(text).split(), _normalised(answer).split()) for answer in answers)


def mentions(text: str, answers: Sequence[str]) -> bool:
    """Return whether a text contains one of the answers as whole words, both normalised."""
    padded = f" {_normalised(text)} "
    return any(f" {words} " in padded for answer in answers if (words := _normalised(answer)))


def _normalised(text: str) -> str:
    """Normalise as SQuAD: lower case, no punctuation or articles, single spaces."""
    return collapsed(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)))


def _f1(given: Sequence[str], wanted: Sequence[str]) -> float:
    if not given or not wanted:
        return float(given == wanted)
    common = (Counter(given) & Counter(wanted)).total()
    return 2 * common / (len(given) + len(wanted))
