"""`python -m tests.bench.schemas`: how long requests hold up the language model's event loop.

`VllmEngine` runs in this process as it does in a replica, with the shipped CPU configuration.
Each schema is sent as `response_format` and as a tool, while a task on the same loop wakes up every
millisecond.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import yaml

from deployments.errors import ServiceError
from deployments.model_source import resolve
from deployments.serving.memory import keep_loaded
from serve_app.http.errors import status_of
from tests.bench import command
from tests.bench.report import Check, Section, checks_table, percentile, table
from tests.support.grammars import MATH_TUTOR, Case, cases, response_format, structural_tags, tool
from tests.support.shipped import shipped

_SCHEMAS = 300
_QUICK_SCHEMAS = 40
_MAX_BLOCKED_MS = 50.0
_SERVER_ERROR = 500
_OK = 200
_BEAT_S = 0.001
_LARGE_CHARS = 1_000_000


def main() -> int:
    """Run the bench; return its exit status."""
    options = command.parser("tests.bench.schemas", __doc__)
    options.add_argument("--schemas", type=int, default=_SCHEMAS)
    options.add_argument("--model", help="a folder with prepared weights")
    return command.run(options, measure)


def measure(options: argparse.Namespace) -> Iterator[Section]:
    """Start the engine and send every schema."""
    os.environ |= {"VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1"}
    count = _QUICK_SCHEMAS if options.quick else options.schemas
    with tempfile.TemporaryDirectory(prefix="genserve-schemas-") as folder:
        outcomes = asyncio.run(_outcomes(Path(folder), options.model, cases(count)))
    schemas = [outcome for outcome in outcomes if outcome.kind != "other"]
    honest = [outcome for outcome in schemas if outcome.honest]
    checks = [
        Check.at_most(
            "longest hold of the loop by a request",
            max(outcome.blocked_ms for outcome in outcomes),
            _MAX_BLOCKED_MS,
            "{:.0f} ms",
        ),
        Check.equal(
            "answers of 500 and above", _count(outcomes, lambda o: o.status >= _SERVER_ERROR)
        ),
        Check.equal(
            "honest schemas not answered with 200", _count(honest, lambda o: o.status != _OK)
        ),
    ]
    kinds = sorted({outcome.kind for outcome in schemas})
    rows = [_row(kind, [each for each in schemas if each.kind == kind]) for kind in kinds]
    others = [
        (each.name, each.status, f"{each.blocked_ms:.0f}", f"{each.seconds * 1000:.0f}")
        for each in outcomes
        if each.kind == "other"
    ]
    body = f"""\
## Schemas and grammars

`make bench-schemas`: {count} generated schemas, valid, huge, recursive and hostile, each as
`response_format` and as a strict tool (`tool_choice` auto, required or named), and structural tags,
one after the other to a `VllmEngine` with
the settings of `configs/cpu.yaml`. A task on the same event loop wakes up every millisecond; the
loop was held for as long as it came late while the process was computing.

{checks_table(checks)}

{table(("kind", "200", "400", "429", "held, longest ms", "answered, p50 ms", "longest ms"), rows)}

Other requests:

