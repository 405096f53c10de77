"""`python -m serve_app.launch FILE`: what `make serve` runs, from a file to a ready service.

`--host` and `--port` stand for those of the file, which a container, say, does not change.

It checks the file, prepares the models, runs `serve run FILE` with its output in a log, and
says how far it is until everything answers. Ctrl-C stops everything it started.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
from pathlib import Path
from typing import Any

import yaml

from deployments.settings import Secrets
from serve_app.access.guard import is_loopback
from serve_app.access.keys import OPEN_DOOR, Keys
from serve_app.launch.progress import StartError, dashboard, say, step, wait_until_ready

_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_STOP_TIMEOUT_S = 60.0
# Nothing phones home; and Serve's settings for throughput, measured in tests/bench.
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    # That also opens a second way in, beside the proxy, and waits 30 s for it at every stop.
    "RAY_SERVE_ENABLE_DIRECT_INGRESS": "0",
    # It would listen on all interfaces, whatever the file says.
    "RAY_SERVE_ENABLE_HA_PROXY": "0",
    # Uploads go from the ingress to the parser in one message; the default is 4 MiB.
    "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH": str(512 * 1024**2),
    # Follows from the line above in Ray's documentation, but not in its code.
    "RAY_SERVE_PROXY_USE_GRPC": "1",
    # Ten rounds of control a second are a twentieth of a core, taken from the model.
    "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.5",
    # Of its buffered log a crash would take up to a thousand lines along.
    "RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE": "1",
    "RAY_AUTH_MODE": "token",
}


def main(arguments: list[str]) -> int:
    """Start, wait, announce, and stop on Ctrl-C; the exit status of the command."""
    asked = _asked(arguments)
    config, began = asked.file, time.monotonic()
    # They stop it also where the shell that started it had switched Ctrl-C off.
    for stopping in _STOPPING:
        signal.signal(stopping, signal.default_int_handler)
    service: subprocess.Popen[bytes] | None = None
    try:
        step("checking the configuration")
        # Ray is started on this machine unless RAY_ADDRESS names a running cluster.
        nodes = [] if "RAY_ADDRESS" in os.environ else ["--nodes", "local"]
        run_module("serve_app.check", config, *nodes)
        step("preparing the models (the first time, some 20 s)")
        run_module("serve_app.launch.models", config)
        document = yaml.safe_load(Path(config).read_text(encoding="utf-8"))
        data_dir = Path(document["applications"][0]["args"].get("data_dir", ".data")).expanduser()
        if asked.host or asked.port:
            config = moved(document, asked.host, asked.port, data_dir)
        url = service_url(document)
        _refuse_taken(url)
        token_file = _token_file(data_dir)
        log = data_dir / "logs" / "serve.log"
        step(f"starting Ray Serve (its output goes to {log})")
        service = _serve_run(config, log, token_file)
        wait_until_ready(service, url, token_file, log)
        step(f"ready after {time.monotonic() - began:.0f} s")
        say(
            _WELCOME.format(
                url=url,
                key=" -H 'authorization: Bearer KEY'" if _keys() else "",
                dashboard=dashboard(log),
                token_file=token_file,
                reach=_reach(document),
            )
        )
        status = service.wait()
        raise StartError(f"Ray Serve ended with status {status}; see {log}")
    except KeyboardInterrupt:
        say("\nstopping (some 20 s, for answers under way to end) ...")
        return 0
    except StartError as error:
        say(f"error: {error}")
        return 1
    finally:
        if service is not None:
            _stop(service)
            say("stopped")


_WELCOME = """
Open {url} in a browser, or ask something here:
  curl -s {url}/generate/text -H 'content-type: application/json'{key} \\
    -d '{{"prompt": "Name the capital of France."}}'
Add a document, then ask about it (in the background; {url}/v1/jobs shows how far it is):
  curl -s {url}/upload -F file=@YOUR.pdf{key}
