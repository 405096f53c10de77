"""The systems that are measured: the running service, and a naive one beside it."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import psutil

from tests.support.load import Target
from tests.support.processes import Command, free_port, started
from tests.support.systems import CHAT, CPU, Configuration, System, ours

NAIVE = "naive"
_REQUEST_TIMEOUT_S = 300.0


def naive(configuration: Configuration) -> System:
    """Describe the naive service: a handler around Hugging Face `generate`."""
    port = free_port()
    command = Command(
        (sys.executable, "-m", "tests.bench.naive", configuration.model, str(port)),
        f"http://127.0.0.1:{port}/health",
        configuration.environment,
    )
    return System(NAIVE, command, Target(f"http://127.0.0.1:{port}{CHAT}", "", streams=False))


@dataclass(frozen=True)
class Service:
    """The running service: its address, its process, and its configuration."""

    system: System
    process: psutil.Process
    configuration: Configuration

    @property
    def url(self) -> str:
        """The address that all routes start with."""
        return self.system.url

    @property
    def model(self) -> str:
        """The name of the bare model."""
        return self.system.target.model

    def session(self) -> aiohttp.ClientSession:
        """Open a session without a limit on connections: no request waits for another's end."""
        timeout = aiohttp.ClientTimeout(total=_REQUEST_TIMEOUT_S)
        connector = aiohttp.TCPConnector(limit=0)
        return aiohttp.ClientSession(self.url, timeout=timeout, connector=connector)


@contextlib.contextmanager
def running_service() -> Iterator[Service]:
    """Run `configs/cpu.yaml` with an empty data folder; raises StartError."""
    configuration = Configuration.read(CPU)
    with tempfile.TemporaryDirectory(prefix="genserve-bench-") as folder:
        system = ours(configuration, Path(folder))
        with started(system.command, Path(folder) / "log") as process:
            yield Service(system, process, configuration)
