"""Who is let in: every interface of the documented launch, with the token and without."""

from __future__ import annotations

import contextlib
import http.client
import socket
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import psutil

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from tests.support.ray_nodes import RayNodes

REFUSED = frozenset({"401", "403", "UNAUTHENTICATED"})
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


# What runs code or tells of the cluster over gRPC, by the beginning of a process's name.
GRPC = (
    ("gcs_server", "/ray.rpc.NodeInfoGcsService/GetAllNodeInfo"),
    ("raylet", "/ray.rpc.NodeManagerService/GetResourceLoad"),
    ("ray::ServeReplica", "/ray.rpc.CoreWorkerService/PushTask"),
    ("ray::ServeReplica", "/ray.serve.ASGIService/HandleRequest"),
)
_ANOTHER_PORT = "UNIMPLEMENTED"  # each has a port of its own for each service


@dataclass(frozen=True)
class Door:
    """One interface, and the status of its answer to nobody, to a wrong token, to the token."""

    where: str
    what: str
    nobody: str
    stranger: str
    friend: str | None = None

    @property
    def closed(self) -> bool:
        """Whether only the token opens it."""
        return {self.nobody, self.stranger} <= REFUSED and self.friend in {None, "200"}


@dataclass(frozen=True, order=True)
class Listener:
    """A port that processes of one name listen on, and the status of `GET /` for nobody.

    The status is `-` where something else than HTTP is spoken.
    """

    process: str
    address: str
    status: str


def doors(nodes: RayNodes) -> Iterator[Door]:
    """Knock at all of them."""
    agents = {node.node.name: node.agent_port for node in nodes.running.values()}
    yield from http_doors(nodes.dashboard, agents, nodes.token)
    yield from grpc_doors(sorted(_listening(nodes)))


def http_doors(dashboard: str, agents: Mapping[str, int], token: str) -> Iterator[Door]:
    """Knock at the dashboard and at the dashboard agents, by the names of their nodes."""
    for method, path in DASHBOARD:
        yield _door("dashboard", dashboard, method, path, token)
    for name, port in agents.items():
        for method, path in AGENT:
            yield _door(f"agent of {name}", f"http://127.0.0.1:{port}", method, path, token)


def grpc_doors(listening: Iterable[tuple[str, str, int]]) -> Iterator[Door]:
    """Knock at what speaks gRPC, of processes by name, address and port."""
    for process, address, port in listening:
        where = f"{_reached(address)}:{port}"
        for name, method in GRPC:
            if process.startswith(name) and (nobody := _grpc(where, method)) != _ANOTHER_PORT:
                yield Door(process, method, nobody, _grpc(where, method, "x" * 64))


def open_to_all(nodes: RayNodes) -> dict[str, str]:
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
    for process, address, port in _listening(nodes):
        where = _reached(address)
        # Which address a machine has is nobody's business.
        shown = address if where == "127.0.0.1" else "the node's address"
        found.add(Listener(process, shown, _status("GET", f"http://{where}:{port}/", None)))
    return sorted(found)


def _listening(nodes: RayNodes) -> set[tuple[str, str, int]]:
    """Processes by name, with the addresses and ports they listen on."""
    return {one for node in nodes.running.values() for one in listening(node.family())}


def listening(processes: Iterable[psutil.Process]) -> set[tuple[str, str, int]]:
    """Return processes by name, with the addresses and ports they listen on."""
    found = set()
    for process in processes:
        with contextlib.suppress(psutil.Error):
            name = _name(process)
            for one in process.net_connections("tcp"):
                if one.status == psutil.CONN_LISTEN:
                    found.add((name, one.laddr.ip, one.laddr.port))
    return found


def _reached(address: str) -> str:
    """Where to knock at what listens there."""
    address = address.removeprefix("::ffff:")
    return "127.0.0.1" if address in {"::", "0.0.0.0"} else address


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
    nobody, stranger = _status(method, url, None), _status(method, url, "x" * 64)
    return Door(where, f"{method} {path}", nobody, stranger, friend)


def _status(method: str, url: str, token: str | None) -> str:
    headers = {"content-type": "application/json"}
    if token is not None:
        headers["authorization"] = f"Bearer {token}"
    data = b"{}" if method in {"POST", "PUT"} else None
    request = urllib.request.Request(url, data=data, headers=headers, method=method)
    try:
        with _DIRECT.open(request, timeout=_TIMEOUT_S) as answer:
            return str(answer.status)
    except urllib.error.HTTPError as refused:
        return str(refused.code)
    except (OSError, http.client.HTTPException):
        return "-"


def _grpc(where: str, method: str, token: str | None = None) -> str:
    """The status of a call with an empty message."""
    metadata = () if token is None else (("authorization", f"Bearer {token}"),)
    with grpc.insecure_channel(where, options=(("grpc.enable_http_proxy", 0),)) as channel:
        call = channel.unary_unary(method)
        try:
            call(b"", metadata=metadata, timeout=_TIMEOUT_S)
        except grpc.RpcError as error:
            return str(error.code().name)
    return "OK"


def _name(process: psutil.Process) -> str:
    """What it is called, without what an actor is doing now; a program by its file."""
    title = process.name()
    if not title.startswith("python"):
        return str(title.partition(".")[0])
    parts = process.cmdline()
    files = [Path(part).name for part in parts if part.endswith(".py")]
    modules = [parts[i + 1] for i, part in enumerate(parts[:-1]) if part == "-m"]
    return str(next(iter(files or modules), title))
