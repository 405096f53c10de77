"""Ray's nodes as processes of this machine, started as documented and killed as machines fail."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from tests.support.paths import ROOT
from tests.support.processes import StartError, free_port, tail

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from serve_app.check.placement.nodes import Node

NAME_LABEL = "node-name"
_START_TIMEOUT_S = 120.0
_STOP_TIMEOUT_S = 10.0  # in which replicas may say good-bye; nothing of them is kept
_KILL_ROUNDS = 5
_POLL_S = 0.5
_OBJECT_STORE_BYTES = 80 * 1024**2  # Ray's least; uploads are small here
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
# Ray would start an idle worker for each of the many logical CPUs.
_NO_IDLE_WORKERS = {
    "RAY_enable_worker_prestart": "0",
    "RAY_prestart_worker_first_driver": "0",
}


@dataclass
class RunningNode:
    """One node: `ray start --block`, and where its proxy and its dashboard agent listen."""

    node: Node
    process: psutil.Popen
    proxy_port: int
    agent_port: int
    log: Path

    def family(self) -> list[psutil.Process]:
        """All its processes: its `ray start`, and the rest of the session that it leads."""
        found: list[psutil.Process] = [self.process]
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
                leads = process.pid == self.process.pid
                if not leads and os.getsid(process.pid) == self.process.pid:
                    found.append(process)
        return found


@dataclass
class RayNodes:
    """A head and workers, each with a folder below `folder`, which has to have a short name."""

    folder: Path
    environment: Mapping[str, str]
    gcs_port: int = field(default_factory=free_port)
    dashboard_port: int = field(default_factory=free_port)
    token: str = field(default_factory=lambda: secrets.token_hex(32))
    running: dict[str, RunningNode] = field(default_factory=dict)

    @property
    def dashboard(self) -> str:
        """The address of the head's dashboard."""
        return f"http://127.0.0.1:{self.dashboard_port}"

    @contextlib.contextmanager
    def started(self, nodes: Sequence[Node]) -> Iterator[RayNodes]:
        """Run the nodes, the first as head, until the block ends; raises StartError."""
        token_file = self.folder / "token"
        token_file.touch(mode=0o600)
        token_file.write_text(self.token, encoding="ascii")
        head, *workers = nodes
        try:
            self.start(head, head=True)
            self._wait_for(1)
            for worker in workers:
                self.start(worker)
            self._wait_for(len(nodes))
            yield self
        finally:
            self._stop()

    def start(self, node: Node, *, head: bool = False) -> None:
        """Start one node as on a machine of its own; it joins a little later."""
        folder = self.folder / node.name
        folder.mkdir(exist_ok=True)
        # Of a head that was killed; on its own machine, Ray would see that it does not run.
        (folder / "ray_current_cluster").unlink(missing_ok=True)
        log = self.folder / f"{node.name}.log"
        port, agent_port = free_port(), free_port()
        labels = ",".join(f"{k}={v}" for k, v in {**node.labels, NAME_LABEL: node.name}.items())
        where = (
            (
                *("--head", f"--port={self.gcs_port}", "--dashboard-host=127.0.0.1"),
                *(
                    f"--dashboard-port={self.dashboard_port}",
                    f"--ray-client-server-port={free_port()}",
                ),
            )
            if head
            else (f"--address=127.0.0.1:{self.gcs_port}",)
        )
        with log.open("ab") as output:
            process = psutil.Popen(
                [
                    *(sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *where),
                    *("--node-ip-address=127.0.0.1", f"--temp-dir={folder}"),
                    *(f"--dashboard-agent-listen-port={agent_port}", f"--labels={labels}"),
                    *(f"--num-cpus={node.cpus:g}", f"--num-gpus={node.gpus}"),
                    f"--object-store-memory={_OBJECT_STORE_BYTES}",
                ],
                cwd=folder,  # Ray looks for code there first, and an update names other code
                env=self._environment(folder) | {"RAY_SERVE_WORKER_PROXY_HTTP_PORT": str(port)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is ours to pass on
            )
        self.running[node.name] = RunningNode(node, process, port, agent_port, log)

    def kill(self, name: str) -> tuple[float, float]:
        """End a node as a machine ends that loses its power: all of it at once.

        Return when that began and when it was done, by `time.monotonic`.
        """
        family = self.running.pop(name).family()
        began = time.monotonic()
        _kill(family)
        return began, time.monotonic()

    def drain(self, name: str, deadline_s: int) -> None:
        """Have a node left by all that runs on it; raises CalledProcessError."""
        (node_id,) = (id_ for id_, known in self.names().items() if known == name)
        subprocess.run(
            [
                *(sys.executable, "-m", "ray.scripts.scripts", "drain-node"),
                *(f"--address=127.0.0.1:{self.gcs_port}", f"--node-id={node_id}"),
                *("--reason=DRAIN_NODE_REASON_PREEMPTION", "--reason-message=upgrade"),
                f"--deadline-remaining-seconds={deadline_s}",
            ],
            cwd=ROOT,
            env=self._environment(self.folder),
            check=True,
            timeout=_START_TIMEOUT_S,
        )

    def _environment(self, folder: Path) -> dict[str, str]:
        """What Ray's own programs run in."""
        return {
            **os.environ,
            **_NO_IDLE_WORKERS,
            **self.environment,
            "RAY_AUTH_TOKEN_PATH": str(self.folder / "token"),
            "PYTHONPATH": str(ROOT),
            # Another Ray of this machine stays the one that `auto` finds.
            "RAY_TMPDIR": str(folder),
        }

    def ask(
        self, path: str, *, method: str = "GET", body: object = None, timeout_s: float = 30.0
    ) -> Any:
        """Ask the dashboard, with the token; raises OSError and HTTPException."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"authorization": f"Bearer {self.token}", "content-type": "application/json"}
        request = urllib.request.Request(
            f"{self.dashboard}{path}", data=data, headers=headers, method=method
        )
        with _DIRECT.open(request, timeout=timeout_s) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def names(self) -> dict[str, str]:
        """The name of each living node by Ray's id for it."""
        listed = self.ask("/api/v0/nodes?detail=1&limit=100")["data"]["result"]["result"]
        return {
            node["node_id"]: node["labels"][NAME_LABEL]
            for node in listed
            if node["state"] == "ALIVE"
        }

    def _wait_for(self, count: int) -> None:
        end = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < end:
            for name, node in self.running.items():
                if node.process.poll() is not None:
                    msg = f"the node {name} ended while starting:\n{tail(node.log)}"
                    raise StartError(msg)
            with contextlib.suppress(OSError, http.client.HTTPException, KeyError, TypeError):
                if len(self.names()) >= count:
                    return
            time.sleep(_POLL_S)
        msg = f"there are not {count} nodes after {_START_TIMEOUT_S:.0f} s"
        raise StartError(msg)

    def _stop(self) -> None:
        """End all in order, within one time limit, then kill what is left of them."""
        ending = [self.running.pop(name) for name in [*self.running]]
        families = [process for node in ending for process in node.family()]
        for node in ending:
            with contextlib.suppress(psutil.NoSuchProcess):
                node.process.send_signal(signal.SIGTERM)
        psutil.wait_procs([node.process for node in ending], _STOP_TIMEOUT_S)
        _kill(families)


def _kill(family: Sequence[psutil.Process]) -> None:
    """Freeze all, so that nobody starts or reports anybody, then kill."""
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGSTOP)
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(family, timeout=10)
