"""Systems that tests and benches start: the service, and bare vLLM."""

from __future__ import annotations

import contextlib
import copy
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from deployments.model_source import resolve
from tests.support.load import Target
from tests.support.paths import ROOT
from tests.support.processes import Command, free_port

CPU = ROOT / "configs" / "cpu.yaml"
BARE, OURS = "bare vLLM", "ours"
NO_MODEL = dict.fromkeys(("model", "served_name"), "none") | {
    "engine": "openai",
    "base_url": "http://127.0.0.1:9/v1",
}
"""Settings of a language model that never answers, with which a service starts sooner."""

# Plain switches on vLLM's command line: they have no `--no-` form, and are off when left out.
_SWITCHES = frozenset({"disable_log_stats", "aggregate_engine_logging"})
CHAT = "/v1/chat/completions"


@dataclass(frozen=True)
class System:
    """A system: its name, the command that starts it, and the address of its chat route."""

    name: str
    command: Command
    target: Target

    @property
    def url(self) -> str:
        """The address that all routes start with."""
        return self.target.url.removesuffix(CHAT)


@dataclass(frozen=True)
class Configuration:
    """A Serve configuration file, with the folders of its language model and its data."""

    document: Mapping[str, Any]
    model: str
    data_dir: Path

    @classmethod
    def read(cls, path: Path) -> Configuration:
        """Read a file and prepare its models; raises CalledProcessError if that fails."""
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
        """The environment variables that the file sets for the LLM deployment."""
        app = self.document["applications"][0]
        options = next(
            entry.get("ray_actor_options", {})
            for entry in app["deployments"]
            if entry["name"] == "LLM"
        )
        return _env_vars(app) | _env_vars(options)

    def write_copy(self, folder: Path, port: int) -> Path:
        """Write a copy for another port, with an empty data folder that shares these models."""
        data_dir = folder / "data"
        data_dir.mkdir(parents=True)
        models = self.data_dir / "models"
        models.mkdir(parents=True, exist_ok=True)  # missing if no model had to be converted
        (data_dir / "models").symlink_to(models, target_is_directory=True)
        document = copy.deepcopy(dict(self.document))
        document.setdefault("http_options", {}).update(host="127.0.0.1", port=port)
        document["applications"][0]["args"]["data_dir"] = str(data_dir)
        path = folder / "serve.yaml"
        path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
        return path


def bare(configuration: Configuration) -> System:
    """Describe vLLM's own OpenAI server with the same model, engine arguments and environment."""
    port = free_port()
    name = configuration.llm["served_name"]
    args = (
        *(sys.executable, "-m", "vllm.entrypoints.openai.api_server"),
        *("--host", "127.0.0.1", "--port", str(port)),
        *("--model", configuration.model, "--served-model-name", name),
        *cli_flags(configuration.llm.get("engine_args", {})),
    )
    command = Command(args, f"http://127.0.0.1:{port}/health", configuration.environment)
    return System(BARE, command, Target(f"http://127.0.0.1:{port}{CHAT}", name))


def ours(configuration: Configuration, folder: Path) -> System:
    """Describe the whole service as `make serve` starts it, with its data in `folder`."""
    port = free_port()
    path = configuration.write_copy(folder, port)
    command = Command(
        (sys.executable, "-m", "serve_app.launch", str(path)), f"http://127.0.0.1:{port}/readyz"
    )
    target = Target(f"http://127.0.0.1:{port}{CHAT}", configuration.llm["served_name"])
    return System(OURS, command, target)


@contextlib.contextmanager
def edited_args(system: System) -> Iterator[dict[str, Any]]:
    """Edit the application's `args` in the configuration file of one of our systems."""
    path = Path(system.command.args[-1])
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    yield document["applications"][0]["args"]
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")


def cli_flags(engine_args: Mapping[str, Any]) -> list[str]:
    """Convert engine arguments, named as in Python, to options of vLLM's command line."""
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
