"""From scores to what they had to be, a section of Markdown, and JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tests.bench.retrieval.answers import AnswerScores
from tests.bench.retrieval.distractors import PASSAGE_CHARS
from tests.bench.retrieval.metrics import Scores
from tests.bench.retrieval.naive import SLICE_CHARS, THRESHOLD

OURS, NAIVE, NAIVE_THRESHOLD = "ours", "naive", f"naive, threshold {THRESHOLD}"
PASSAGES, TIGHT_CHARS, ROOMY_CHARS = 3, 1500, 3000
_HIT_1, _TIGHT_HIT_3, _ROOMY_HIT_3, _LOST_HIT_3 = 0.90, 0.985, 0.995, 0.01
_DIGITS = 4

BASE = "the data set"


@dataclass(frozen=True)
class Measured:
    """One pipeline at one setting on one corpus; `characters` is None where none were set."""

    corpus: str
    pipeline: str
    passages: int
    characters: int | None
    scores: Scores


@dataclass(frozen=True)
class Evaluation:
    """Everything one run gives; `missed` are questions without a hit in the first bound."""

    data: str
    distractors: str
    measured: Sequence[Measured]
    missed: Sequence[str]
    answers: AnswerScores | None

    def ours(self, corpus: str, characters: int) -> Scores:
        """Our scores with three passages; raises LookupError if that was not measured."""
        wanted = (corpus, OURS, PASSAGES, characters)
        for one in self.measured:
            if (one.corpus, one.pipeline, one.passages, one.characters) == wanted:
                return one.scores
        raise LookupError(wanted)


@dataclass(frozen=True)
class Bound:
    """Something that must hold, as it is shown."""

    what: str
    value: str
    wanted: str
    held: bool


def bounds(evaluation: Evaluation) -> list[Bound]:
    """Compare with what the service promises."""
    tight = evaluation.ours(BASE, TIGHT_CHARS)
    roomy = evaluation.ours(BASE, ROOMY_CHARS)
    rows = [
        _at_least(f"hit@1, {TIGHT_CHARS} characters", tight.hit_1, _HIT_1),
        _at_least(f"hit@3, {TIGHT_CHARS} characters", tight.hit_3, _TIGHT_HIT_3),
        _at_least(f"hit@3, {ROOMY_CHARS} characters", roomy.hit_3, _ROOMY_HIT_3),
    ]
    for characters, alone in ((TIGHT_CHARS, tight), (ROOMY_CHARS, roomy)):
        lost = alone.hit_3 - evaluation.ours(evaluation.distractors, characters).hit_3
        held = lost <= _LOST_HIT_3 + 1e-9
        lost_to = evaluation.distractors.removeprefix("with ")
        what = f"hit@3 lost to {lost_to}, {characters} characters"
        rows.append(Bound(what, f"{lost:.4f}", f"at most {_LOST_HIT_3}", held))
    over = sum(
        one.characters is not None and one.scores.longest_chars > one.characters
        for one in evaluation.measured
    )
    rows.append(Bound("settings with a context over its bound", str(over), "0", not over))
    if evaluation.answers is not None:
        unknown = evaluation.answers.cited_unknown
        what = "numbers cited that are not among the answer's sources"
        rows.append(Bound(what, str(unknown), "0", not unknown))
    return rows


def as_json(evaluation: Evaluation, machine: Mapping[str, object]) -> str:
    """Write everything down."""
    whole = {"machine": dict(machine), **asdict(evaluation)}
    return json.dumps(_rounded(whole), indent=1, ensure_ascii=False) + "\n"


def section(evaluation: Evaluation, machine: Mapping[str, object], clients: int) -> str:
    """Write everything there is to say of one run, as Markdown."""
    about = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in machine.items())
    questions = evaluation.measured[0].scores.questions
    return f"""\
## Retrieval and answers: ours beside the naive pipeline

