"""Report the progress of a start at the terminal until the service is ready."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import sys
import time
import urllib.request
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

_START_TIMEOUT_S = 900.0
_POLL_S = 1.0
_SILENCE_S = 10.0
_LOG_TAIL_LINES = 25
_DASHBOARD = re.compile(r"http://127\.0\.0\.1:\d+(?=\s|\x1b)")
# The environment's HTTP proxy is not for addresses of this machine.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class StartError(Exception):
    """The service cannot be started; the message says why."""


def say(text: str) -> None:
    """Write a line to the terminal at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def step(text: str) -> None:
    """Report the next step."""
    say(f"==> {text}")


def wait_until_ready(
    service: subprocess.Popen[bytes], url: str, token_file: Path, log: Path
) -> None:
    """Report each deployment's state until all are ready; raise StartError if one fails."""
    began = spoke = time.monotonic()
    # Ray, too, takes the variable before the file.
    token = os.environ.get("RAY_AUTH_TOKEN") or token_file.read_text(encoding="ascii").strip()
    shown: dict[str, str] = {}
    while time.monotonic() - began < _START_TIMEOUT_S:
        if service.poll() is not None:
            msg = f"Ray Serve ended while starting:\n{_tail(log)}"
            raise StartError(msg)
        states = _deployment_states(dashboard(log), token)
        for name, (status, message) in states.items():
            if shown.get(name) != status:
                shown[name], spoke = status, time.monotonic()
                say(f"    {time.monotonic() - began:4.0f} s  {name}: {status.lower()}")
            if status in {"DEPLOY_FAILED", "UNHEALTHY"}:
                msg = f"{name} did not start: {message}\n{_tail(log)}"
                raise StartError(msg)
        with contextlib.suppress(OSError, http.client.HTTPException):
            _get(f"{url}/readyz", timeout_s=5)
            return
        if time.monotonic() - spoke > _SILENCE_S:
            spoke = time.monotonic()
            loading = sorted(name for name, status in shown.items() if status != "HEALTHY")
            say(f"    {spoke - began:4.0f} s  still loading: {', '.join(loading) or 'Ray'}")
        time.sleep(_POLL_S)
    msg = f"not ready after {_START_TIMEOUT_S:.0f} s:\n{_tail(log)}"
    raise StartError(msg)


def dashboard(log: Path) -> str:
    """Return the dashboard's address: Ray takes the next port if 8265 is taken."""
    found = _DASHBOARD.search(log.read_text(encoding="utf-8", errors="replace"))
    return found.group(0) if found else "http://127.0.0.1:8265"


def _deployment_states(address: str, token: str) -> dict[str, tuple[str, str]]:
    """Return status and message of each deployment; none while Serve is not up."""
    try:
        details = json.loads(_get(f"{address}/api/serve/applications/", token=token))
    except (OSError, ValueError, http.client.HTTPException):
        return {}
    return {
        name: (deployment["status"], deployment["message"])
        for application in details["applications"].values()
        for name, deployment in application["deployments"].items()
    }


def _get(url: str, *, timeout_s: float = 5.0, token: str | None = None) -> bytes:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - our own http address
    with _DIRECT.open(request, timeout=timeout_s) as answer:
        body: bytes = answer.read()
        return body


def _tail(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(lines[-_LOG_TAIL_LINES:])
