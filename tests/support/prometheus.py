"""A real Prometheus, with the shipped scrape configuration, beside a running service."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.support.paths import ROOT
from tests.support.processes import free_port

MONITORING = ROOT / "configs" / "monitoring"
STARTED_WITHIN_S = 30


def program(name: str) -> str:
    """One that is installed, or what `make prometheus` unpacked."""
    unpacked = Path(sys.prefix) / "prometheus" / "usr" / "bin" / name
    found = shutil.which(name) or str(unpacked)
    assert Path(found).exists(), f"{name} is not here: run `make prometheus`"
    return found


@dataclass(frozen=True)
class Prometheus:
    url: str

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series of an instant query."""
        answer = httpx.get(f"{self.url}/api/v1/query", params={"query": expression}, timeout=10)
        body = answer.json()
        assert body["status"] == "success", (expression, body)
        series: list[dict[str, Any]] = body["data"]["result"]
        return series

    def value(self, expression: str) -> float:
        """The sum over the series; 0 without any."""
        return sum(float(series["value"][1]) for series in self.query(expression))

    def until(self, true: Callable[[], object], timeout_s: float) -> bool:
        """Wait until something is; whether it came to be."""
        end = time.monotonic() + timeout_s
        while not true():
            if time.monotonic() > end:
                return False
            time.sleep(0.5)
        return True


@contextlib.contextmanager
def scraping(discovery: Path, folder: Path) -> Iterator[Prometheus]:
    """Only the path of the discovery file and the intervals are other than shipped."""
    config = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    config["global"] |= {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(MONITORING / "alerts.yml")]
    (found,) = config["scrape_configs"][0]["file_sd_configs"]
    found |= {"files": [str(discovery)], "refresh_interval": "1s"}
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{free_port()}"
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [
                program("prometheus"),
                f"--config.file={path}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={address}",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        running = Prometheus(f"http://{address}")

        def ready() -> bool:
            with contextlib.suppress(httpx.HTTPError):
                return httpx.get(f"{running.url}/-/ready").status_code == httpx.codes.OK
            return False

        assert running.until(ready, STARTED_WITHIN_S), (folder / "prometheus.log").read_text()
        yield running
    finally:
        process.terminate()
        process.wait()