Make pictures:
  curl -s {url}/v1/images/generations -H 'content-type: application/json'{key} \\
    -d '{{"prompt": "a large yellow star on a blue background", "response_format": "url"}}'
Watch an answer arrive (-N), through OpenAI's interface:
  curl -sN {url}/v1/chat/completions -H 'content-type: application/json'{key} \\
    -d '{{"model": "genserve", "stream": true,
         "messages": [{{"role": "user", "content": "Hello!"}}]}}'
API reference: {url}/docs   State of each deployment: {url}/readyz
Ray dashboard: {dashboard} (its token is in {token_file})
{reach}
Ctrl-C stops everything.
"""


def _asked(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m serve_app.launch", allow_abbrev=False)
    parser.add_argument("file", metavar="FILE", help="the configuration")
    parser.add_argument("--host", help="in place of its http_options.host")
    parser.add_argument("--port", type=int, help="in place of its http_options.port")
    return parser.parse_args(arguments)


def moved(document: dict[str, Any], host: str | None, port: int | None, data_dir: Path) -> str:
    """Change where a configuration listens, and write it down for Serve; the new file's path.

    Raises StartError for a host that is for others where there are no keys.
    """
    if host and not is_loopback(host) and not _keys():
        raise StartError(f"--host {host}: {OPEN_DOOR}")
    given = {"host": host, "port": port}
    options = document.setdefault("http_options", {})
    options |= {name: value for name, value in given.items() if value}
    path = data_dir / "served.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return str(path)


def run_module(module: str, *args: str) -> None:
    """Run one of our commands in a process of its own, so that its memory is given back."""
    done = subprocess.run([sys.executable, "-m", module, *args], check=False)
    if done.returncode:
        raise StartError(f"{module} failed")


def service_url(document: dict[str, Any]) -> str:
    """Say where a browser on this machine finds the service."""
    options = document.get("http_options") or {}
    host = options.get("host", "127.0.0.1")
    shown = "127.0.0.1" if host in {"0.0.0.0", "::"} else host  # noqa: S104 - compared, not bound
    shown = f"[{shown}]" if ":" in shown else shown
    return f"http://{shown}:{options.get('port', 8000)}"


def _keys() -> Keys:
    return Keys.read(Secrets().api_keys)


def _reach(document: dict[str, Any]) -> str:
    if not _keys():
        return "No API keys are set (GENSERVE_API_KEYS): only this machine is answered."
    host = (document.get("http_options") or {}).get("host", "127.0.0.1")
    return f"Requests need one of your API keys as KEY; the service listens on {host}."


def _refuse_taken(url: str) -> None:
    where = urllib.parse.urlsplit(url)
    with contextlib.suppress(OSError), socket.create_connection((where.hostname, where.port), 2):
        raise StartError(f"something already answers at {url}: stop it, or set another port")


def _token_file(data_dir: Path) -> Path:
    """Ray runs code for whoever reaches its ports: each installation has a secret for them."""
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", data_dir / "ray_token")).absolute()
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(secrets.token_hex(32), encoding="ascii")
    return path


def _serve_run(config: str, log: Path, token_file: Path) -> subprocess.Popen[bytes]:
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = _ENVIRONMENT | {"RAY_AUTH_TOKEN_PATH": str(token_file), "RAY_ADDRESS": "local"}
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "ray.serve.scripts", "run", config],
            env=environment | os.environ,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is ours to pass on, once
        )


def _stop(service: subprocess.Popen[bytes]) -> None:
    """End `serve run` as Ctrl-C would, then whatever of its session is left."""
    # A second Ctrl-C must not leave processes behind.
    for stopping in _STOPPING:
        signal.signal(stopping, signal.SIG_IGN)
    if service.poll() is None:
        service.send_signal(signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        service.wait(_STOP_TIMEOUT_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(service.pid, signal.SIGKILL)
    service.wait()
