"""The metrics as declared: documented, named as is usual, and recorded where they should be."""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import re
import subprocess
import sys
from collections import Counter
from typing import Any

import pytest
from ray.serve.exceptions import BackPressureError

from deployments.errors import DeadlineExceeded, InvalidRequest, Overloaded, Unavailable
from deployments.llm.usage import EngineUsage, report_usage
from deployments.observability import metrics
from deployments.observability.metrics import DECLARED, Metric
from deployments.remote.text_generator import RemoteTextGenerator
from deployments.types import Page, PageOutcome
from serve_app.answering.answer import Answering
from serve_app.answering.grounding import Question
from serve_app.settings import DEPLOYMENT_NAMES, NEXT_EMBEDDER
from serve_app.testing import MODEL, Fakes
from serve_app.testing import fake_settings as settings
from tests.support.paths import ROOT
from tests.support.serve_handle import Handle

QUESTION = Question(
    [{"role": "user", "content": "snow?"}],
    web=True,
    documents=True,
    collections=["default"],
    top_k=4,
)


class Exported:
    """In place of Ray's: how much of what was recorded."""

    def __init__(self) -> None:
        self.sums: Counter[tuple[str, ...]] = Counter()

    def inc(self, amount: float, labels: dict[str, str]) -> None:
        self.sums[tuple(labels.values())] += amount  # type: ignore[assignment]

    def set(self, value: float, labels: dict[str, str]) -> None:
        self.sums[tuple(labels.values())] = value  # type: ignore[assignment]

    def observe(self, seconds: float, labels: dict[str, str]) -> None:
        assert seconds >= 0
        self.sums[tuple(labels.values())] += 1


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> dict[Metric, Exported]:
    exported = {metric: Exported() for metric in DECLARED}
    for metric, recorder in exported.items():
        monkeypatch.setattr(metric, "_exported", recorder)
    return exported


def test_the_readme_documents_exactly_these() -> None:
    rows = re.findall(
        r"^\| `(ray_genserve_\w+)` \|(.*)\|$",
        (ROOT / "configs/monitoring/README.md").read_text(),
        re.MULTILINE,
    )
    documented = {name: [cell.strip() for cell in rest.split("|")] for name, rest in rows}
    assert documented == {
        metric.exported_name: [
            metric.kind,
            " ".join(f"`{label}`" for label in metric.labels),
            metric.at,
            metric.meaning,
        ]
        for metric in DECLARED
    }
    assert len(rows) == len(documented)


@pytest.mark.parametrize("metric", DECLARED, ids=lambda metric: metric.name)
def test_names_are_as_prometheus_has_them(metric: Metric) -> None:
    assert re.fullmatch(r"genserve_[a-z_]+", metric.name)
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert metric.name.endswith("_seconds") or metric.kind != "histogram"
    assert metric.at in DEPLOYMENT_NAMES
    assert all(metric.labels.values())


@pytest.mark.parametrize("metric", DECLARED, ids=lambda metric: metric.name)
def test_a_metric_that_is_sent_along_is_still_the_one_that_is_exported(metric: Metric) -> None:
    assert pickle.loads(pickle.dumps(metric)) is metric  # noqa: S301 - our own


def test_sheds_may_be_of_any_deployment() -> None:
    assert set(metrics.SHED.labels["where"]) == {*DEPLOYMENT_NAMES, NEXT_EMBEDDER}


def test_every_warning_has_its_series() -> None:
    code = "".join(path.read_text() for path in (ROOT / "serve_app" / "answering").rglob("*.py"))
    said = set(re.findall(r'code="(\w+)", message', code))
    assert len(said) >= 8
    assert said <= set(metrics.WARNINGS.labels["code"])


