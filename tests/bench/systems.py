"""The three systems that are compared: bare vLLM, the service, and the naive one."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from deployments.model_source import resolve
from tests.support.load import Target
from tests.support.processes import ROOT, Command, free_port

BARE, OURS, NAIVE = "bare vLLM", "ours", "naive"

# Plain switches on vLLM's command line: they have no `--no-` form, and are off when left out.
_SWITCHES = frozenset({"disable_log_stats", "aggregate_engine_logging"})
_CHAT = "/v1/chat/completions"


@dataclass(frozen=True)
class System:
    """A name, how to start it, and whom to ask."""

    name: str
    command: Command
    target: Target


@dataclass(frozen=True)
class Configuration:
    """A Serve configuration file, and the model folder that it means."""

    document: Mapping[str, Any]
    model: str
    data_dir: Path

    @classmethod
    def read(cls, path: Path) -> Configuration:
        """Read it and prepare its models; raises CalledProcessError if they cannot be had."""
        command = [sys.executable, "-m", "serve_app.launch.models", str(path)]
        subprocess.run(command, cwd=ROOT, check=True)
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        args = document["applications"][0]["args"]
        data_dir = ROOT / Path(args.get("data_dir", ".data")).expanduser()
        return cls(document, resolve(args["llm"]["model"], data_dir), data_dir)

    @property
    def llm(self) -> Mapping[str, Any]:
        """The settings of the language model."""
        llm: Mapping[str, Any] = self.document["applications"][0]["args"]["llm"]
        return llm

    @property
    def environment(self) -> dict[str, str]:
        """What the replica of the language model gets from the file."""
        app = self.document["applications"][0]
        options = next(
            entry.get("ray_actor_options", {})
            for entry in app["deployments"]
            if entry["name"] == "LLM"
        )
        return _env_vars(app) | _env_vars(options)

    def write_copy(self, folder: Path, port: int) -> Path:
        """Write the same file for another port and an empty data folder with these models."""
        data_dir = folder / "data"
        data_dir.mkdir(parents=True)
        models = self.data_dir / "models"
        models.mkdir(parents=True, exist_ok=True)  # not there if nothing had to be converted
        (data_dir / "models").symlink_to(models, target_is_directory=True)
        document = copy.deepcopy(dict(self.document))
        document.setdefault("http_options", {}).update(host="127.0.0.1", port=port)
        document["applications"][0]["args"]["data_dir"] = str(data_dir)
        path = folder / "serve.yaml"
        path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
        return path


def bare(configuration: Configuration) -> System:
    """Run vLLM's own OpenAI server, with the same model, engine arguments and environment."""
    port = free_port()
    name = configuration.llm["served_name"]
    args = (
        *(sys.executable, "-m", "vllm.entrypoints.openai.api_server"),
        *("--host", "127.0.0.1", "--port", str(port)),
        *("--model", configuration.model, "--served-model-name", name),
        *cli_flags(configuration.llm.get("engine_args", {})),
    )
    command = Command(args, f"http://127.0.0.1:{port}/health", configuration.environment)
    return System(BARE, command, Target(f"http://127.0.0.1:{port}{_CHAT}", name))


def ours(configuration: Configuration, folder: Path) -> System:
    """Run the whole service as `make serve` does, asked for the bare model."""
    port = free_port()
    path = configuration.write_copy(folder, port)
    command = Command(
        (sys.executable, "-m", "serve_app.launch", str(path)), f"http://127.0.0.1:{port}/readyz"
    )
    target = Target(f"http://127.0.0.1:{port}{_CHAT}", configuration.llm["served_name"])
    return System(OURS, command, target)


def naive(configuration: Configuration) -> System:
    """Run the handler around Hugging Face `generate`."""
    port = free_port()
    command = Command(
        (sys.executable, "-m", "tests.bench.naive", configuration.model, str(port)),
        f"http://127.0.0.1:{port}/health",
        configuration.environment,
    )
    return System(NAIVE, command, Target(f"http://127.0.0.1:{port}{_CHAT}", "", streams=False))


def cli_flags(engine_args: Mapping[str, Any]) -> list[str]:
    """Write engine arguments, named as in Python, as vLLM's command line takes them."""
    flags: list[str] = []
    for name, value in engine_args.items():
        flag = name.replace("_", "-")
        match value:
            case None:
                continue
            case True:
                flags.append(f"--{flag}")
            case False:
                flags += [] if name in _SWITCHES else [f"--no-{flag}"]
            case Mapping():
                flags += [f"--{flag}", json.dumps(dict(value))]
            case list():
                flags += [f"--{flag}", *map(str, value)]
            case _:
                flags += [f"--{flag}", str(value)]
    return flags


def _env_vars(options: Mapping[str, Any]) -> dict[str, str]:
    given = options.get("runtime_env", {}).get("env_vars", {})
    return {name: str(value) for name, value in given.items()}
