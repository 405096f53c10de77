"""The evaluation's section of RESULTS.md: checks, tables, and a plot."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.bench.report import Check, Section, checks_table, table
from tests.bench.retrieval.answers import AnswerScores
from tests.bench.retrieval.metrics import Scores
from tests.bench.retrieval.naive import SLICE_CHARS, THRESHOLD
from tests.support.distractors import PASSAGE_CHARS

OURS, NAIVE, NAIVE_THRESHOLD = "ours", "naive", f"naive, threshold {THRESHOLD}"
PASSAGES, TIGHT_CHARS, ROOMY_CHARS = 3, 1500, 3000
_MIN_HIT_1, _MIN_TIGHT_HIT_3, _MIN_ROOMY_HIT_3, _MAX_LOST_HIT_3 = 0.90, 0.985, 0.995, 0.01
_ROUNDING = 1e-9

BASE = "the data set"


@dataclass(frozen=True)
class Measured:
    """One pipeline at one setting on one corpus; `characters` is None where it has no limit."""

    corpus: str
    pipeline: str
    passages: int
    characters: int | None
    scores: Scores


@dataclass(frozen=True)
class Evaluation:
    """All results of a run; `missed` are the questions without a hit at the tight limit."""

    data: str
    distractors: str
    measured: Sequence[Measured]
    missed: Sequence[str]
    answers: AnswerScores | None

    def ours(self, corpus: str, characters: int) -> Scores:
        """Return our scores with three passages; raises LookupError if that was not measured."""
        wanted = (corpus, OURS, PASSAGES, characters)
        for one in self.measured:
            if (one.corpus, one.pipeline, one.passages, one.characters) == wanted:
                return one.scores
        raise LookupError(wanted)


def checks(evaluation: Evaluation) -> list[Check]:
    """Compare with what the service promises."""
    tight, roomy = (evaluation.ours(BASE, chars) for chars in (TIGHT_CHARS, ROOMY_CHARS))
    hits = (
        (f"hit@1, {TIGHT_CHARS} characters", tight.hit_1, _MIN_HIT_1),
        (f"hit@3, {TIGHT_CHARS} characters", tight.hit_3, _MIN_TIGHT_HIT_3),
        (f"hit@3, {ROOMY_CHARS} characters", roomy.hit_3, _MIN_ROOMY_HIT_3),
    )
    found = [Check.at_least(*hit, form="{:.4f}") for hit in hits]
    distractors = evaluation.distractors.removeprefix("with ")
    for characters, alone in ((TIGHT_CHARS, tight), (ROOMY_CHARS, roomy)):
        lost = alone.hit_3 - evaluation.ours(evaluation.distractors, characters).hit_3
        what = f"hit@3 lost to {distractors}, {characters} characters"
        found.append(Check.at_most(what, lost, _MAX_LOST_HIT_3 + _ROUNDING, "{:.4f}"))
    over = sum(
        one.characters is not None and one.scores.longest_chars > one.characters
        for one in evaluation.measured
    )
    found.append(Check.equal("settings with a context over its bound", over))
    if evaluation.answers is not None:
        what = "numbers cited that are not among the answer's sources"
        found.append(Check.equal(what, evaluation.answers.cited_unknown))
    return found


def section(evaluation: Evaluation, clients: int) -> Section:
    """Report an evaluation."""
    found = checks(evaluation)
    body = f"""\
## Retrieval and answers: ours beside the naive pipeline

`make eval` asks the {evaluation.measured[0].scores.questions} questions of `{evaluation.data}` of
the running service (`configs/cpu.yaml`) and writes this section and
[the numbers](results/retrieval.json); `python -m tests.bench.retrieval --help` lists the settings,
other data sets among them.

{checks_table(found, "ours")}

{_scores_table(evaluation.measured)}

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

{_answers(evaluation.answers)}"""
    plot = {"retrieval.svg": _plot(evaluation.measured)}
    return Section("retrieval", body, found, evaluation, plot)


def _scores_table(measured: Sequence[Measured]) -> str:
    headings = (
        *("corpus", "pipeline", "passages", "characters allowed", "hit@1", "hit@3", "hit@5"),
        *("MRR", "nDCG@10", "characters found", "p50, ms", "p99, ms"),
    )
    rows = []
    for one in measured:
        scores = one.scores
        quality = (scores.hit_1, scores.hit_3, scores.hit_5, scores.mrr, scores.ndcg_10)
        rows.append(
            (
                *(one.corpus, one.pipeline, one.passages, one.characters or "-"),
                *("-" if value is None else f"{value:.3f}" for value in quality),
                f"{scores.context_chars:.0f}",
                *(f"{scores.p50_ms:.1f}", f"{scores.p99_ms:.1f}"),
            )
        )
    return table(headings, rows)


def _answers(scores: AnswerScores | None) -> str:
    if scores is None:
        return "Answers were not asked for in this run."
    rows = (
        ("exact match", f"{scores.exact:.3f}"),
        ("token F1", f"{scores.f1:.3f}"),
        ("contain an answer span", f"{scores.holds_span:.3f}"),
        ("have a source that contains an answer", f"{scores.source_holds:.3f}"),
        ("cite a source", f"{scores.citing:.3f}"),
        ("cited sources that contain an answer", f"{scores.cited_right} of {scores.cited}"),
        ("time, p50 / p99", f"{scores.p50_s:.1f} / {scores.p99_s:.1f} s"),
    )
    return f"""\
{scores.questions} of the questions, drawn by a fixed seed, were answered by the whole service
(`POST /generate/text`, temperature 0). Answers are compared after SQuAD's normalisation, without
their citations; the model says whole sentences, which exact match and F1 count against it.

{table(("answers of the service's small model", ""), rows)}"""


def _plot(measured: Sequence[Measured]) -> bytes:
    """Draw hit@3 against the length of the context, as an SVG."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    colours = {OURS: "#1f5fa8", NAIVE: "#c25b12", NAIVE_THRESHOLD: "#7a7a7a"}
    corpora = list(dict.fromkeys(one.corpus for one in measured))
    svg = io.BytesIO()
    # The same figures give the same file.
    with mpl.rc_context({"svg.hashsalt": "genserve", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure((6.4, 4.0), layout="constrained")
        axes = figure.add_subplot()
        for pipeline, colour in colours.items():
            for corpus, style in zip(corpora, ("-o", "--s", ":^"), strict=False):
                points = sorted(
                    (one.scores.context_chars, one.scores.hit_3)
                    for one in measured
                    if (one.pipeline, one.corpus, one.passages) == (pipeline, corpus, PASSAGES)
                )
                if points:
                    look: Any = {"color": colour, "markersize": 4, "linewidth": 1}
                    label = f"{pipeline}, {corpus}"
                    axes.plot(*zip(*points, strict=True), style, label=label, **look)
        axes.set_xlabel(f"mean characters of at most {PASSAGES} passages")
        axes.set_ylabel("hit@3")
        axes.set_xlim(left=0)
        axes.set_ylim(0, 1.02)
        axes.grid(color="#dddddd", linewidth=0.5)
        axes.legend(fontsize=7, loc="center right", frameon=False)
        figure.savefig(svg, format="svg", metadata={"Date": None})
    return svg.getvalue()
