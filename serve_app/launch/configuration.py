"""Read a configuration file for the launcher: settings, address and URL."""

from __future__ import annotations

import errno
import socket
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from deployments.settings import Secrets
from serve_app.access.keys import KEYS_NEEDED, Keys
from serve_app.http.urls import is_loopback
from serve_app.launch.progress import StartError
from serve_app.settings import AppSettings
from serve_app.settings.tree import LAST_PORT, SERVE_HOST, SERVE_PORT


def read(path: str) -> dict[str, Any]:
    """Return the YAML document of a Serve configuration.

    Raises StartError if the file is missing or unreadable, is not YAML, or is not one mapping.
    """
    try:
        documents = list(yaml.safe_load_all(Path(path).read_text(encoding="utf-8")))
    except OSError as error:
        raise StartError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise StartError(f"{path}: cannot be read: not UTF-8 text") from None
    except yaml.YAMLError as error:
        raise StartError(f"{path}: not YAML: {error}") from None
    kinds = {each.get("kind") for each in documents if isinstance(each, dict)}
    if "RayService" in kinds:
        raise StartError(f"{path}: a Kubernetes manifest: start it with `kubectl apply -f {path}`")
    if len(documents) != 1 or not isinstance(documents[0], dict):
        raise StartError(f"{path}: not a Serve configuration (one YAML mapping)")
    document: dict[str, Any] = documents[0]
    return document


def settings(document: dict[str, Any], path: str) -> AppSettings:
    """Return the settings under `args`; raise StartError if there are no valid ones."""
    try:
        return AppSettings.model_validate(document["applications"][0].get("args") or {})
    except (KeyError, IndexError, TypeError, AttributeError, ValidationError):
        message = f"{path}: not a valid configuration: `genserve check {path}` says why"
        raise StartError(message) from None


def http_options(document: dict[str, Any]) -> dict[str, Any]:
    """Return the file's `http_options`, empty if it has none."""
    return document.get("http_options") or {}


def listen_host(document: dict[str, Any]) -> str:
    """Return the host that Serve will listen on."""
    return str(http_options(document).get("host", SERVE_HOST))


def require_keys(host: str) -> None:
    """Raise StartError if other machines reach the host and no API keys are set."""
    if not is_loopback(host) and not api_keys():
        raise StartError(f"--host {host}: {KEYS_NEEDED}")


def moved(document: dict[str, Any], host: str | None, port: int | None, data_dir: Path) -> str:
    """Write the configuration with another host or port to `data_dir`; return the new path."""
    given = {"host": host, "port": port}
    options = document.setdefault("http_options", {})
    options |= {name: value for name, value in given.items() if value}
    path = data_dir / "served.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return str(path)


def service_url(document: dict[str, Any]) -> str:
    """Return the URL of the service for a client on this machine, without a final slash.

    `http_options.root_path` is no part of it. Serve expects requests without this prefix, from
    a reverse proxy that removes it: `GET /genserve/readyz` there is `GET /readyz` here, and the
    application finds `/genserve` in the ASGI `root_path`. A request that still has the prefix
    is a 404. (Serve's other prefix, an application's `route_prefix`, is for proxies that leave
    it in place; the check demands `/`, because probes ask for /healthz and /readyz.)
    """
    options = http_options(document)
    host = listen_host(document)
    shown = "127.0.0.1" if host in {"0.0.0.0", "::"} else host  # noqa: S104 - compared, not bound
    shown = f"[{shown}]" if ":" in shown else shown
    return f"http://{shown}:{options.get('port', SERVE_PORT)}"


def require_free_port(document: dict[str, Any]) -> None:
    """Raise StartError if Serve could not listen on the host and port of the configuration."""
    host, port = listen_host(document), http_options(document).get("port", SERVE_PORT)
    if not isinstance(port, int) or not 1 <= port <= LAST_PORT:
        raise StartError(f"port {port}: must be a number from 1 to {LAST_PORT}")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as listener:
            # A connection of a service that just ended does not count.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            message = f"port {port} is taken: stop what listens on it, or use another --port"
            raise StartError(message) from None
        raise StartError(f"cannot listen on {host}, port {port}: {error.strerror}") from None


def api_keys() -> Keys:
    """Return the API keys of the environment."""
    return Keys.read(Secrets().api_keys)
