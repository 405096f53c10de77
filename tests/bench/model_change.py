"""`python -m tests.bench.model_change`: change the embedding model under questions, and back.

MiniLM is replaced by MiniLM followed by a random rotation: as good, with vectors that do not
compare. Words alone find most answers of a small collection, so a mix is recognised by how similar
the best passages are to the questions.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx

from serve_app.evaluation.data_sets import DataSet, load
from tests.bench import command
from tests.bench.report import Check, Section, checks_table, percentile, say, table
from tests.support import model_change
from tests.support.faults import Node
from tests.support.model_change import Asked, ChangingService, Questions, hit_rate

_DATA = Path("../shared/data/xquad-en-dev.json")
_COPIES, _QUICK_COPIES = 4, 1
_QUIET_S, _QUICK_QUIET_S = 122.0, 20.0  # all 612 questions
_AFTER_S, _QUICK_AFTER_S = 30.0, 6.0
_WINDOW_S = 15.0
_CHAT_PAUSE_S = 2.0
_CHAT_TOKENS = 16
_MAX_TTFT = 1.5
_MAX_DROP = 0.005
_MIN_NOTICED = 0.9
_MIXED, _QUICK_MIXED = 300, 60  # questions


def main() -> int:
    """Run the bench; return its exit status."""
    options = command.parser("tests.bench.model_change", __doc__)
    options.add_argument("--data", type=Path, default=_DATA)
    options.add_argument("--copies", type=int, default=_COPIES, help="of each document")
    options.add_argument("--without-chat", action="store_true")
    options.add_argument("--without-kills", action="store_true")
    return command.run(options, measure, incidental=("data",), errors=(RuntimeError,))


def measure(options: argparse.Namespace) -> Iterator[Section]:
    """Change the model, go back, switch again and finish."""
    data_set = load(options.data)
    with tempfile.TemporaryDirectory(prefix="genserve-model-change-") as folder:
        service = ChangingService(Path(folder), chat=not options.without_chat)
        service.node.start()
        try:
            run = asyncio.run(_run(service, data_set, options))
        finally:
            service.node.stop()
        asked = data_set.questions[: _QUICK_MIXED if options.quick else _MIXED]
        run.mixed = asyncio.run(model_change.hits_of_mixed(service, asked))
    yield _section(run)


class _Run:
    """What was measured."""

    def __init__(self, questions: Questions) -> None:
        self.questions = questions
        self.first_tokens: list[tuple[float, float]] = []  # at, seconds
        self.chunks = 0
        self.documents = 0
        self.changed_s = 0.0
        self.mixed: Sequence[float] = ()


async def _run(service: ChangingService, data_set: DataSet, options: argparse.Namespace) -> _Run:
    quick = options.quick
    quiet_s, after_s = (_QUICK_QUIET_S, _QUICK_AFTER_S) if quick else (_QUIET_S, _AFTER_S)
    async with service.client() as http:
        say("uploading")
        store = await model_change.fill(http, data_set, _QUICK_COPIES if quick else options.copies)
        shuffled = list(data_set.questions)
        random.Random(16).shuffle(shuffled)  # noqa: S311 - an order
        questions = Questions(http, store, shuffled)
        run = _Run(questions)
        chat = None
        async with questions.asking():
            if not options.without_chat:
                chat = asyncio.create_task(_chat(http, service.model, run))
            questions.note("quiet")
            await asyncio.sleep(quiet_s)
            say("deploying the next model")
            questions.note("deploy")
            await asyncio.to_thread(service.name_next_model)
            await _change(service, run, kills=not options.without_kills)
            await asyncio.sleep(after_s)
            with service.catalogue() as catalogue:
                for event in ("back", "switch again"):
                    questions.note(event)
                    method = catalogue.model_changes.switch
                    if event == "back":
                        method = catalogue.model_changes.back
                    await method()
                    await asyncio.sleep(after_s)
                questions.note("finish")
                await catalogue.model_changes.finish()
                await asyncio.sleep(after_s)
            questions.note("end")
            if chat is not None:
                chat.cancel()
                await asyncio.gather(chat, return_exceptions=True)
    return run


async def _change(service: ChangingService, run: _Run, *, kills: bool) -> None:
    questions = run.questions
    with service.catalogue() as catalogue:

        async def begun() -> bool:
            return await model_change.latest(catalogue) is not None

        await model_change.until(begun)
        questions.note("begin")
        began = time.monotonic()
        if kills:
            for share, victim in ((0.25, "Jobs"), (0.6, "Retriever")):
                await model_change.until_done(catalogue, share)
                questions.note(f"kill {victim}")
                await asyncio.to_thread(_kill, service.node, victim)
        await model_change.until_switched(catalogue)
        questions.note("switched")
        run.changed_s = time.monotonic() - began
        progress = await catalogue.model_changes.progress()
        run.chunks, run.documents = progress.chunks, progress.documents


def _kill(node: Node, victim: str) -> None:
    say(f"killing {victim}")
    say(f"killed and back: {node.strike(victim, random.Random(16))}")  # noqa: S311 - for no secret


async def _chat(http: httpx.AsyncClient, model: str, run: _Run) -> None:
    """Measure the time to the first token of a chat, again and again."""
    body = {"model": model, "stream": True, "max_tokens": _CHAT_TOKENS}
    for number in range(1_000_000):
        text = f"Tell me something about the number {number}."
        asked = {**body, "messages": [{"role": "user", "content": text}]}
        began = time.monotonic()
        try:
            async with http.stream("POST", "/v1/chat/completions", json=asked) as answer:
                if not answer.is_success:
                    say(f"a chat failed: {answer.status_code} {(await answer.aread())[:200]!r}")
                first = True
                async for line in answer.aiter_lines():
                    if first and _has_text(line):
                        first = False
                        at_s = began - run.questions.began_s
                        run.first_tokens.append((at_s, time.monotonic() - began))
        except httpx.HTTPError as error:
            say(f"a chat failed: {error!r}")
        await asyncio.sleep(_CHAT_PAUSE_S)


def _median(seconds: Sequence[float]) -> float:
    return percentile(seconds, 50) if seconds else math.nan


def _has_text(line: str) -> bool:
    """Return whether a line of a stream has text of the answer."""
    if not line.startswith("data: {"):
        return False
    choices = json.loads(line.removeprefix("data: ")).get("choices") or [{}]
    return bool((choices[0].get("delta") or {}).get("content"))


def _section(run: _Run) -> Section:
    questions = run.questions
    quiet = questions.between("quiet", "deploy")
    change = questions.between("begin")
    compared, lost, gained = model_change.changed(quiet, change)
    likely_mixed = model_change.mixed(quiet, change)
    failed = [one for one in change if one.error]
    deploying = questions.between("deploy", "begin")
    failed_before = [one for one in deploying if one.error]
    right, mixed, noticed = run.mixed
    checks = [
        Check.equal("questions that failed from the change to the end", len(failed)),
        Check.at_most(
            "questions answered worse than before, less those answered better",
            (lost - gained) / max(1, compared),
            _MAX_DROP,
            "{:.3f}",
        ),
        Check.equal("questions that look as if vectors were mixed", likely_mixed),
        Check.at_least("share of mixed questions that look so", noticed, _MIN_NOTICED, "{:.3f}"),
    ]
    ttft = ""
    if run.first_tokens:
        ends = {event: at_s for at_s, event in questions.events}
        before = [s for at, s in run.first_tokens if at < ends["deploy"]]
        during = [s for at, s in run.first_tokens if ends["begin"] <= at < ends["switched"]]
        ratio = _median(during) / _median(before)
        checks.append(Check.at_most("chat's first token, to quiet", ratio, _MAX_TTFT, "{:.2f}"))
        ttft = f"""