def test_declaring_them_does_not_load_ray() -> None:
    modules = "deployments.observability.metrics, deployments.observability.tracing"
    code = f"import sys, {modules}; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, "completed"),
        (InvalidRequest("bad"), "refused"),
        (Overloaded("full"), "overloaded"),
        (DeadlineExceeded("late"), "timeout"),
        (Unavailable("gone"), "failed"),
        (asyncio.CancelledError(), "left"),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_is_counted_by_how_it_ended(
    recorded: dict[Metric, Exported], error: BaseException | None, outcome: str, *, stream: bool
) -> None:
    fakes = Fakes()
    fakes.llm.fail_at_start = error  # type: ignore[assignment]
    answering = Answering(fakes.services(), settings())
    with contextlib.suppress(BaseException):
        if stream:
            _ = [event async for event in answering.stream(QUESTION)]
        else:
            await answering.whole(QUESTION)
    assert recorded[metrics.ANSWERS].sums == {("genserve", outcome): 1}
    bare = {"messages": [{"role": "user", "content": "snow?"}]}
    with contextlib.suppress(BaseException):
        if stream:
            _ = [event async for event in answering.bare_stream(fakes.llm.stream_chat(bare))]
        else:
            await answering.bare(fakes.llm.chat(bare))
    assert recorded[metrics.ANSWERS].sums[("bare", outcome)] == 1


@pytest.mark.anyio
async def test_the_engine_is_reported_on_after_a_failure_too(
    recorded: dict[Metric, Exported],
) -> None:
    failures = [RuntimeError("no gauges yet"), KeyError("vllm")]
    reported = asyncio.Event()

    def usage() -> EngineUsage:
        if failures:
            raise failures.pop()
        if recorded[metrics.TOKENS].sums:
            reported.set()
        return EngineUsage(running=1, waiting=2, prompt_tokens=7, completion_tokens=3)

    reporting = asyncio.create_task(report_usage(usage, period_s=0))
    async with asyncio.timeout(5):
        await reported.wait()
    reporting.cancel()
    assert recorded[metrics.TOKENS].sums == {("prompt",): 7, ("completion",): 3}
    assert recorded[metrics.ENGINE_REQUESTS].sums == {("running",): 1, ("waiting",): 2}


@pytest.mark.anyio
async def test_a_caller_that_leaves_in_the_middle_is_counted(
    recorded: dict[Metric, Exported],
) -> None:
    fakes = Fakes()
    fakes.llm.endless = True
    stream = Answering(fakes.services(), settings()).stream(QUESTION)
    for _ in range(3):
        await anext(stream)
    await stream.aclose()
    assert recorded[metrics.ANSWERS].sums == {("genserve", "left"): 1}


@pytest.mark.anyio
async def test_stages_and_warnings_of_an_answer(recorded: dict[Metric, Exported]) -> None:
    fakes = Fakes()
    fakes.scraper.pages = [Page("https://a.example", PageOutcome.TIMEOUT, detail="late")]
    async with fakes.client() as http:
        body = {"prompt": "snow? https://a.example", "stream": True}
        await http.post("/generate/text", json=body)
    stages = ("pages", "search", "prompt", "first_token", "generation", "total")
    assert recorded[metrics.STAGES].sums == {(stage,): 1 for stage in stages}
    assert recorded[metrics.FIRST_TOKEN].sums == {("genserve",): 1}
    assert recorded[metrics.WARNINGS].sums == {("page_timeout",): 1}


@pytest.mark.anyio
@pytest.mark.parametrize("raised", [Overloaded("full"), BackPressureError(9, 9, 429, 2.0)])
async def test_a_full_queue_is_counted_where_it_is(
    recorded: dict[Metric, Exported], raised: Exception
) -> None:
    fakes = Fakes()
    handle: Any = Handle(raised)
    handle.deployment_name = "Images"  # behind it, whatever the adapter is called
    with pytest.raises(Overloaded) as full:
        await RemoteTextGenerator(handle, "model").chat({})
    fakes.llm.fail_at_start = full.value
    chat = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}]}
    async with fakes.client() as http:
        assert (await http.post("/v1/chat/completions", json=chat)).status_code == 429
    assert recorded[metrics.SHED].sums == {("Images",): 1}
    assert not recorded[metrics.RATE_LIMITED].sums


@pytest.mark.anyio
async def test_a_rate_limit_is_counted_as_one(recorded: dict[Metric, Exported]) -> None:
    fakes, key = Fakes(api_keys="alice:" + "a" * 20), {"authorization": "Bearer " + "a" * 20}
    async with fakes.client(limits={"requests_per_minute": 1}) as http:
        statuses = [(await http.get("/v1/models", headers=key)).status_code for _ in range(2)]
    assert statuses == [200, 429]
    assert recorded[metrics.RATE_LIMITED].sums == {("requests",): 1}
    assert not recorded[metrics.SHED].sums
