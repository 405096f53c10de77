"""A dead engine is noticed and replaced; its tests run last, as the cold start takes its time."""

from __future__ import annotations

import time
from collections.abc import Callable

import httpx
import psutil
import pytest

from tests.support.service import Service

NOTICED_S = 60
RECOVERED_S = 300


@pytest.mark.timeout(NOTICED_S + RECOVERED_S + 60)
def test_a_killed_engine_is_noticed_and_replaced(http: httpx.Client, service: Service) -> None:
    body = {
        "model": service.model,
        "messages": [{"role": "user", "content": "Name the capital of France."}],
        "temperature": 0,
        "max_tokens": 20,
    }
    assert http.post("/v1/chat/completions", json=body).status_code == 200
    (engine,) = named(service, "EngineCore")
    engine.kill()
    # Refused as a dead backend is, never hanging and never a traceback.
    answer = http.post("/v1/chat/completions", json=body)
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    until(NOTICED_S, lambda: http.get("/readyz").status_code == 503)
    assert http.get("/healthz").status_code == 200
    until(RECOVERED_S, lambda: http.get("/readyz").status_code == 200)
    again = http.post("/v1/chat/completions", json=body).json()
    assert "Paris" in again["choices"][0]["message"]["content"]
    assert len(named(service, "Worker")) == 1  # nothing of the dead one is left


def named(service: Service, part: str) -> list[psutil.Process]:
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if f"VLLM::{part}" in " ".join(process.info["cmdline"] or ())
        and service.launcher in process.parents()
    ]


def until(limit_s: float, holds: Callable[[], bool]) -> None:
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < limit_s
        time.sleep(0.5)
