"""How good answers are: beside the spans wanted, and in what they cite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from tests.bench.figures import percentile
from tests.bench.retrieval.metrics import (
    Found,
    Question,
    citations,
    exact_match,
    is_hit,
    mentions,
    token_f1,
    without_citations,
)


@dataclass(frozen=True)
class Answer:
    """What came of a question; `sources` by their number."""

    question: Question
    content: str
    sources: Mapping[int, Found]
    seconds: float


@dataclass(frozen=True)
class AnswerScores:
    """Shares of the answers, but for the three counts of citations.

    `exact` and `f1` compare the whole answer with the nearest span, as SQuAD does, which
    suits answers of a few words; `holds_span` asks only that a span is in it. A source holds
    the answer if it is of the right document and contains a span. `cited` counts each source
    once an answer, `cited_right` those of them that hold the answer, and `cited_unknown` the
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
        """Sum up at least one answer."""
        count = len(answers)
        plain = [(without_citations(one.content), one.question.answers) for one in answers]
        cited = [(one, number) for one in answers for number in citations(one.content)]
        known = [(one, one.sources[number]) for one, number in cited if number in one.sources]
        times = [one.seconds for one in answers]
        return cls(
            questions=count,
            exact=sum(exact_match(*one) for one in plain) / count,
            f1=sum(token_f1(*one) for one in plain) / count,
            holds_span=sum(mentions(*one) for one in plain) / count,
            source_holds=sum(
                any(is_hit(one.question, source) for source in one.sources.values())
                for one in answers
            )
            / count,
            citing=sum(bool(citations(one.content)) for one in answers) / count,
            cited=len(known),
            cited_right=sum(is_hit(one.question, source) for one, source in known),
            cited_unknown=len(cited) - len(known),
            p50_s=percentile(times, 50),
            p99_s=percentile(times, 99),
        )
