"""A running service, started as a user starts it, with small real models."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml

from tests.support.faults import Node
from tests.support.paths import ROOT
from tests.support.processes import Command, free_port

AS_INSTALLED = ROOT / "tests" / "integration" / "as_installed"  # before packages only tests have
STOP_TIMEOUT_S = 120
PAGE_TIMEOUT_S = 3.0
KEYS = {name: f"{name}-{secrets.token_hex(16)}" for name in ("tests", "others")}


@dataclass(frozen=True)
class Service:
    """Where the service answers, to whom, what it is called, and the process that runs it."""

    url: str
    key: str
    others_key: str
    model: str
    launcher: psutil.Process
    settings: dict[str, Any]
    output: Path
    """What the launcher wrote to its terminal."""

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key}"}

    def processes(self) -> list[psutil.Process]:
        return [self.launcher, *self.launcher.children(recursive=True)]


@dataclass(frozen=True)
class SecondService:
    """A service that may be killed and redeployed; its configuration, data and spans."""

    node: Node
    config: Path
    data: Path
    spans: Path

    @property
    def url(self) -> str:
        return self.node.url


def ray_session(processes: list[psutil.Process]) -> Path:
    """The folder of the Ray that these processes are, among others on this machine."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            for argument in process.cmdline():
                name, _, value = argument.partition("=")
                if name.strip("-").replace("-", "_") == "session_dir":
                    return Path(value)
    message = "no process of Ray says where its session is"
    raise AssertionError(message)


def configuration(folder: Path, web_port: int) -> tuple[Path, dict[str, Any]]:
    """The shipped CPU configuration on a free port, with its data in a folder of its own."""
    document = yaml.safe_load((ROOT / "configs" / "cpu.yaml").read_text())
    args = document["applications"][0]["args"]
    models = ROOT / args["data_dir"] / "models"
    models.mkdir(parents=True, exist_ok=True)
    data = folder / "data"
    data.mkdir()
    (data / "models").symlink_to(models)  # converted once for all
    document["http_options"]["port"] = free_port()
    args["data_dir"] = str(data)
    args["scraper"] |= {
        "page_timeout_s": PAGE_TIMEOUT_S,
        "allowed_networks": ["127.0.0.0/8"],
        "allowed_ports": [80, 443, web_port],
    }
    args["llm"]["engine_args"]["enable_prompt_tokens_details"] = True  # how many were cached
    args["limits"]["requests_per_minute"] = None  # tests are not people
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(document))
    return path, document


def launch(path: Path, url: str, env: Mapping[str, str]) -> Command:
    """Start the service of a file as `make serve` does."""
    known = {"PYTHONUNBUFFERED": "1", "PYTHONPATH": str(AS_INSTALLED)}
    args = (sys.executable, "-m", "serve_app.launch", str(path))
    return Command(args, f"{url}/readyz", {**known, **env})


def deploy(config: Path, data: Path) -> None:
    """Run `serve deploy` against the dashboard of the service that runs on `data`."""
    log = (data / "logs" / "serve.log").read_text(errors="replace")
    dashboard = re.findall(r"http://127\.0\.0\.1:\d+(?=\s|\x1b)", log)[0]
    environment = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(data / "ray_token")}
    command = [sys.executable, "-m", "ray.serve.scripts", "deploy", str(config)]
    subprocess.run(
        [*command, "--address", dashboard],
        cwd=ROOT,
        env=os.environ | environment,
        check=True,
        timeout=120,
    )
