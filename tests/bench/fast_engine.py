"""`python -m tests.bench.fast_engine`: the cost of the graph per token, beside bare vLLM.

The model is one random layer, so that the engine is about as fast as on a GPU and the way of the
tokens is most of the work. Each round starts every system once, one at a time.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import copy
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from tests.bench import command
from tests.bench.report import Check, Section, Spread, checks_table, say, table
from tests.bench.serving import Level, at_level
from tests.bench.serving_figures import Figures, paired
from tests.support.load import questions
from tests.support.processes import free_port, started
from tests.support.systems import BARE, CHAT, CPU, OURS, Configuration, System, bare, ours

_ROUNDS = 5
_TOKENS = 256
_LEVELS = [Level(1, 12), Level(8, 48), Level(32, 128), Level(128, 256), Level(512, 512)]
_QUICK_LEVELS = [Level(1, 2), Level(8, 16), Level(32, 64)]
_MIN_RATIO = {1: 0.95, 8: 0.95, 32: 0.85, 128: 0.85}
_CPU_CLIENTS, _MAX_CPU_US = 32, 120.0
_ONCE_CLIENTS = 512  # to see that all are answered; takes minutes
_SEED = 14
_AT_ONCE = 512
DIRECT = "ours, direct ingress"
_PATH = ("genserve:LLM", "genserve:Ingress", "ProxyActor")  # a token's, in our processes


def make_model(folder: Path, tokenizer: str) -> None:
    """Write a model of one random layer, 3 million parameters, with the tokenizer of another."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(_SEED)
    words = AutoTokenizer.from_pretrained(tokenizer)
    config = LlamaConfig(
        vocab_size=49152,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
    )
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    words.save_pretrained(folder)


def measure(options: argparse.Namespace) -> Iterator[Section]:
    """Measure round by round; yield the section after each."""
    levels = _QUICK_LEVELS if options.quick else _LEVELS
    if options.clients:
        levels = [level for level in _LEVELS if level.clients in options.clients]
    rounds = 1 if options.quick else options.rounds
    default = Configuration.read(CPU)
    measured: list[Figures] = []
    with tempfile.TemporaryDirectory(prefix="genserve-bench-") as text:
        folder = Path(text)
        make_model(folder / "model", default.model)
        prepared = configuration(default, folder / "model")
        for number in range(1, rounds + 1):
            systems = [ours(prepared, folder / f"ours-{number}")]
            if not options.only_ours:
                direct = _without_proxy(ours(prepared, folder / f"direct-{number}"))
                systems = [direct, *systems, bare(prepared)]
            asked = [level for level in levels if number == 1 or level.clients < _ONCE_CLIENTS]
            for system in systems if number % 2 else reversed(systems):
                say(f"==> round {number} of {rounds}: starting {system.name}")
                measured += _figures(system, asked, number, folder)
            yield _section(measured)


def configuration(default: Configuration, model: Path, at_once: int = _AT_ONCE) -> Configuration:
    """Return the default configuration for the fast model, with room for all clients."""
    document = copy.deepcopy(dict(default.document))
    app = document["applications"][0]
    app["args"]["llm"].update(model=str(model), served_name="fast")
    app["args"]["llm"]["engine_args"].update(max_num_seqs=at_once, stream_interval=1)
    app["args"].setdefault("limits", {})["requests_per_minute"] = None
    for deployment in app["deployments"]:
        if deployment["name"] == "LLM":
            # An eighth of them is not for answers.
            deployment["max_ongoing_requests"] = at_once * 8 // 7 + 1
            deployment["max_queued_requests"] = at_once  # until Serve has sent them on
        elif deployment["name"] == "Ingress":
            deployment["max_ongoing_requests"] = 2 * at_once
            deployment["max_queued_requests"] = 2 * at_once
    return Configuration(document, str(model), default.data_dir)


def _without_proxy(system: System) -> System:
    """Have clients connect to the ingress replica, which Serve calls direct ingress."""
    first = free_port()
    env = {
        "RAY_SERVE_ENABLE_DIRECT_INGRESS": "1",
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(first),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(first + 10),
    }
    url = f"http://127.0.0.1:{first}{CHAT}"
    command = replace(system.command, env={**system.command.env, **env})
    return System(DIRECT, command, replace(system.target, url=url))


