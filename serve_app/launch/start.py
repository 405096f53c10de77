"""`genserve serve FILE`: from a configuration file to a ready service, until Ctrl-C.

It checks the file, prepares the models, runs `serve run FILE` with its output in a log and
reports the progress of each deployment until all are ready. `--host` and `--port` replace those
of the file, which in a container, for example, cannot be edited. It starts a Ray of its own,
with a token and a directory that no other Ray of the machine shares.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from deployments.private_files import UMASK, make_private
from serve_app.launch.configuration import (
    api_keys,
    http_options,
    listen_host,
    moved,
    read,
    require_free_port,
    require_keys,
    service_url,
    settings,
)
from serve_app.launch.javascript import scripts_line
from serve_app.launch.progress import StartError, dashboard, say, step, wait_until_ready
from serve_app.launch.ray_directory import ray_tmpdir, sweep
from serve_app.launch.ray_token import token_file
from serve_app.launch.stop import interrupt_on_signals, stop

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
    # Follows from the throughput setting in Ray's documentation, but not in its code.
    "RAY_SERVE_PROXY_USE_GRPC": "1",
    # Ten rounds of control a second are a twentieth of a core, taken from the model.
    "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.5",
    # Ten reports of metrics a second by every replica and handle are a quarter of a slow core.
    "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "2000",
    # Of its buffered log a crash would take up to a thousand lines along.
    "RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE": "1",
    "RAY_AUTH_MODE": "token",
}


def main(arguments: list[str]) -> int:
    """Start, wait, say what to try, and stop on Ctrl-C; return the exit status."""
    asked = _parser().parse_args(arguments)
    began = time.monotonic()
    interrupt_on_signals()
    os.umask(UMASK)
    service: subprocess.Popen[bytes] | None = None
    try:
        step("checking the configuration")
        config = asked.file
        document = read(config)
        host = []
        if asked.host:
            require_keys(asked.host)
            host = ["--host", asked.host]
        nodes = ["--nodes", "local"]  # where this command starts Ray, whatever the file names
        _run_module("serve_app.check", config, *nodes, *host, failure="nothing was started")
        app = settings(document, config)
        data_dir = Path(app.data_dir)
        make_private(data_dir)
        if asked.host or asked.port:
            config = moved(document, asked.host, asked.port, data_dir)
        require_free_port(document)
        step("preparing the models (the first time, some 20 s)")
        _run_module("serve_app.launch.models", config, failure="a model is not available")
        token, tmpdir = token_file(data_dir), ray_tmpdir(data_dir)
        sweep(tmpdir)
        log = data_dir / "logs" / "serve.log"
        step(f"starting Ray Serve (its output goes to {log})")
        service = serve_run(config, log, token, tmpdir)
        wait_until_ready(service, service_url(document), token, log)
        make_private(tmpdir / "ray")  # Ray opens its folders to all users
        step(f"ready after {time.monotonic() - began:.0f} s")
        say(_welcome(document, data_dir, token, dashboard(log), scripts_line(app)))
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
            stop(service)
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
Ray dashboard: {dashboard} (its token is in {token})
Ray Serve's own view of the deployments:
  {status}
Logs of the replicas: {ray}/session_latest/logs/serve
Metrics for Prometheus: {ray}/prom_metrics_service_discovery.json
{reach}
Ctrl-C stops everything.
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="genserve serve",
        description="Check FILE, prepare its models, start the service on this machine and say "
        "what to try. Ctrl-C stops everything.",
        allow_abbrev=False,
    )
    parser.add_argument("file", metavar="FILE", help="the configuration, such as configs/cpu.yaml")
    parser.add_argument("--host", help="in place of its http_options.host")
    parser.add_argument("--port", type=int, help="in place of its http_options.port")
    return parser


def _welcome(
    document: dict[str, Any], data_dir: Path, token: Path, dashboard: str, scripts: str
) -> str:
    return _WELCOME.format(
        url=service_url(document),
        key=" -H 'authorization: Bearer KEY'" if api_keys() else "",
        dashboard=dashboard,
        token=token,
        status=status_command(token, dashboard),
        ray=data_dir / "ray",
        reach="\n".join([*_reach(document), scripts]),
    )


def status_command(token: Path, dashboard: str) -> str:
    """Return the `serve status` that a shell on this machine can run in any directory."""
    serve = Path(sys.executable).with_name("serve")
    program = [str(serve)] if serve.exists() else [sys.executable, "-m", "ray.serve.scripts"]
    variables = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_DASHBOARD_ADDRESS": dashboard,
    }
    assigned = [f"{name}={shlex.quote(value)}" for name, value in variables.items()]
    return " ".join([*assigned, shlex.join([*program, "status"])])


def _reach(document: dict[str, Any]) -> list[str]:
    lines = ["No API keys are set (GENSERVE_API_KEYS): only this machine is answered."]
    if api_keys():
        host = listen_host(document)
        lines = [f"Requests need one of your API keys as KEY; the service listens on {host}."]
    root_path = http_options(document).get("root_path")
    if root_path:
        lines.append(f"For a reverse proxy that removes {root_path} from the path of each request.")
    return lines


def _run_module(module: str, *arguments: str, failure: str) -> None:
    """Run one of our commands in a process of its own, which frees its memory."""
    if subprocess.run([sys.executable, "-m", module, *arguments], check=False).returncode:
        raise StartError(failure)


def serve_run(config: str, log: Path, token: Path, tmpdir: Path) -> subprocess.Popen[bytes]:
    """Start `serve run` on a Ray of its own, in a session of its own."""
    log.parent.mkdir(parents=True, exist_ok=True)
    # An address in the environment would join another Ray.
    own = {
        "RAY_ADDRESS": "local",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_TMPDIR": str(tmpdir),
    }
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "ray.serve.scripts", "run", config],
            env=_ENVIRONMENT | os.environ | own,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is ours to pass on, once
        )
