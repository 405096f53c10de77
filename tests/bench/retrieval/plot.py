"""One small plot: how many questions what was found can answer, against its length."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.bench.retrieval.report import NAIVE, NAIVE_THRESHOLD, OURS, PASSAGES, Measured

_COLOURS = {OURS: "#1f5fa8", NAIVE: "#c25b12", NAIVE_THRESHOLD: "#7a7a7a"}
_LINES, _MARKERS = ("-", "--", ":"), ("o", "s", "^")
_INCHES = (6.4, 4.0)


def draw(measured: Sequence[Measured], path: Path) -> None:
    """Write an SVG that is the same for the same figures."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    style: dict[Any, Any] = {"svg.hashsalt": "genserve", "svg.fonttype": "none", "font.size": 9}
    with mpl.rc_context(style):
        figure = Figure(_INCHES, layout="constrained")
        axes = figure.add_subplot()
        corpora = list(dict.fromkeys(one.corpus for one in measured))
        for pipeline, colour in _COLOURS.items():
            for corpus, line, marker in zip(corpora, _LINES, _MARKERS, strict=False):
                points = sorted(
                    (one.scores.context_chars, one.scores.hit_3)
                    for one in measured
                    if (one.pipeline, one.corpus, one.passages) == (pipeline, corpus, PASSAGES)
                )
                if points:
                    axes.plot(
                        *zip(*points, strict=True),
                        color=colour,
                        linestyle=line,
                        marker=marker,
                        markersize=4,
                        linewidth=1,
                        label=f"{pipeline}, {corpus}",
                    )
        axes.set_xlabel(f"mean characters of at most {PASSAGES} passages")
        axes.set_ylabel("hit@3")
        axes.set_xlim(left=0)
        axes.set_ylim(0, 1.02)
        axes.grid(color="#dddddd", linewidth=0.5)
        axes.legend(fontsize=7, loc="center right", frameon=False)
        figure.savefig(path, format="svg", metadata={"Date": None})
