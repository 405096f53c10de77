"""The parts that benches share: load, figures, systems, and what they write."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.bench import command, report
from tests.bench.report import Check, Section, Spread, checks_table, percentile, with_section
from tests.bench.serving_figures import Figures, paired
from tests.bench.serving_report import section
from tests.support.attacks import ran
from tests.support.load import (
    OUTPUT_TOKENS,
    Answer,
    EventTimes,
    Run,
    Target,
    closed_loop,
    connections,
    questions,
)
from tests.support.processes import free_port
from tests.support.systems import BARE, OURS, Configuration, cli_flags

ROLE = b'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":64}}\n\n'
END = b"data: [DONE]\n\n"


def text_event(text: str) -> bytes:
    return b'data: {"choices":[{"delta":{"content":"%s"}}]}\n\n' % text.encode()


STREAM = ROLE + text_event("A") + text_event(r"nd \"content\":\"\" too") + USAGE + END


def test_percentiles_lie_between_values() -> None:
    assert percentile([40, 10, 30, 20], 50) == 25
    assert percentile([7], 99) == 7
    assert percentile(range(101), 99) == 99


def test_a_check_compares_the_value_and_not_what_is_shown_of_it() -> None:
    checks = [
        Check.equal("errors", 0),
        Check.at_most("p99", 50.04, 50.0, "{:.1f} ms"),
        Check.at_least("share", 0.9, 0.9, "{:.0%}"),
    ]
    assert [check.holds for check in checks] == [True, False, True]
    assert "| p99 | 50.0 ms | at most 50.0 ms | NO |" in checks_table(checks)


@pytest.mark.parametrize(
    ("arguments", "measured", "written", "status"),
    [
        ([], 1, True, 0),
        (["--place", "elsewhere"], 1, True, 0),
        ([], 3, True, 1),
        (["--count", "2"], 1, False, 0),
        (["--quick"], 1, False, 0),
    ],
)
def test_only_a_run_with_the_default_options_is_kept(  # noqa: PLR0917
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    measured: int,
    written: bool,  # noqa: FBT001
    status: int,
) -> None:
    def measure(_: argparse.Namespace) -> Iterator[Section]:
        yield Section("one", "## One", [Check.at_most("x", measured, 2)], {"x": measured / 3})

    options = command.parser("tests.bench.one", "")
    options.add_argument("--count", type=int, default=1)
    options.add_argument("--place", default="here")
    monkeypatch.setattr("sys.argv", ["one", "--out", str(tmp_path / "out"), *arguments])
    monkeypatch.setattr(report, "RESULTS", tmp_path / "RESULTS.md")
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        assert command.run(options, measure, incidental=("place",)) == status
    finally:
        for number, handler in zip((signal.SIGINT, signal.SIGTERM), before, strict=True):
            signal.signal(number, handler)
    assert (tmp_path / "RESULTS.md").exists() == written
    assert (tmp_path / "results" / "one.json").exists() == written
    raw = json.loads((tmp_path / "out" / "one.json").read_text())
    assert raw["x"] == round(measured / 3, 4)
    assert raw["machine"]["cores"] >= 1


def test_a_spread_shows_its_ends_unless_there_is_but_one_value() -> None:
    assert str(Spread.of([0.9, 0.8, 0.85])) == "0.85 (0.80 to 0.90)"
    assert str(Spread.of([123.4])) == "123"


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_events_with_text_are_timed_however_the_bytes_are_cut(size: int) -> None:
    events = EventTimes()
    for start in range(0, len(STREAM), size):
        events.feed(STREAM[start : start + size], now=start + size)
    ends = [len(ROLE) + len(text_event("A")), len(STREAM) - len(USAGE) - len(END)]
    # Read at the first piece that holds the event's end.
    assert events.token_times == [-(-end // size) * size for end in ends]
    assert events.tokens == 64
    assert events.ended


def test_engine_arguments_become_flags() -> None:
    given = {
        "dtype": "bfloat16",
        "max_model_len": 4096,
        "enforce_eager": True,
        "enable_prefix_caching": False,
        "disable_log_stats": False,  # a switch without a negative form
        "seed": None,
        "compilation_config": {"mode": 0},
    }
    assert cli_flags(given) == [
        *("--dtype", "bfloat16", "--max-model-len", "4096", "--enforce-eager"),
        *("--no-enable-prefix-caching", "--compilation-config", '{"mode": 0}'),
    ]


def test_prompts_differ_and_are_the_same_every_time() -> None:
    first, again = questions(), questions()
    some = [next(first) for _ in range(300)]
    assert len(set(some)) == 300
    assert some == [next(again) for _ in some]


@contextlib.asynccontextmanager
async def serving(handler: Callable[[web.Request], Awaitable[Any]]) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post("/", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    yield f"http://127.0.0.1:{port}/"
    await runner.cleanup()


@pytest.mark.anyio
async def test_a_closed_loop_keeps_every_client_busy_and_counts_what_breaks() -> None:
    asked: list[str] = []
    at_once = [0]
    most = [0]

    async def answer(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        prompt = body["messages"][0]["content"]
        asked.append(prompt)
        if prompt == "refuse":
            return web.Response(status=429)
        response = web.StreamResponse()
        await response.prepare(request)
        at_once[0] += 1
        most[0] = max(most[0], at_once[0])
        await response.write(ROLE + text_event("A"))
        await asyncio.sleep(0.05)
        at_once[0] -= 1
        await response.write(text_event("B"))
        if prompt != "break":
            await response.write(USAGE + END)
        return response

    async with serving(answer) as url, connections(3) as session:
        prompts = ["refuse", "break", *(f"question {i}" for i in range(7))]
        run = await closed_loop(session, Target(url, "model"), prompts, 3)
    assert sorted(asked) == sorted(prompts)
    assert most == [3]
    assert len(run.errors) == 2
    assert "status 429" in run.errors
    good = [one for one in run.answers if one.error is None]
    assert len(good) == 7
    for one in good:
        assert one.tokens == OUTPUT_TOKENS
        assert one.gaps_s[0] >= 0.04
        assert 0 < one.first_s < one.whole_s <= run.seconds


@pytest.mark.anyio
async def test_the_first_token_of_a_whole_answer_comes_with_the_last() -> None:
    async def answer(_: web.Request) -> web.Response:
        message = {"message": {"content": "And"}}
        return web.json_response({"choices": [message], "usage": {"completion_tokens": 64}})

    async with serving(answer) as url, connections(1) as session:
        run = await closed_loop(session, Target(url, "", streams=False), ["hello"], 1)
    assert run.errors == []
    assert run.answers[0].first_s == pytest.approx(run.answers[0].whole_s, abs=0.02)
    assert run.answers[0].gaps_s == []


def figures(number: int, system: str, seconds: float, first_s: float) -> Figures:
    answer = Answer(whole_s=1.0, token_times_s=(first_s, 1.0), tokens=64)
    return Figures.of(
        Run([answer, answer, Answer(error="status 500")], seconds),
        number=number,
        system=system,
        clients=1,
        cpu_s={"engine": 0.5, "idle": 0.0},
        client_cpu_s=0.01,
    )


def test_figures_count_only_what_was_answered() -> None:
    one = figures(1, OURS, seconds=4.0, first_s=0.25)
    assert (one.requests, one.errors) == (3, 1)
    assert (one.requests_per_s, one.tokens_per_s) == (0.5, 32)
    assert (one.first_p50_ms, one.gap_p99_ms, one.cpu_ms) == (250, 750, 250)
    assert one.as_json()["cpu_ms_by_process"] == {"engine": 250}


def test_a_level_without_any_answer_is_no_figure() -> None:
    nothing = Run([Answer(error="status 500")], 1.0)
    with pytest.raises(ValueError, match="none of 1 requests"):
        Figures.of(nothing, number=1, system=OURS, clients=1, cpu_s={}, client_cpu_s=0)


def test_systems_are_compared_within_a_round() -> None:
    measured = [
        figures(1, BARE, 1, 0.050),
        figures(1, OURS, 1, 0.060),
        figures(2, OURS, 1, 0.530),  # a slow round for both
        figures(2, BARE, 1, 0.500),
        figures(3, OURS, 1, 0.900),  # has nothing to be compared with
    ]
    added = paired(measured, BARE, 1, lambda a, b: a.first_p50_ms - b.first_p50_ms)
    assert added is not None
    assert (added.low, added.median, added.high) == pytest.approx((10, 20, 30))
    assert paired(measured, BARE, 8, lambda a, _: a.cpu_ms) is None


def test_the_report_replaces_its_own_section_only() -> None:
    measured = [figures(1, BARE, 1, 0.05), figures(1, OURS, 2, 0.06)]
    body = section(measured, {"stream_interval": 8})
    assert "| requests/s, ours / bare vLLM, 1 client | 0.50 | 1 | at least 0.97 |" in body
    assert "| added time to first token at the median, one client | 10.0 ms | 0 ms |" in body
    text = with_section("# Results\n", "other", "before")
    text = with_section(text, "serving", "old figures")
    text = with_section(text, "last", "after")
    text = with_section(text, "serving", body)
    assert "old figures" not in text
    assert text.index("before") < text.index("stream_interval") < text.index("after")
    assert with_section(text, "serving", body) == text


def test_the_copied_configuration_uses_the_models_that_are_there(tmp_path: Path) -> None:
    data_dir = tmp_path / "real"
    (data_dir / "models").mkdir(parents=True)
    (data_dir / "models" / "one").touch()
    app: dict[str, Any] = {
        "args": {"data_dir": ".data", "llm": {"model": "m", "served_name": "s"}},
        "runtime_env": {"env_vars": {"A": "1", "B": "1"}},
        "deployments": [
            {"name": "LLM", "ray_actor_options": {"runtime_env": {"env_vars": {"B": "2"}}}}
        ],
    }
    configuration = Configuration({"applications": [app]}, "m", data_dir)
    copy = configuration.write_copy(tmp_path / "copy", 1234)
    assert (tmp_path / "copy" / "data" / "models" / "one").exists()
    assert "port: 1234" in copy.read_text(encoding="utf-8")
    assert app["args"]["data_dir"] == ".data"
    assert configuration.environment == {"A": "1", "B": "2"}


@pytest.mark.parametrize(
    ("name", "seen", "proven"),
    [
        ("huge_embeddings", {}, False),
        ("huge_embeddings", {"sent": 8}, True),  # they all wait
        ("huge_embeddings", {"sent": 8, "errors": 8}, False),
        ("huge_embeddings", {"sent": 8, "401": 7}, False),
        ("huge_embeddings", {"sent": 8, "429": 7, "200": 1}, True),
        ("hostile_pages", {"sent": 8, "200": 8}, False),  # no page was fetched
        ("hostile_pages", {"sent": 8, "200": 8, "pages": 64}, True),
        ("unread_downloads", {"sent": 19, "200": 19}, False),
        ("job_watchers", {"sent": 200, "429": 100, "unanswered": 64}, True),
    ],
)
def test_an_attack_counts_if_it_reached_what_it_attacks(
    name: str, seen: dict[str, int], *, proven: bool
) -> None:
    assert ran(name, seen) == proven