def _figures(system: System, levels: list[Level], number: int, folder: Path) -> list[Figures]:
    target = replace(system.target, tokens=_TOKENS)
    measured = []
    with started(system.command, folder / f"{system.name}-{number}.log") as process:
        prompts = questions()
        for level in levels:
            figures = asyncio.run(
                at_level(replace(system, target=target), process, level, prompts, number)
            )
            figures = replace(figures, memory_mib=_memory_mib(process))
            say(f"    {figures}, {figures.tokens_per_s:.0f} tokens/s, {_cpu_text(figures)}")
            measured.append(figures)
    return measured


def _memory_mib(process: psutil.Process) -> float:
    """Return what all processes of a system share with no other."""
    total = 0
    for one in (process, *process.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += one.memory_full_info().uss
    return total / 1024**2


def _cpu_us(figures: Figures) -> dict[str, float]:
    """Return the CPU microseconds per event with text, by process."""
    return {
        name: spent * 1000 / figures.events
        for name, spent in figures.cpu_ms_by_process.items()
        if spent * 1000 / figures.events >= 1
    }


def _path_us(figures: Figures) -> float:
    return sum(us for name, us in _cpu_us(figures).items() if any(part in name for part in _PATH))


def _cpu_text(figures: Figures) -> str:
    spent = sorted(_cpu_us(figures).items(), key=lambda item: -item[1])
    return "us per event: " + ", ".join(f"{name} {us:.0f}" for name, us in spent[:6])


def _section(measured: list[Figures]) -> Section:
    checks: list[Check] = []
    rows: list[tuple[object, ...]] = []
    for clients in sorted({one.clients for one in measured}):
        for system in (OURS, DIRECT):
            rate = paired(
                measured, BARE, clients, lambda a, b: a.tokens_per_s / b.tokens_per_s, ours=system
            )
            if rate and clients in _MIN_RATIO:
                what = f"tokens/s, {system} / bare, {clients} clients"
                checks.append(Check.at_least(what, rate.median, _MIN_RATIO[clients], "{:.2f}"))
        for system in (BARE, OURS, DIRECT):
            some = [one for one in measured if (one.clients, one.system) == (clients, system)]
            if some:
                rows.append(_row(clients, system, some))
    for system in (OURS, DIRECT):
        asked = (_CPU_CLIENTS, system)
        path = [_path_us(one) for one in measured if (one.clients, one.system) == asked]
        if path:
            what = f"CPU per event of LLM, ingress and proxy, {_CPU_CLIENTS} clients, {system}"
            checks.append(Check.at_most(what, Spread.of(path).median, _MAX_CPU_US, "{:.0f} us"))
    errors = sum(one.errors for one in measured)
    checks.append(Check.equal("requests that failed", errors))
    headings = ("clients", "system", "tokens/s", "events/s", "first token p50, ms")
    body = f"""\
## A fast engine: the cost of the graph per token

`make bench-tokens`: a model of one random layer, {_TOKENS} tokens per request,
`stream_interval` 1. All systems are started once a round, one at a time, in changing order, on the
same cores as the clients. {_ONCE_CLIENTS} clients ask in the first round only. With direct
ingress, clients connect to the ingress replica instead of Serve's proxy.

{checks_table(checks)}

{table((*headings, "p99", "gap p99, ms", "memory, MiB", "CPU per event, us"), rows)}"""
    raw = {"measured": [one.as_json() for one in measured]}
    return Section("fast_engine", body, checks, raw)


def _row(clients: int, system: str, some: list[Figures]) -> tuple[object, ...]:
    def spread(values: list[float]) -> str:
        return str(Spread.of(values))

    by_process: Mapping[str, Any] = _cpu_us(some[-1])
    spent = ", ".join(f"{name} {us:.0f}" for name, us in sorted(by_process.items()))
    return (
        clients,
        system,
        spread([one.tokens_per_s for one in some]),
        spread([one.events * one.requests_per_s for one in some]),
        spread([one.first_p50_ms for one in some]),
        spread([one.first_p99_ms for one in some]),
        spread([one.gap_p99_ms or 0.0 for one in some]),
        spread([one.memory_mib or 0.0 for one in some]),
        spent,
    )


def main() -> int:
    """Run the bench; return its exit status."""
    options = command.parser("tests.bench.fast_engine", __doc__)
    options.add_argument("--rounds", type=int, default=_ROUNDS)
    options.add_argument("--clients", type=int, nargs="+", help="only these numbers of clients")
    options.add_argument("--only-ours", action="store_true", help="without bare vLLM")
    return command.run(options, measure, errors=(ValueError,))


if __name__ == "__main__":
    sys.exit(main())