Time to the first token of a chat, p50: {_median(before) * 1000:.0f} ms before \
({len(before)} chats), {_median(during) * 1000:.0f} ms during the change ({len(during)})."""
    rows = [_row(start, some, quiet, questions.events) for start, some in _windows(questions.asked)]
    body = f"""\
## A change of the embedding model

`make bench-model-change`: {run.documents} documents of {run.chunks:,} chunks, a question every
{1000 * model_change.PERIOD_S:.0f} ms. The change took {run.changed_s:.0f} s, with kills of Jobs and
of Retriever. hit@3 before: {hit_rate(quiet):.3f}. Of {compared} questions asked again, {lost} lost
and {gained} gained their answer. hit@3 of the new model's index: {right:.3f}; {mixed:.3f} with
questions embedded by the old model, of which {noticed:.3f} have a best passage that is half as
similar or less. `serve deploy` restarts every replica: meanwhile
{len(failed_before)} of {len(deploying)} questions failed.
{ttft}

{checks_table(checks)}

{table(("from, s", "questions", "hit@3", "lost", "failed", "p50, ms", "longest, ms", ""), rows)}"""
    raw = {"events": questions.events, "asked": questions.asked, "chat": run.first_tokens}
    return Section("model-change", body, checks, raw)


def _row(
    start: float, some: Sequence[Asked], quiet: Sequence[Asked], events: Sequence[tuple[float, str]]
) -> tuple[object, ...]:
    seconds = [one.seconds for one in some]
    return (
        f"{start:.0f}",
        len(some),
        f"{hit_rate(some):.3f}",
        model_change.changed(quiet, some)[1],
        sum(bool(one.error) for one in some),
        f"{percentile(seconds, 50) * 1000:.0f}",
        f"{max(seconds) * 1000:.0f}",
        ", ".join(event for at_s, event in events if start <= at_s < start + _WINDOW_S),
    )


def _windows(asked: Sequence[Asked]) -> Iterator[tuple[float, list[Asked]]]:
    last = max((one.at_s for one in asked), default=0.0)
    for number in range(int(last / _WINDOW_S) + 1):
        start = number * _WINDOW_S
        some = [one for one in asked if start <= one.at_s < start + _WINDOW_S]
        if some:
            yield start, some


if __name__ == "__main__":
    sys.exit(main())
