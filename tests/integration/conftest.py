"""One running service a session, started as a user starts it, with small real models.

What needs it, or much of the machine, runs by itself (the marker `alone`); all else side by side.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
import pytest
import yaml

from tests.bench.servers import Command, free_port, started
from tests.integration.postgres import serve_postgres
from tests.integration.web import Web, serve_web

ROOT = Path(__file__).parents[2]
AS_INSTALLED = Path(__file__).parent / "as_installed"  # before packages that only tests have
STOP_TIMEOUT_S = 120
PAGE_TIMEOUT_S = 3.0
JOB_TIMEOUT_S = 240
KEYS = {name: f"{name}-{secrets.token_hex(16)}" for name in ("tests", "others")}


@pytest.hookimpl(tryfirst=True)  # before `-m` looks at the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "service" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.alone)


@dataclass(frozen=True)
class Service:
    """Where the service answers, to whom, what it is called, and the process that runs it."""

    url: str
    key: str
    others_key: str
    model: str
    launcher: psutil.Process
    settings: dict[str, Any]

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key}"}

    def processes(self) -> list[psutil.Process]:
        return [self.launcher, *self.launcher.children(recursive=True)]


def ray_session(processes: list[psutil.Process]) -> Path:
    """The folder of the Ray that these processes are, among others on this machine."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            for argument in process.cmdline():
                name, _, value = argument.partition("=")
                if name.strip("-").replace("-", "_") == "session_dir":
                    return Path(value)
    message = "no process of Ray says where its session is"
    raise AssertionError(message)


def configuration(folder: Path, web_port: int) -> tuple[Path, dict[str, Any]]:
    """The shipped CPU configuration on a free port, with its data in a folder of its own."""
    document = yaml.safe_load((ROOT / "configs" / "cpu.yaml").read_text())
    args = document["applications"][0]["args"]
    models = ROOT / args["data_dir"] / "models"
    models.mkdir(parents=True, exist_ok=True)
    data = folder / "data"
    data.mkdir()
    (data / "models").symlink_to(models)  # converted once for all
    document["http_options"]["port"] = free_port()
    args["data_dir"] = str(data)
    args["scraper"] |= {
        "page_timeout_s": PAGE_TIMEOUT_S,
        "allowed_networks": ["127.0.0.0/8"],
        "allowed_ports": [80, 443, web_port],
    }
    args["limits"]["requests_per_minute"] = None  # tests are not people
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(document))
    return path, document


@pytest.fixture(scope="session")
def web() -> Iterator[Web]:
    """Pages for the scraper to read, on loopback."""
    with serve_web() as running:
        yield running


@pytest.fixture(scope="session")
def service(web: Web, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    path, document = configuration(tmp_path_factory.mktemp("service"), web.port)
    api_keys = ",".join(f"{name}:{key}" for name, key in KEYS.items())
    url = f"http://127.0.0.1:{document['http_options']['port']}"
    args = document["applications"][0]["args"]
    command = launch(path, url, {"GENSERVE_API_KEYS": api_keys})
    with started(command, path.with_suffix(".log")) as launcher:
        model = args["llm"]["served_name"]
        yield Service(url, KEYS["tests"], KEYS["others"], model, launcher, args)
        family = launcher.children(recursive=True)
        launcher.send_signal(signal.SIGINT)
        assert launcher.wait(STOP_TIMEOUT_S) == 0
        # What is promised of Ctrl-C: everything it started is gone.
        _, alive = psutil.wait_procs(family, timeout=20)
        assert [p.name() for p in alive if p.status() != psutil.STATUS_ZOMBIE] == []


def launch(path: Path, url: str, env: Mapping[str, str]) -> Command:
    """Start the service of a file as `make serve` does."""
    known = {"PYTHONUNBUFFERED": "1", "PYTHONPATH": str(AS_INSTALLED)}
    args = (sys.executable, "-m", "serve_app.launch", str(path))
    return Command(args, f"{url}/readyz", {**known, **env})


@pytest.fixture
def http(service: Service) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, headers=service.headers, timeout=120) as client:
        yield client


def job_ended(http: httpx.Client, job_id: str) -> dict[str, Any]:
    """Wait for a job as a client would; the job as it ended."""
    began = time.monotonic()
    while time.monotonic() - began < JOB_TIMEOUT_S:
        job: dict[str, Any] = http.get(f"/v1/jobs/{job_id}").json()
        if job["status"] in {"succeeded", "failed", "cancelled"}:
            return job
        time.sleep(0.2)
    pytest.fail(f"the job did not end: {job}")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    with serve_postgres() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
def job_database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/jobs.sqlite"
    server: str = request.getfixturevalue("postgres")
    name = f"test_{os.urandom(6).hex()}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return server.rsplit("/", 1)[0] + f"/{name}"
