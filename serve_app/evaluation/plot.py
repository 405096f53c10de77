"""The plot of a run: a bar for each metric, as an SVG."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Iterator

    from serve_app.evaluation.run import Run

_LEFT, _SCALE, _RIGHT = 100, 460, 110  # pixels: names, the axis from 0 to 1, figures
_TOP, _ROW, _BAR, _BOTTOM = 70, 24, 14, 48
_NOW, _BEFORE, _GREY = "#1f5fa8", "#c25b12", "#dddddd"


def plot(run: Run, before: Run | None) -> str:
    """Draw the means with their 95 % confidence intervals, and marks for the earlier run."""
    return "\n".join(_elements(run, before))


def _elements(run: Run, before: Run | None) -> Iterator[str]:
    means, earlier = run.means(), before.means() if before else {}
    width, height = _LEFT + _SCALE + _RIGHT, _TOP + _ROW * len(means) + _BOTTOM
    end = height - _BOTTOM
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">'
    )
    yield f'<rect width="{width}" height="{height}" fill="white"/>'
    yield _text(_LEFT, 20, f"{run.name}, {len(run.questions):,} questions", size=14)
    yield _text(_LEFT, 40, f"{run.at:%Y-%m-%d %H:%M} UTC {run.label}", fill=_NOW)
    if before:
        heading = f"| before: {before.at:%Y-%m-%d %H:%M} UTC {before.label}"
        yield _text(_LEFT, 58, heading, fill=_BEFORE)
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        yield _line(_x(tick), _TOP, _x(tick), end, _GREY)
        yield _text(_x(tick), end + 18, f"{tick:g}", anchor="middle")
    yield _text(_x(0.5), end + 36, "mean, and its 95 % confidence interval", anchor="middle")
    for row, (metric, mean) in enumerate(means.items()):
        top = _TOP + row * _ROW + (_ROW - _BAR) / 2
        middle, base = top + _BAR / 2, top + _BAR - 3
        yield _text(_LEFT - 8, base, metric, anchor="end")
        yield (
            f'<rect x="{_LEFT}" y="{top:.1f}" width="{mean * _SCALE:.1f}" height="{_BAR}" '
            f'fill="{_NOW}" fill-opacity="0.75"/>'
        )
        margin = run.margin(metric)
        low, high = max(mean - margin, 0.0), min(mean + margin, 1.0)
        yield _line(_x(low), middle, _x(high), middle, "black")
        if metric in earlier:
            yield _line(_x(earlier[metric]), top - 3, _x(earlier[metric]), top + _BAR + 3, _BEFORE)
        yield _text(_x(1.0) + 8, base, f"{mean:.3f} ± {margin:.3f}")
    yield "</svg>\n"


def _x(value: float) -> float:
    return _LEFT + value * _SCALE


def _text(  # noqa: PLR0913 - of SVG
    x: float, y: float, text: str, *, anchor: str = "start", fill: str = "#222222", size: int = 12
) -> str:
    look = f'text-anchor="{anchor}" fill="{fill}" font-size="{size}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {look}>{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {ends} stroke="{colour}" stroke-width="{1 if colour == _GREY else 2}"/>'
