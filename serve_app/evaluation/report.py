"""The report of a run at the terminal: its scores, beside those of an earlier run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from serve_app.evaluation.comparison import CLEAR_P, differences

if TYPE_CHECKING:
    from collections.abc import Iterator

    from serve_app.evaluation.comparison import Difference
    from serve_app.evaluation.run import Latency, Run

_SHOWN = 5  # questions won, and lost
_KEY_CHARS = 90
# The questions won and lost are listed by the first of these that was measured.
_MAIN_METRICS = ("nDCG@10", "hit@3", "MRR")


def report(run: Run, before: Run | None) -> str:
    """Return the lines of a report."""
    return "\n".join(_lines(run, before))


def _lines(run: Run, before: Run | None) -> Iterator[str]:
    settings = ", ".join(f"{value:,} {name}" for name, value in run.settings.items() if value)
    yield f"{run.name}: {run.documents:,} documents, {len(run.questions):,} questions, {settings}"
    if run.unread:
        yield f"{run.unread:,} documents could not be read: questions about them count as missed"
    changes = {one.metric: one for one in differences(before, run)} if before else {}
    headings = f"{'before':>8}{'change':>9}{'p':>8}{'won':>6}{'lost':>6}" if changes else ""
    yield f"\n{'':12}{'mean':>6}{'± 95 %':>9}{headings}"
    for metric, mean in run.means().items():
        compared = _compared(changes[metric]) if metric in changes else ""
        yield f"{metric:12}{mean:>6.3f}{run.margin(metric):>9.3f}{compared}"
    yield ""
    yield _latency("search", run.search, before.search if before else None)
    yield f"{'results':8} {run.characters:,.0f} characters on average"
    if run.answer:
        yield _latency("answer", run.answer, before.answer if before else None)
    if run.answers_error:
        yield f"answers were not measured: {run.answers_error}"
    if before:
        yield from _changes(run, before, changes)


def _compared(change: Difference) -> str:
    return (
        f"{change.before:>8.3f}{change.now - change.before:>+9.3f}{change.p:>8.3f}"
        f"{len(change.won):>6}{len(change.lost):>6}{'  *' if change.clear else ''}"
    )


def _latency(what: str, now: Latency, before: Latency | None) -> str:
    earlier = f" (before: {_times(before)})" if before else ""
    return f"{what:8} {_times(now)}{earlier}"


def _times(latency: Latency) -> str:
    return f"p50 {latency.p50_s * 1000:,.1f} ms, p99 {latency.p99_s * 1000:,.1f} ms"


def _changes(run: Run, before: Run, changes: dict[str, Difference]) -> Iterator[str]:
    called = f", {before.label}" if before.label else ""
    yield f"\nbefore: {before.at:%Y-%m-%d %H:%M:%S} UTC{called}"
    for what, earlier, now in (
        ("contents", before.content[:8], run.content[:8]),
        ("version", before.version, run.version),
        *((name, before.models.get(name), id_) for name, id_ in run.models.items()),
        *((name, before.settings.get(name), value) for name, value in run.settings.items()),
    ):
        if earlier != now:
            yield f"  other {what}: {earlier} -> {now}"
    if not changes:
        yield "  it has none of these questions"
        return
    clear = [
        f"{one.metric} is {'better' if one.now > one.before else 'worse'}"
        for one in changes.values()
        if one.clear
    ]
    verdict = f"* {', '.join(clear)}" if clear else "no clear change"
    yield f"{verdict}; a change with p of {CLEAR_P} or more can be chance"
    main = next((changes[metric] for metric in _MAIN_METRICS if metric in changes), None)
    if main:
        for word, keys in (("won", main.won), ("lost", main.lost)):
            for key in keys[:_SHOWN]:
                yield f"  {word} by {main.metric}: {_short(key)}"
            if len(keys) > _SHOWN:
                yield f"  and {len(keys) - _SHOWN} more {word}"


def _short(text: str) -> str:
    line = "".join(sign if sign.isprintable() else " " for sign in text)
    return line if len(line) <= _KEY_CHARS else f"{line[:_KEY_CHARS]}..."
