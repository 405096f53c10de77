"""The evaluation's section of RESULTS.md: checks, tables, and a plot."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from serve_app.evaluation.retrieval import Search, search_scores
from tests.bench.report import Check, Section, checks_table, percentile, table
from tests.bench.retrieval.naive import SLICE_CHARS, THRESHOLD
from tests.support.distractors import PASSAGE_CHARS

OURS, NAIVE, NAIVE_THRESHOLD = "ours", "naive", f"naive, threshold {THRESHOLD}"
PASSAGES, TIGHT_CHARS, ROOMY_CHARS = 3, 1500, 3000
_MIN_HIT_1, _MIN_TIGHT_HIT_3, _MIN_ROOMY_HIT_3, _MAX_LOST_HIT_3 = 0.90, 0.985, 0.995, 0.01
_ROUNDING = 1e-9
_METRICS = ("hit@1", "hit@3", "hit@5", "MRR", "nDCG@10")

BASE = "the data set"


@dataclass(frozen=True)
class Scores:
    """Means of `genserve eval` over the questions, and what was found in characters."""

    questions: int
    means: Mapping[str, float]
    context_chars: float
    longest_chars: int
    p50_ms: float
    p99_ms: float

    @classmethod
    def of(cls, searches: Sequence[Search], passages: int) -> Self:
        """Score at least one search for at most `passages` passages each."""
        scores = [search_scores(search, passages) for search in searches]
        milliseconds = [search.seconds * 1000 for search in searches]
        return cls(
            questions=len(searches),
            means={name: float(np.mean([one[name] for one in scores])) for name in scores[0]},
            context_chars=float(np.mean([search.characters for search in searches])),
            longest_chars=max(search.characters for search in searches),
            p50_ms=percentile(milliseconds, 50),
            p99_ms=percentile(milliseconds, 99),
        )


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
        (f"hit@1, {TIGHT_CHARS} characters", tight.means["hit@1"], _MIN_HIT_1),
        (f"hit@3, {TIGHT_CHARS} characters", tight.means["hit@3"], _MIN_TIGHT_HIT_3),
        (f"hit@3, {ROOMY_CHARS} characters", roomy.means["hit@3"], _MIN_ROOMY_HIT_3),
    )
    found = [Check.at_least(*hit, form="{:.4f}") for hit in hits]
    distractors = evaluation.distractors.removeprefix("with ")
    for characters, alone in ((TIGHT_CHARS, tight), (ROOMY_CHARS, roomy)):
        among = evaluation.ours(evaluation.distractors, characters)
        lost = alone.means["hit@3"] - among.means["hit@3"]
        what = f"hit@3 lost to {distractors}, {characters} characters"
        found.append(Check.at_most(what, lost, _MAX_LOST_HIT_3 + _ROUNDING, "{:.4f}"))
    over = sum(
        one.characters is not None and one.scores.longest_chars > one.characters
        for one in evaluation.measured
    )
    found.append(Check.equal("settings with a context over its bound", over))
    return found


def section(evaluation: Evaluation, clients: int) -> Section:
    """Report an evaluation."""
    found = checks(evaluation)
    body = f"""\
## Retrieval: ours beside the naive pipeline

`make bench-retrieval` asks the {evaluation.measured[0].scores.questions} questions of
`{evaluation.data}` of the running service (`configs/cpu.yaml`) and writes this section and
[the numbers](results/retrieval.json); `python -m tests.bench.retrieval --help` lists the settings,
other data sets among them. Any service is measured by `genserve eval`.

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
  set."""
    plot = {"retrieval.svg": _plot(evaluation.measured)}
    return Section("retrieval", body, found, evaluation, plot)


def _scores_table(measured: Sequence[Measured]) -> str:
    headings = (
        *("corpus", "pipeline", "passages", "characters allowed", *_METRICS),
        *("characters found", "p50, ms", "p99, ms"),
    )
    rows = []
    for one in measured:
        scores = one.scores
        quality = map(scores.means.get, _METRICS)
        rows.append(
            (
                *(one.corpus, one.pipeline, one.passages, one.characters or "-"),
                *("-" if value is None else f"{value:.3f}" for value in quality),
                f"{scores.context_chars:.0f}",
                *(f"{scores.p50_ms:.1f}", f"{scores.p99_ms:.1f}"),
            )
        )
    return table(headings, rows)


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
                    (one.scores.context_chars, one.scores.means["hit@3"])
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
