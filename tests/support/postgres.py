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
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.support.daemons import Daemon, running
from tests.support.processes import free_port

LONG_ON_POSTGRES = pytest.mark.parametrize(
    "job_database", ["sqlite", pytest.param("postgres", marks=pytest.mark.long)], indirect=True
)
"""For tests that take long, and of which others prove the same on PostgreSQL in CI."""

_PACKAGE = "pgserver"
_USER = "genserve"
_UNPRIVILEGED = "nobody"
_STOP_TIMEOUT_S = 20.0
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",  # nobody pulls the plug of a test
    "full_page_writes": "off",
    "shared_buffers": "16MB",
    "max_connections": "60",
}


class PostgresServer(Daemon):
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

    def start(self) -> None:
        """Start the server and wait until it answers."""
        settings = [f"--{name}={value}" for name, value in _SETTINGS.items()]
        program, data = self._programs / "postgres", self._folder / "data"
        command: list[str | Path] = [program, "-D", data, "-p", str(self._port), *settings]
        log = self._folder / "log"
        self.spawn(command, log, self._connect, psycopg.OperationalError, **self._options())

    def _connect(self) -> None:
        psycopg.connect(self.url, connect_timeout=5).close()

    def stop(self) -> None:
        """Stop the server at once but in order: open sessions are closed."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            # Its children see that it is gone and follow.
            self.kill()
        self.process = None

    def _options(self) -> dict[str, Any]:
        return {"cwd": self._folder, "env": _environment(), **self._owner}


def postgres_server() -> AbstractContextManager[PostgresServer]:
    """Run a PostgreSQL, which a test may stop and start again, while the block lasts."""
    return running(PostgresServer)


@contextlib.contextmanager
def serve_postgres() -> Iterator[str]:
    """Start a PostgreSQL; yield the address of an empty database."""
    with postgres_server() as server:
        yield server.url


def client_programs() -> Path:
    """Return the folder of `pg_dump` and `pg_restore`."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is not None and spec.origin is not None:
        return Path(spec.origin).parent / "pginstall" / "bin"
    found = shutil.which("pg_dump")
    assert found is not None
    return Path(found).parent


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