{table(("request", "status", "held, longest ms", "answered in, ms"), others)}"""
    yield Section(
        "schemas", body, checks, raw={"outcomes": [vars(outcome) for outcome in outcomes]}
    )


@dataclass
class Outcome:
    """One request: its status, and how long it held the loop."""

    kind: str
    name: str
    honest: bool
    status: int
    seconds: float
    blocked_ms: float
    message: str = ""


@dataclass
class _Heartbeat:
    """A task that notes how late it wakes up, as far as this process was computing meanwhile.

    What other processes take from its cores is not the loop's fault.
    """

    latest_s: float = 0.0

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        self.latest_s = 0.0
        task = asyncio.create_task(self._beat())
        await asyncio.sleep(0)
        try:
            yield
            await asyncio.sleep(_BEAT_S)
        finally:
            task.cancel()

    async def _beat(self) -> None:
        while True:
            began, computing = time.perf_counter(), time.process_time()
            await asyncio.sleep(_BEAT_S)
            late_s = time.perf_counter() - began - _BEAT_S
            self.latest_s = max(self.latest_s, min(late_s, time.process_time() - computing))


async def _outcomes(folder: Path, model: str | None, schemas: list[Case]) -> list[Outcome]:
    from deployments.llm.vllm_engine import VllmEngine

    settings = yaml.safe_load(shipped("configs/cpu.yaml"))["applications"][0]["args"]["llm"]
    model = model or resolve(settings["model"], folder)
    name = settings["served_name"]
    engine = await VllmEngine.start(model, name, settings["engine_args"])
    keep_loaded()  # as a replica does
    heartbeat = _Heartbeat()
    found: list[Outcome] = []

    async def send(kind: str, case: Case, body: dict[str, Any]) -> None:
        body = {"model": name, "max_tokens": 2, "temperature": 0} | body
        body.setdefault("messages", [{"role": "user", "content": "Name a colour."}])
        status, message = _OK, ""
        began = time.perf_counter()
        async with heartbeat.watched():
            try:
                await engine.chat(body)
            except ServiceError as error:
                status, message = int(status_of(error)), f"{type(error).__name__}: {error.message}"
            except Exception as error:  # noqa: BLE001 - an outcome too
                status, message = _SERVER_ERROR, repr(error)
        seconds, blocked_ms = time.perf_counter() - began, heartbeat.latest_s * 1000
        found.append(Outcome(kind, case.name, case.honest, status, seconds, blocked_ms, message))

    named = {"type": "function", "function": {"name": "look_up"}}
    choices, formats = cycle(("auto", "required", named)), cycle((True, False, False, False))
    answer = response_format(MATH_TUTOR)
    try:
        for case in schemas:
            await send("response_format", case, {"response_format": response_format(case.schema)})
            tools = {"tools": [tool(case.schema)], "tool_choice": next(choices)}
            await send("tools", case, tools)
            if next(formats):
                await send("tools and format", case, tools | {"response_format": answer})
        for case in structural_tags():
            await send("structural_tag", case, {"response_format": case.schema})
        for case in _others():
            await send("other", case, case.schema)
    finally:
        await engine.close()
    return found


def _others() -> Iterator[Case]:
    """Yield bodies of the largest sizes that the ingress lets through."""

    def message(content: str) -> dict[str, Any]:
        return {"messages": [{"role": "user", "content": content}]}

    many = [{"role": "user", "content": "x" * 500} for _ in range(200)]
    call = {"type": "function", "id": "1", "function": {"name": "f", "arguments": '{"a": 1}'}}
    calls = [{"role": "assistant", "tool_calls": [call] * 100}, *message("and?")["messages"]]
    words = "many different words " * (_LARGE_CHARS // 21)
    for name, body in {
        "a message of 1 MB of words": message(words),
        "a message of 1 MB of one letter": message("a" * _LARGE_CHARS),
        "a message of 1 MB of emoji": message("\U0001f600" * (_LARGE_CHARS // 4)),
        "200 messages": {"messages": many},
        "100 tool calls": {"messages": calls},
        "logit_bias of 1000": {"logit_bias": {str(n): 1.0 for n in range(1000)}},
        "16 stop strings of 1000": {"stop": [f"{n}" * 500 for n in range(16)]},
        "a seed of 30 digits": {"seed": 10**30},
        "n of 16": {"n": 16},
        "a lone surrogate": message("\ud800"),
        "a tool without a function": {"tools": [{"type": "function"}]},
        "arguments that are no JSON": {
            "messages": [
                {
                    "role": "assistant",
                    "tool_calls": [
                        {"id": "1", "type": "function", "function": {"name": "f", "arguments": "["}}
                    ],
                },
                *message("and?")["messages"],
            ]
        },
    }.items():
        yield Case(name, body, honest=False)


def _row(kind: str, outcomes: list[Outcome]) -> tuple[object, ...]:
    statuses = Counter(outcome.status for outcome in outcomes)
    times_ms = [outcome.seconds * 1000 for outcome in outcomes]
    return (
        kind,
        *(statuses[status] for status in (_OK, 400, 429)),
        f"{max(outcome.blocked_ms for outcome in outcomes):.0f}",
        f"{percentile(times_ms, 50):.0f}",
        f"{max(times_ms):.0f}",
    )


def _count(outcomes: list[Outcome], holds: Callable[[Outcome], bool]) -> int:
    return sum(map(holds, outcomes))


if __name__ == "__main__":
    sys.exit(main())
