"""Who is let in: every interface of the documented launch, with the token and without."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.bench.cluster.ray_nodes import RayNodes

REFUSED = frozenset({401, 403})
_TIMEOUT_S = 15.0
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
# Method, path: the dashboard's own, the jobs API, Serve's admin API, logs, state, profiling.
DASHBOARD = (
    ("GET", "/api/version"),
    ("GET", "/nodes?view=summary"),
    ("GET", "/api/cluster_status"),
    ("GET", "/api/v0/actors"),
    ("GET", "/api/v0/logs?node_ip=127.0.0.1"),
    ("GET", "/api/jobs/"),
    ("POST", "/api/jobs/"),
    ("GET", "/api/serve/applications/"),
    ("PUT", "/api/serve/applications/"),
    ("DELETE", "/api/serve/applications/"),
    ("GET", "/worker/traceback?pid=1&ip=127.0.0.1"),
)
AGENT = (
    ("GET", "/api/job_agent/jobs/"),
    ("POST", "/api/job_agent/jobs/"),
    ("GET", "/logs/"),
)
# Asked with the token too; the others would change something.
_HARMLESS = frozenset({"/api/version", "/nodes?view=summary", "/api/jobs/"})


@dataclass(frozen=True)
class Door:
    """One interface, and the status of its answer to nobody, to a wrong token, to the token."""

    where: str
    method: str
    path: str
    nobody: int
    stranger: int
    friend: int | None

    @property
    def closed(self) -> bool:
        """Whether only the token opens it."""
        let_in = self.friend is None or self.friend < 400
        return {self.nobody, self.stranger} <= REFUSED and let_in


@dataclass(frozen=True)
class Listener:
    """A port that a process of the cluster listens on."""

    process: str
    address: str


def doors(nodes: RayNodes) -> Iterator[Door]:
    """Knock at all of them."""
    for method, path in DASHBOARD:
        yield _door("dashboard", nodes.dashboard, method, path, nodes.token)
    for node in nodes.running.values():
        agent = f"http://127.0.0.1:{node.agent_port}"
        for method, path in AGENT:
            yield _door(f"agent of {node.node.name}", agent, method, path, nodes.token)


def open_to_all(nodes: RayNodes) -> dict[str, int]:
    """What Ray lets everybody read: the page that asks for the token, and health."""
    head = next(iter(nodes.running.values()))
    agent = f"http://127.0.0.1:{head.agent_port}"
    asked = {
        "dashboard /": f"{nodes.dashboard}/",
        "dashboard /api/gcs_healthz": f"{nodes.dashboard}/api/gcs_healthz",
        "dashboard /api/authentication_mode": f"{nodes.dashboard}/api/authentication_mode",
        "agent /api/healthz": f"{agent}/api/healthz",
        "agent /api/local_raylet_healthz": f"{agent}/api/local_raylet_healthz",
    }
    return {name: _status("GET", url, None) for name, url in asked.items()}


def listeners(nodes: RayNodes) -> list[Listener]:
    """All ports that the cluster's processes listen on, by process."""
    found = set()
    for node in nodes.running.values():
        for process in node.family():
            try:
                connections = process.net_connections("tcp")
                name = _name(process)
            except psutil.Error:
                continue
            for one in connections:
                if one.status == psutil.CONN_LISTEN:
                    found.add((name, one.laddr.ip))
    return [Listener(name, address) for name, address in sorted(found)]


def reachable_from_elsewhere(port: int) -> bool:
    """Whether a port of this machine answers at another address than loopback."""
    for address in _own_addresses():
        with socket.socket() as connection:
            connection.settimeout(2)
            if connection.connect_ex((address, port)) == 0:
                return True
    return False


def _own_addresses() -> Sequence[str]:
    found = psutil.net_if_addrs().values()
    return [
        address.address
        for addresses in found
        for address in addresses
        if address.family == socket.AF_INET and not address.address.startswith("127.")
    ]


def _door(where: str, base: str, method: str, path: str, token: str) -> Door:
    url = base + path
    friend = _status(method, url, token) if method == "GET" and path in _HARMLESS else None
    return Door(
        where, method, path, _status(method, url, None), _status(method, url, "x" * 64), friend
    )


def _status(method: str, url: str, token: str | None) -> int:
    headers = {"content-type": "application/json"}
    if token is not None:
        headers["authorization"] = f"Bearer {token}"
    data = b"{}" if method in {"POST", "PUT"} else None
    request = urllib.request.Request(url, data=data, headers=headers, method=method)
    try:
        with _DIRECT.open(request, timeout=_TIMEOUT_S) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        return refused.code


def _name(process: psutil.Process) -> str:
    """What it is called, without what an actor is doing now."""
    line = " ".join(process.cmdline())
    for part in ("gcs_server", "dashboard/dashboard.py", "dashboard/agent.py"):
        if part in line:
            return part
    return process.name().partition(".")[0]
