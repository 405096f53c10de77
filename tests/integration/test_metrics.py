"""A real Prometheus finds every metric that is documented, and what is drawn of them."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from deployments.observability.metrics import DECLARED, Histogram, Metric
from tests.support.jobs import job_ended
from tests.support.prometheus import (
    MONITORING,
    Prometheus,
    program,
    scraping,
)
from tests.support.service import Service
from tests.support.web import Web

EXPORTED_WITHIN_S = 45  # Ray exports every ten seconds, and a rate wants two samples
TOO_LONG = "word " * 20_000
REPORT = b"# Harbour\n\nThe crane of Arvik lifts forty tonnes and was built by Nils Aune in 1962.\n"

# What one run of the main job must be seen to have done, and by how much at least.
SEEN = {
    'ray_genserve_answers_total{model="genserve", outcome="completed"}': 1,
    'ray_genserve_answers_total{model="bare", outcome="completed"}': 1,
    'ray_genserve_answers_total{model="genserve", outcome="refused"}': 1,
    'ray_genserve_answers_total{model="genserve", outcome="left"}': 1,
    'ray_genserve_first_token_seconds_count{model="genserve"}': 1,
    'ray_genserve_first_token_seconds_count{model="bare"}': 1,
    **{
        f'ray_genserve_answer_stage_seconds_count{{stage="{stage}"}}': 1
        for stage in ("pages", "search", "prompt", "first_token", "generation", "total")
    },
    'ray_genserve_answer_warnings_total{code="page_http_error"}': 1,
    'ray_genserve_pages_total{outcome="ok"}': 1,
    'ray_genserve_pages_total{outcome="http_error"}': 1,
    'ray_genserve_tokens_total{kind="prompt"}': 100,
    'ray_genserve_tokens_total{kind="completion"}': 16,
    "ray_genserve_chunks_stored_total": 1,
    'ray_genserve_documents_total{event="published"}': 1,
    'ray_genserve_documents_total{event="deleted"}': 1,
    "ray_genserve_pictures_total": 1,
    'ray_genserve_jobs_ended_total{kind="ingest", state="succeeded"}': 1,
    'ray_genserve_jobs_ended_total{kind="images", state="succeeded"}': 1,
    'ray_genserve_jobs_ended_total{kind="images", state="cancelled"}': 1,
}


@pytest.fixture(scope="module")
def before() -> dict[str, float]:
    """What was counted before the main job ran; filled by `prometheus`."""
    return {}


@pytest.fixture(scope="module")
def prometheus(
    service: Service,
    web: Web,
    before: dict[str, float],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Prometheus]:
    """Watches while the main job is done once."""
    discovery = Path(service.settings["data_dir"], "ray", "prom_metrics_service_discovery.json")
    with scraping(discovery, tmp_path_factory.mktemp("prometheus")) as running:
        jobs = "ray_genserve_jobs"  # a gauge that is there as soon as anything is
        assert running.until(lambda: running.query(jobs), EXPORTED_WITHIN_S)
        before |= {expression: running.value(expression) for expression in SEEN}
        with httpx.Client(base_url=service.url, headers=service.headers, timeout=120) as http:
            main_job(http, service, web)
        yield running


def main_job(http: httpx.Client, service: Service, web: Web) -> None:
    """A page and a document asked about, a picture; and what is refused, left and cancelled."""
    upload = http.post("/upload", files={"file": ("harbour.md", REPORT)}, data=METRICS).json()
    assert job_ended(http, upload["job_id"])["status"] == "succeeded"
    pages = f"{web.url('/good')} and {web.url('/missing')}"
    asked = {"prompt": f"Who built the crane? {pages}", "max_tokens": 16, **METRICS}
    assert "event: done" in http.post("/generate/text", json=asked | {"stream": True}).text
    bare = {"model": service.model, "max_tokens": 8, "stream": True, "messages": HELLO}
    assert "[DONE]" in http.post("/v1/chat/completions", json=bare).text
    refused = http.post("/generate/text", json={"prompt": TOO_LONG})
    assert refused.status_code == httpx.codes.BAD_REQUEST
    leave(http, service)
    made = http.post("/generate/image/background", json={"prompt": "a red circle"}).json()
    assert job_ended(http, made["job_id"])["status"] == "succeeded"
    many = {"prompt": "a blue star", "count": 50}
    made = http.post("/generate/image/background", json=many).json()
    assert http.post(f"/v1/jobs/{made['job_id']}/cancel").status_code == httpx.codes.OK
    assert job_ended(http, made["job_id"])["status"] == "cancelled"
    gone = http.delete(f"/v1/documents/{upload['document_id']}", params=METRICS)
    assert gone.is_success


METRICS = {"collection": "metrics"}
HELLO = [{"role": "user", "content": "Hello!"}]


def leave(http: httpx.Client, service: Service) -> None:
    story = {
        "model": "genserve",
        "messages": [{"role": "user", "content": "Tell a very long story."}],
        "max_tokens": 2000,
        "ignore_eos": True,
        "stream": True,
    }
    with httpx.Client(base_url=service.url, headers=http.headers) as leaving:  # noqa: SIM117
        with leaving.stream("POST", "/v1/chat/completions", json=story) as answer:
            lines = answer.iter_lines()
            assert next(lines).startswith("data: ")
            time.sleep(0.2)


@pytest.mark.parametrize("expression", SEEN)
def test_what_was_done_is_counted(
    prometheus: Prometheus, before: dict[str, float], expression: str
) -> None:
    wanted = before[expression] + SEEN[expression]
    assert prometheus.until(lambda: prometheus.value(expression) >= wanted, EXPORTED_WITHIN_S), (
        f"{prometheus.value(expression)} of {wanted}"
    )


@pytest.mark.parametrize("metric", DECLARED, ids=lambda metric: metric.name)
def test_every_documented_metric_has_all_its_series(prometheus: Prometheus, metric: Metric) -> None:
    name = metric.exported_name
    if isinstance(metric, Histogram):
        assert prometheus.query(f"{name}_bucket")
        return
    series = prometheus.query(name)
    for label, values in metric.labels.items():
        assert {one["metric"][label] for one in series} == set(values)
    assert {one["metric"]["deployment"] for one in series} == {metric.at}


def test_no_label_grows_with_use(prometheus: Prometheus) -> None:
    """A person, a page or an id among them would be a series for each."""
    known = {"__name__", "le", "deployment", "replica", "application", "job", "instance"}
    known |= {"Component", "NodeAddress", "SessionName", "Version", "WorkerId"}
    declared = {label for metric in DECLARED for label in metric.labels}
    for series in prometheus.query('{__name__=~"ray_genserve_.+"}'):
        assert set(series["metric"]) <= known | declared


def panels() -> list[tuple[str, str]]:
    dashboard = json.loads((MONITORING / "grafana-dashboard.json").read_text())
    return [
        (panel["title"], target["expr"])
        for panel in dashboard["panels"]
        for target in panel.get("targets", [])
    ]


@pytest.mark.parametrize(("title", "expression"), panels())
def test_every_panel_of_the_dashboard_shows_something(
    prometheus: Prometheus, title: str, expression: str
) -> None:
    filled = expression.replace("$__rate_interval", "2m").replace("$application", "genserve")
    assert "$" not in filled
    assert prometheus.until(lambda: prometheus.query(filled), EXPORTED_WITHIN_S), title


def alerts() -> list[tuple[str, str]]:
    (group,) = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"]
    return [(rule["alert"], rule["expr"]) for rule in group["rules"]]


@pytest.mark.parametrize(("alert", "expression"), alerts())
def test_every_alert_looks_at_something(
    prometheus: Prometheus, alert: str, expression: str
) -> None:
    compared = re.fullmatch(r"(.+) [<>] [0-9.]+", expression.strip(), re.DOTALL)
    assert compared, "an alert is a comparison with a number"
    assert prometheus.until(lambda: prometheus.query(compared[1]), EXPORTED_WITHIN_S)


def test_promtool_accepts_what_is_shipped() -> None:
    checked = subprocess.run(
        [program("promtool"), "check", "config", str(MONITORING / "prometheus.yml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr
    assert "rules found" in checked.stdout


def test_the_rules_fire_when_they_should(tmp_path: Path) -> None:
    rules = Path(__file__).with_name("alert_cases.yml")
    checked = subprocess.run(
        [program("promtool"), "test", "rules", str(rules)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
