"""Answer metrics: SQuAD's exact match and token F1, and whether cited sources are right."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from serve_app.evaluation.retrieval import holds_answer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from serve_app.evaluation.data_sets import Question
    from serve_app.evaluation.retrieval import Found

_CITATION = re.compile(r"\s*\[\d{1,4}(?:\s*,\s*\d{1,4})*\]")
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
# Scripts without spaces between words, of which each character is a token, as in MLQA: Thai, Lao,
# Burmese, Khmer, kana and Han.
_NO_SPACES = re.compile(
    "([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff])"
)


class Answer(NamedTuple):
    """The answer to a question; `sources` by their number, and the numbers of the cited ones."""

    question: Question
    content: str
    sources: Mapping[int, Found]
    cited: Sequence[int]
    seconds: float


def answer_scores(answer: Answer) -> dict[str, float]:
    """Score an answer.

    `exact` and `F1` compare the whole answer with the nearest span, as SQuAD does, which suits
    answers of a few words; `contains` asks only that a span is in it. `grounded`: one of the
    sources that the model was given holds the answer. `cites`: the answer cites a source.
    `cited_right`: the share of the cited sources that hold the answer, if there are any.
    """
    question = answer.question
    scores = {}
    if question.answers:
        plain = without_citations(answer.content)
        scores["exact"] = float(exact_match(plain, question.answers))
        scores["F1"] = token_f1(plain, question.answers)
        scores["contains"] = float(mentions(plain, question.answers))
    holding = {
        number for number, source in answer.sources.items() if holds_answer(question, source)
    }
    scores["grounded"] = float(bool(holding))
    scores["cites"] = float(bool(answer.cited))
    if answer.cited:
        right = sum(number in holding for number in answer.cited)
        scores["cited_right"] = right / len(answer.cited)
    return scores


def without_citations(text: str) -> str:
    """Remove citations, such as `[1]` and `[1, 2]`."""
    return _CITATION.sub("", text)


def exact_match(text: str, answers: Sequence[str]) -> bool:
    """Return whether a text is one of the answers, both normalised."""
    return _tokens(text) in [_tokens(answer) for answer in answers]


def token_f1(text: str, answers: Sequence[str]) -> float:
    """Return the best harmonic mean of precision and recall of words over the answers."""
    return max(_f1(_tokens(text), _tokens(answer)) for answer in answers)


def mentions(text: str, answers: Sequence[str]) -> bool:
    """Return whether a text contains one of the answers as whole words, both normalised."""
    padded = f" {' '.join(_tokens(text))} "
    return any(f" {' '.join(words)} " in padded for one in answers if (words := _tokens(one)))


def _tokens(text: str) -> list[str]:
    """Normalise as SQuAD: lower case, no punctuation or symbols, no English articles."""
    folded = unicodedata.normalize("NFKC", text).lower()
    bare = "".join(sign for sign in folded if unicodedata.category(sign)[0] not in "PS")
    return _NO_SPACES.sub(r" \1 ", _ARTICLES.sub(" ", bare)).split()


def _f1(given: Sequence[str], wanted: Sequence[str]) -> float:
    if not given or not wanted:
        return float(given == wanted)
    common = (Counter(given) & Counter(wanted)).total()
    return 2 * common / (len(given) + len(wanted))
