"""The service that is killed: its processes by name, dealt SIGKILL, and how it comes back."""

from __future__ import annotations

import contextlib
import random
import re
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from tests.support.postgres import PostgresServer
from tests.support.processes import Command, started

NODE, PARSER_CHILD, DATABASE = "node", "parser child", "database"
REPLICAS = ("Jobs", "Retriever", "Images")
VICTIMS = (*REPLICAS, PARSER_CHILD, NODE)

_REPLICA = re.compile(r"ServeReplica:genserve:(\w+)")
_CHILD = "deployments.parser.template"  # its children die with it
_KILLS_A_NODE = 10
_BACK_TIMEOUT_S = 40.0
_FOUND_TIMEOUT_S = 180.0  # on a busy machine uploads are rare
_GONE_TIMEOUT_S = 20.0
_CHILD_LIFE_S = 0.8
_DATABASE_AWAY_S = 3.0
_POLL_S = 0.25
_FAST_POLL_S = 0.05
_ROUNDS = 5


@dataclass(frozen=True)
class Kill:
    """One SIGKILL, or a restart of the database.

    `back_s` until everything was ready again, None if that took over 40 s.
    """

    victim: str
    back_s: float | None


def plan(kills: int, draw: random.Random) -> list[str]:
    """Whom to kill: the node at least once and every tenth time, the others equally often."""
    nodes = max(1, kills // _KILLS_A_NODE)
    others = (*REPLICAS, PARSER_CHILD)
    victims = [others[number % len(others)] for number in range(kills - nodes)]
    victims += [NODE] * nodes
    draw.shuffle(victims)
    return victims


class Node:
    """The launcher and all that it started; after a kill of everything, the same command again."""

    def __init__(
        self, command: Command, folder: Path, database: PostgresServer | None = None
    ) -> None:
        """Keep how to start it; the launcher's output goes to `folder`."""
        self.url = command.ready_url.removesuffix("/readyz")
        self.starts = 0
        self.kills = 0
        self.command = command
        self._folder = folder
        self._database = database
        self._running = contextlib.ExitStack()
        self._launcher: psutil.Process | None = None

    def start(self) -> None:
        """Return when it is ready; raises StartError."""
        self.starts += 1
        log = self._folder / f"launch-{self.starts}.log"
        self._launcher = self._running.enter_context(started(self.command, log))

    def stop(self) -> None:
        """End it as Ctrl-C does; nothing happens if it does not run."""
        self._running.close()

    def strike(self, victim: str, draw: random.Random) -> Kill:
        """Kill one victim and wait until all is well again, which for a child it always is.

        Raises StartError if the node does not start again, TimeoutError if there is no such
        process.
        """
        self.kills += 1
        if victim == NODE:
            began = time.monotonic()
            self._kill_everything()
            self.stop()
            self.start()
            return Kill(victim, time.monotonic() - began)
        if victim == PARSER_CHILD:
            self._kill_child(draw)
            return Kill(victim, 0.0)
        if victim == DATABASE:
            self._restart_database(draw)
            return Kill(victim, self._ready_after())
        before = self._kill_replica(victim)

        def replaced() -> bool:
            return any(process.pid not in before for process in self._replicas(victim))

        return Kill(victim, self._ready_after(replaced))

    def replica_ids(self) -> set[int]:
        """The process ids of all replicas but the ingress's, which a redeploy may keep."""
        found = (self._replicas(name) for name in (*REPLICAS, "Parser", "Embedder"))
        return {process.pid for some in found for process in some}

    def _kill_replica(self, name: str) -> set[int]:
        """Kill one replica of a deployment; the process ids of those there were."""
        end = time.monotonic() + _FOUND_TIMEOUT_S
        while time.monotonic() < end:
            found = self._replicas(name)
            for process in found[:1]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
                    return {process.pid for process in found}
            time.sleep(_POLL_S)
        msg = f"there was no replica of {name} to kill"
        raise TimeoutError(msg)

    def _kill_child(self, draw: random.Random) -> None:
        """Kill the process that reads a file, somewhere in its short life."""
        end = time.monotonic() + _FOUND_TIMEOUT_S
        while time.monotonic() < end:
            for process in self.processes():
                with contextlib.suppress(psutil.NoSuchProcess):
                    if _CHILD in process.cmdline():
                        time.sleep(draw.uniform(0, _CHILD_LIFE_S))
                        if _lives(process):
                            process.kill()
                            return
            time.sleep(_FAST_POLL_S)
        raise TimeoutError("no file was read meanwhile")

    def _kill_everything(self) -> None:
        """Freeze the whole family, so that nobody starts anybody, then kill it."""
        seen: dict[int, psutil.Process] = {}
        for _ in range(_ROUNDS):
            new = [process for process in self.processes() if process.pid not in seen]
            if not new:
                break
            for process in new:
                seen[process.pid] = process
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGSTOP)
        for process in seen.values():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        end = time.monotonic() + _GONE_TIMEOUT_S
        while any(map(_lives, seen.values())) and time.monotonic() < end:
            time.sleep(_POLL_S)

    def _restart_database(self, draw: random.Random) -> None:
        """Stop it, which ends every session and undoes what was not committed, and start it."""
        if self._database is None:
            msg = "the service keeps its data in files of its own"
            raise RuntimeError(msg)
        self._database.stop()
        time.sleep(draw.uniform(0, _DATABASE_AWAY_S))
        self._database.start()

    def _ready_after(self, replaced: Callable[[], bool] = lambda: True) -> float | None:
        """Seconds until everything is ready, and what was killed is replaced."""
        began = time.monotonic()
        with httpx.Client(trust_env=False, timeout=5) as http:
            while (elapsed := time.monotonic() - began) < _BACK_TIMEOUT_S:
                with contextlib.suppress(httpx.TransportError):
                    if replaced() and http.get(self.command.ready_url).is_success:
                        return elapsed
                time.sleep(_POLL_S)
        return None

    def _replicas(self, name: str) -> list[psutil.Process]:
        found = []
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                title = _REPLICA.search(" ".join(process.cmdline()))
                if title and title[1] == name and _lives(process):
                    found.append(process)
        return found

    def processes(self) -> list[psutil.Process]:
        """Return the launcher and all that it started; raises RuntimeError if it has ended."""
        if self._launcher is None or not _lives(self._launcher):
            raise RuntimeError("the launcher has ended by itself")
        return [self._launcher, *self._launcher.children(recursive=True)]


def _lives(process: psutil.Process) -> bool:
    """Whether it is there; who is dead and waits for its parent is not."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
