"""A real PostgreSQL on loopback: the one in the `pgserver` package, else the one on the PATH."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg

from tests.support.processes import free_port

_PACKAGE = "pgserver"
_USER = "genserve"
_UNPRIVILEGED = "nobody"
_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 20.0
_POLL_S = 0.1
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",  # nobody pulls the plug of a test
    "full_page_writes": "off",
    "shared_buffers": "16MB",
    "max_connections": "60",
}


class PostgresServer:
    """A PostgreSQL with one empty database; `url` has its user and password."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._programs, self._owner = _programs(folder), _owner()
        self._port = free_port()
        password = secrets.token_hex(16)
        self.url = f"postgresql://{_USER}:{password}@127.0.0.1:{self._port}/postgres"
        password_file = folder / "password"
        password_file.write_text(password, encoding="ascii")
        if self._owner:
            for one in (folder, *folder.rglob("*")):
                os.chown(one, self._owner["user"], self._owner["group"])
        subprocess.run(
            [
                *(self._programs / "initdb", "--pgdata", folder / "data", "--username", _USER),
                *("--no-sync", "--auth=scram-sha-256", "--pwfile", password_file),
                *("--encoding=UTF8", "--locale=C"),
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            **self._options(),
        )
        self._server: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server and wait until it answers."""
        settings = [f"--{name}={value}" for name, value in _SETTINGS.items()]
        program, data = self._programs / "postgres", self._folder / "data"
        log = self._folder / "log"
        with log.open("ab") as output:
            self._server = subprocess.Popen(
                [program, "-D", data, "-p", str(self._port), *settings],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is pytest's
                **self._options(),
            )
        _wait_until_ready(self._server, self.url, log)

    def stop(self) -> None:
        """Stop the server at once but in order: open sessions are closed."""
        if self._server is None:
            return
        self._server.send_signal(signal.SIGINT)
        try:
            self._server.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            # Its children see that it is gone and follow.
            self._server.kill()
            self._server.wait()
        self._server = None

    def _options(self) -> dict[str, Any]:
        return {"cwd": self._folder, "env": _environment(), **self._owner}


@contextlib.contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """Start a PostgreSQL that a test may stop and start again.

    It has a folder of its own directly below the temporary one: pytest's are closed to the
    unprivileged user whom PostgreSQL, which refuses to be root, then runs as.
    """
    with tempfile.TemporaryDirectory(prefix="genserve-postgres-") as folder:
        server = PostgresServer(Path(folder))
        try:
            server.start()
            yield server
        finally:
            server.stop()


@contextlib.contextmanager
def serve_postgres() -> Iterator[str]:
    """Start a PostgreSQL; yield the address of an empty database."""
    with postgres_server() as server:
        yield server.url


def _programs(folder: Path) -> Path:
    """Where `initdb` and `postgres` are; in the folder if only root might reach them."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        found = shutil.which("postgres")
        if found is None or shutil.which("initdb") is None:
            msg = f"there is no PostgreSQL: install the package {_PACKAGE!r}"
            raise RuntimeError(msg)
        return Path(found).resolve().parent
    package = Path(spec.origin).parent
    if os.geteuid() == 0:
        for one in (package, package.with_name(f"{_PACKAGE}.libs")):
            shutil.copytree(one, folder / one.name)
        package = folder / _PACKAGE
    return package / "pginstall" / "bin"


def _owner() -> dict[str, Any]:
    """Whom to run it as; whoever runs the tests, unless that is root."""
    if os.geteuid() != 0:
        return {}
    user = pwd.getpwnam(_UNPRIVILEGED)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": ()}


def _environment() -> Mapping[str, str]:
    """Without what would turn the server or a client to another database."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}


def _wait_until_ready(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    end = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < end and server.poll() is None:
        with contextlib.suppress(psycopg.OperationalError), psycopg.connect(url):
            return
        time.sleep(_POLL_S)
    msg = f"PostgreSQL did not start:\n{log.read_text(errors='replace')}"
    raise RuntimeError(msg)
