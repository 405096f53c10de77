"""Check which interfaces of Ray answer without the cluster's token, and what listens where."""

from __future__ import annotations

import contextlib
import http.client
import socket
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import grpc
import psutil

from tests.support.ray_nodes import RayNodes

_REFUSED = frozenset({"401", "403", "UNAUTHENTICATED"})
_TIMEOUT_S = 15.0
_WRONG_TOKEN = "x" * 64
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
# Method, path: the dashboard's own, the jobs API, Serve's admin API, logs, state, profiling.
_DASHBOARD = (
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
_AGENT = (
    ("GET", "/api/job_agent/jobs/"),
    ("POST", "/api/job_agent/jobs/"),
    ("GET", "/logs/"),
)
# Also requested with the token; the others would change something.
_HARMLESS = frozenset({"/api/version", "/nodes?view=summary", "/api/jobs/"})
# gRPC methods that run code or describe the cluster, by the beginning of a process's name.
_GRPC = (
    ("gcs_server", "/ray.rpc.NodeInfoGcsService/GetAllNodeInfo"),
    ("raylet", "/ray.rpc.NodeManagerService/GetResourceLoad"),
    ("ray::ServeReplica", "/ray.rpc.CoreWorkerService/PushTask"),
    ("ray::ServeReplica", "/ray.serve.ASGIService/HandleRequest"),
)
_OTHER_PORT = "UNIMPLEMENTED"  # each service of a process has its own port
# Public by Ray's design: the page that asks for the token, and health.
_PUBLIC = {
    "dashboard": ("/", "/api/gcs_healthz", "/api/authentication_mode"),
    "agent": ("/api/healthz", "/api/local_raylet_healthz"),
}


@dataclass(frozen=True)
class Interface:
    """One interface, with the status of its answer without a token, with a wrong one, the right."""

    where: str
    what: str
    without_token: str
    wrong_token: str
    right_token: str | None = None

    @property
    def protected(self) -> bool:
        """Whether it answers with the token only."""
        refused = {self.without_token, self.wrong_token} <= _REFUSED
        return refused and self.right_token in {None, "200"}


@dataclass(frozen=True, order=True)
class Listener:
    """A port that processes of one name listen on, and the status of `GET /` without a token.

    The status is `-` where the protocol is not HTTP.
    """

    process: str
    address: str
    status: str


def interfaces(nodes: RayNodes) -> Iterator[Interface]:
    """Call all interfaces of the dashboard, the agents and the processes of a cluster."""
    agents = {node.node.name: node.agent_port for node in nodes.running.values()}
    yield from http_interfaces(nodes.dashboard, agents, nodes.token)
    yield from grpc_interfaces(_listening(nodes))


def http_interfaces(dashboard: str, agents: Mapping[str, int], token: str) -> Iterator[Interface]:
    """Call the dashboard and the dashboard agents, whose ports are given by node."""
    for method, path in _DASHBOARD:
        yield _over_http("dashboard", dashboard, method, path, token)
    for name, port in agents.items():
        for method, path in _AGENT:
            yield _over_http(f"agent of {name}", f"http://127.0.0.1:{port}", method, path, token)


def grpc_interfaces(ports: Iterable[tuple[str, str, int]]) -> Iterator[Interface]:
    """Call the gRPC services of processes, given by name, address and port."""
    for process, address, port in sorted(ports):
        target = f"{_reachable(address)}:{port}"
        for name, method in _GRPC:
            if process.startswith(name) and (status := _grpc(target, method)) != _OTHER_PORT:
                yield Interface(process, method, status, _grpc(target, method, _WRONG_TOKEN))


def public(nodes: RayNodes) -> dict[str, str]:
    """Return the status of what Ray shows without a token by design."""
    head = next(iter(nodes.running.values()))
    bases = {"dashboard": nodes.dashboard, "agent": f"http://127.0.0.1:{head.agent_port}"}
    return {
        f"{name} {path}": _status("GET", bases[name] + path)
        for name, paths in _PUBLIC.items()
        for path in paths
    }


def listeners(nodes: RayNodes) -> list[Listener]:
    """Return all ports that the cluster's processes listen on, by process."""
    found = set()
    for process, address, port in _listening(nodes):
        host = _reachable(address)
        shown = address if host == "127.0.0.1" else "the node's address"  # it stays private
        found.add(Listener(process, shown, _status("GET", f"http://{host}:{port}/")))
    return sorted(found)


def reachable_from_elsewhere(port: int) -> bool:
    """Return whether a port of this machine answers at another address than loopback."""
    for addresses in psutil.net_if_addrs().values():
        for one in addresses:
            if one.family == socket.AF_INET and not one.address.startswith("127."):
                with socket.socket() as connection:
                    connection.settimeout(2)
                    if connection.connect_ex((one.address, port)) == 0:
                        return True
    return False


def listening(processes: Iterable[psutil.Process]) -> set[tuple[str, str, int]]:
    """Return processes by name, with the addresses and ports that they listen on."""
    found = set()
    for process in processes:
        with contextlib.suppress(psutil.Error):
            name = _name(process)
            for one in process.net_connections("tcp"):
                if one.status == psutil.CONN_LISTEN:
                    found.add((name, one.laddr.ip, one.laddr.port))
    return found


def _listening(nodes: RayNodes) -> set[tuple[str, str, int]]:
    return {one for node in nodes.running.values() for one in listening(node.family())}


def _reachable(address: str) -> str:
    """Return the address at which a listening address can be reached."""
    address = address.removeprefix("::ffff:")
    return "127.0.0.1" if address in {"::", "0.0.0.0"} else address


def _over_http(where: str, base: str, method: str, path: str, token: str) -> Interface:
    url = base + path
    harmless = method == "GET" and path in _HARMLESS
    right = _status(method, url, token) if harmless else None
    without, wrong = _status(method, url), _status(method, url, _WRONG_TOKEN)
    return Interface(where, f"{method} {path}", without, wrong, right)


def _status(method: str, url: str, token: str | None = None) -> str:
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


def _grpc(target: str, method: str, token: str | None = None) -> str:
    """Return the status of a call with an empty message."""
    metadata = () if token is None else (("authorization", f"Bearer {token}"),)
    with grpc.insecure_channel(target, options=(("grpc.enable_http_proxy", 0),)) as channel:
        call = channel.unary_unary(method)
        try:
            call(b"", metadata=metadata, timeout=_TIMEOUT_S)
        except grpc.RpcError as error:
            return str(error.code().name)
    return "OK"


def _name(process: psutil.Process) -> str:
    """Return the title of a process without an actor's current method; a program by its file."""
    title = process.name()
    if not title.startswith("python"):
        return str(title.partition(".")[0])
    parts = process.cmdline()
    files = [Path(part).name for part in parts if part.endswith(".py")]
    modules = [parts[i + 1] for i, part in enumerate(parts[:-1]) if part == "-m"]
    return str(next(iter(files or modules), title))