`make eval` asks the {questions} questions of `{evaluation.data}` of the running service
(`configs/cpu.yaml`) and writes this section and [the numbers](results/retrieval.json);
`python -m tests.bench.retrieval --help` lists the settings, other data sets among them.

| ours | measured | wanted | holds |
|---|---|---|---|
{_bounds_table(bounds(evaluation))}

{_table(evaluation.measured)}

![Questions answered by what was found, against its length](results/retrieval.svg)

- **hit@k**: one of the first k passages is of the right article and contains an answer, in the
  same case. **MRR** counts ranks among the passages asked for. **nDCG@10** has one relevant
  passage as its ideal and counts the gain of the first hit.
- **ours**: one document an article, uploaded to `/upload`; `POST /v1/vector_stores/{{id}}/search`
  with a number of passages and a bound on the characters of all of them. Latency is over HTTP at
  {clients} clients on the same cores, the embedding of the question included.
- **naive**: slices of {SLICE_CHARS} characters, embedded one at a time by the same model, nearest
  by cosine, with and without a threshold of {THRESHOLD}. In the process of the measurement and
  alone on the machine: its latency has no HTTP in it.
- **distractors**: passages of about {PASSAGE_CHARS} characters in further documents of the same
  collection: some 500 of prose from Python's language reference (`pydoc_data.topics`), the rest
  prose on invented towns. **altered sentences**, added to those: for every article a
  document of its own sentences, in which names and numbers are exchanged for others of the data
  set.

{_answers(evaluation.answers)}

Machine: {about}."""


def _at_least(what: str, value: float, wanted: float) -> Bound:
    return Bound(what, f"{value:.4f}", f"at least {wanted}", value >= wanted)


def _bounds_table(rows: Sequence[Bound]) -> str:
    return "\n".join(
        f"| {row.what} | {row.value} | {row.wanted} | {'yes' if row.held else 'NO'} |"
        for row in rows
    )


def _table(measured: Sequence[Measured]) -> str:
    headings = (
        "corpus | pipeline | passages | characters allowed | hit@1 | hit@3 | hit@5 | MRR | nDCG@10 "
        "| characters found | p50, ms | p99, ms"
    )
    lines = [f"| {headings} |", "|" + "---|" * (headings.count("|") + 1)]
    for one in measured:
        scores = one.scores
        quality = (scores.hit_1, scores.hit_3, scores.hit_5, scores.mrr, scores.ndcg_10)
        cells = [
            one.corpus,
            one.pipeline,
            str(one.passages),
            "-" if one.characters is None else str(one.characters),
            *("-" if value is None else f"{value:.3f}" for value in quality),
            f"{scores.context_chars:.0f}",
            f"{scores.p50_ms:.1f}",
            f"{scores.p99_ms:.1f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _answers(scores: AnswerScores | None) -> str:
    if scores is None:
        return "Answers were not asked for in this run."
    right = f"{scores.cited_right} of {scores.cited}"
    rows = (
        ("exact match", f"{scores.exact:.3f}"),
        ("token F1", f"{scores.f1:.3f}"),
        ("contain an answer span", f"{scores.holds_span:.3f}"),
        ("have a source that contains an answer", f"{scores.source_holds:.3f}"),
        ("cite a source", f"{scores.citing:.3f}"),
        ("cited sources that contain an answer", right),
        ("time, p50 / p99", f"{scores.p50_s:.1f} / {scores.p99_s:.1f} s"),
    )
    lines = "\n".join(f"| {what} | {value} |" for what, value in rows)
    return f"""\
{scores.questions} of the questions, drawn by a fixed seed, were answered by the whole service
(`POST /generate/text`, temperature 0). Answers are compared after SQuAD's normalisation, without
their citations; the model says whole sentences, which exact match and F1 count against it.

| answers of the service's small model | |
|---|---|
{lines}"""


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, _DIGITS)
    if isinstance(value, Mapping):
        return {name: _rounded(one) for name, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_rounded(one) for one in value]
    return value
