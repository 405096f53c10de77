"""The record of one evaluation: its scores question by question, as a JSON file."""

from __future__ import annotations

import json
import re
from collections import Counter
from datetime import datetime  # noqa: TC003 - pydantic reads annotations
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import BaseModel, ValidationError

from serve_app.evaluation.retrieval import HIT_CUTOFFS, NDCG_CUTOFF, RECALL_CUTOFFS
from serve_app.service_client import CommandError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

METRICS = (
    *(f"hit@{k}" for k in HIT_CUTOFFS),
    *("MRR", f"nDCG@{NDCG_CUTOFF}"),
    *(f"recall@{k}" for k in RECALL_CUTOFFS),
    *("exact", "F1", "contains", "grounded", "cites", "cited_right"),
)
"""All metrics, in the order in which they are shown; each is from 0 to 1, and more is better."""
_CONFIDENCE_95 = 1.96  # standard errors
_DIGITS = 6
_MAX_FILE_BYTES = 256 * 1024 * 1024


class Latency(BaseModel):
    """Percentiles of requests, in seconds."""

    p50_s: float
    p99_s: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Latency:
        """Return the percentiles of at least one request."""
        p50, p99 = np.percentile(seconds, (50, 99))
        return cls(p50_s=float(p50), p99_s=float(p99))


class QuestionScores(BaseModel):
    """The scores of one question; `key` is its text, numbered if several have the same."""

    key: str
    scores: dict[str, float]


class Run(BaseModel):
    """One evaluation; `content` is the digest of its documents."""

    format: Literal[1] = 1
    name: str
    content: str
    at: datetime
    label: str
    version: str
    models: dict[str, str]
    settings: dict[str, int | None]
    documents: int
    unread: int
    questions: list[QuestionScores]
    search: Latency
    characters: float
    answers: int = 0
    answer: Latency | None = None
    answers_error: str | None = None

    @classmethod
    def read(cls, path: Path) -> Run:
        """Read a file; raises CommandError."""
        try:
            if path.stat().st_size > _MAX_FILE_BYTES:
                msg = f"{path}: too large for a result"
                raise CommandError(msg)
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            msg = f"{path} cannot be read: {error.strerror}"
            raise CommandError(msg) from error
        except ValidationError as error:
            msg = f"{path} is no result of `genserve eval`"
            raise CommandError(msg) from error

    def write(self, path: Path) -> None:
        """Write a file, whole or not at all."""
        record = {"summary": self.means(), **self.model_dump(mode="json")}
        part = path.with_name(f"{path.name}.part")
        part.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        part.replace(path)

    @property
    def metrics(self) -> list[str]:
        """The metrics that any question has, in their order."""
        measured = {metric for question in self.questions for metric in question.scores}
        return [metric for metric in METRICS if metric in measured]

    def values(self, metric: str) -> list[float]:
        """Return the scores of the questions that have this metric."""
        return [one.scores[metric] for one in self.questions if metric in one.scores]

    def means(self) -> dict[str, float]:
        """Return the mean of each metric."""
        return {metric: float(np.mean(self.values(metric))) for metric in self.metrics}

    def margin(self, metric: str) -> float:
        """Return the half width of the 95 % confidence interval of a mean."""
        values = self.values(metric)
        return float(_CONFIDENCE_95 * np.std(values) / np.sqrt(len(values)))


def keys(texts: Iterable[str]) -> list[str]:
    """Return a key for each question: its text, numbered from the second of the same text on."""
    seen: Counter[str] = Counter()
    found = []
    for text in texts:
        seen[text] += 1
        found.append(text if seen[text] == 1 else f"{text} ({seen[text]})")
    return found


def rounded(scores: dict[str, float]) -> dict[str, float]:
    """Round scores for the file."""
    return {name: round(value, _DIGITS) for name, value in scores.items()}


def latest(folder: Path, name: str) -> Path | None:
    """Return the file of the last run of a data set in a folder."""
    named = re.compile(rf"{re.escape(name)}-\d{{8}}T\d{{6}}Z\.json")
    found = [path for path in folder.glob("*Z.json") if named.fullmatch(path.name)]
    return max(found, key=lambda path: path.name, default=None)
