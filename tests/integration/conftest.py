"""Shared fixtures: the running service, pages to read, and databases for jobs.

Tests that use the service (the marker `service`, set here) run in one process, one after another,
and the others in two processes beside it: see `make test`.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest
import yaml

from tests.support.clients import Clients, Store, filled_store
from tests.support.faults import Node
from tests.support.postgres import serve_postgres
from tests.support.processes import started
from tests.support.service import (
    KEYS,
    STOP_TIMEOUT_S,
    SecondService,
    Service,
    configuration,
    launch,
)
from tests.support.spans import FOLDER
from tests.support.web import Web, serve_web

# Tests of these modules come last, in this order: they start a second service, and kill.
LAST = ("test_metrics", "test_traces", "test_below_a_path", "test_kills")


@pytest.hookimpl(tryfirst=True)  # before `-m` looks at the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "service" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.service)
    items.sort(key=lambda item: LAST.index(item.path.stem) + 1 if item.path.stem in LAST else 0)


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
    output = path.with_suffix(".log")
    with started(command, output) as launcher:
        model = args["llm"]["served_name"]
        yield Service(url, KEYS["tests"], KEYS["others"], model, launcher, args, output)
        family = launcher.children(recursive=True)
        launcher.send_signal(signal.SIGINT)
        assert launcher.wait(STOP_TIMEOUT_S) == 0
        # What is promised of Ctrl-C: everything it started is gone.
        _, alive = psutil.wait_procs(family, timeout=20)
        assert [p.name() for p in alive if p.status() != psutil.STATUS_ZOMBIE] == []


@pytest.fixture(scope="session")
def second_service(
    service: Service, web: Web, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SecondService]:
    """Another service, with tracing on; its language model is that of the first one.

    Its deployments call each other by Ray's own calls, those of the first one by gRPC.
    """
    folder = tmp_path_factory.mktemp("second")
    path, document = configuration(folder, web.port)
    spans = folder / "spans"
    spans.mkdir()
    document["http_options"]["root_path"] = "/genserve"  # a request without it is the proxy's
    document["tracing_config"] = {
        "enabled": True,
        "sampling_ratio": 1.0,
        "exporter_import_path": "tests.support.spans:to_file",
    }
    args = document["applications"][0]["args"]
    args["llm"] = {
        "engine": "openai",
        "base_url": f"{service.url}/v1",
        "model": service.model,
        "served_name": service.model,
        "context_tokens": 4096,
    }
    # Small batches: a document takes several steps.
    args["embedder"]["max_batch_tokens"] = 4 * args["parser"]["chunk_tokens"]
    path.write_text(yaml.safe_dump(document))
    env = {
        FOLDER: str(spans),
        "GENSERVE_LLM_API_KEY": service.key,
        "RAY_SERVE_USE_GRPC_BY_DEFAULT": "0",
    }
    url = f"http://127.0.0.1:{document['http_options']['port']}"
    node = Node(launch(path, url, env), folder)
    node.start()
    try:
        yield SecondService(node, path, Path(args["data_dir"]), spans)
    finally:
        node.stop()


@pytest.fixture(scope="module")
def store(service: Service) -> Iterator[Store]:
    with filled_store(service) as store:
        yield store


@pytest.fixture
def clients(service: Service, store: Store, pytestconfig: pytest.Config, tmp_path: Path) -> Clients:
    assert pytestconfig.cache is not None
    kept = Path(pytestconfig.cache.mkdir("clients"))  # between runs
    return Clients(service, store.id, kept, tmp_path)


@pytest.fixture
def http(service: Service) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, headers=service.headers, timeout=120) as client:
        yield client


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
    address: str = request.getfixturevalue("postgres_database")
    return address


@pytest.fixture
def postgres_database(postgres: str) -> str:
    """The address of an empty database on PostgreSQL."""
    name = f"test_{os.urandom(6).hex()}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return postgres.rsplit("/", 1)[0] + f"/{name}"
