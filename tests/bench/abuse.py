"""`python -m tests.bench.abuse`: one key attacks, in twelve ways; what a second key notices."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import secrets
import sys
import tempfile
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import yaml

from tests.bench import command
from tests.bench.report import Check, Section, say, table
from tests.support.attacks import ATTACKS
from tests.support.bystander import Seen, attacking, chats, replicas, resident_bytes
from tests.support.job_clients import ENDED
from tests.support.processes import free_port, started
from tests.support.systems import CPU, Configuration, ours

_CHATS, _QUICK_CHATS = 100, 20
_QUICK_ATTACKS = ("unfinished_bodies", "unread_downloads", "long_streams", "huge_embeddings")
_WARM_UP = 8
_ONSET_S = 5.0
_REST_S = 5.0
_MIN_SUCCEEDED, _MAX_SLOWDOWN, _MAX_HEALTH_MS = 0.95, 3.0, 250.0
_MIB = 2**20
_DOCUMENT = b"The lighthouse of Arvik was lit for the first time in 1847.\n" * 20


@dataclass(frozen=True)
class Site:
    """The service under attack, the keys of both callers, and the port of the hostile pages."""

    url: str
    process: psutil.Process
    attacker: str
    bystander: str
    web_port: int


@dataclass(frozen=True)
class Row:
    """One attack: what the second key saw, replicas that were lost, the ingress's memory."""

    name: str
    seen: Seen
    quiet_s: float
    lost: list[str]
    ingress_mib: float

    @property
    def checks(self) -> list[Check]:
        """Hold what was seen against the promise."""
        slowdown = self.seen.median_s / self.quiet_s
        health_ms = 1000 * self.seen.health_p99_s
        return [
            Check.at_least(f"{self.name}: chats", self.seen.succeeded, _MIN_SUCCEEDED, "{:.0%}"),
            Check.at_most(f"{self.name}: median", slowdown, _MAX_SLOWDOWN, "{:.1f} x quiet"),
            Check.at_most(f"{self.name}: healthz", health_ms, _MAX_HEALTH_MS, "{:.0f} ms"),
            Check.equal(f"{self.name}: replicas lost", len(self.lost)),
        ]

    @property
    def cells(self) -> tuple[str, ...]:
        """The row of the table."""
        marks = ["" if check.holds else " **NO**" for check in self.checks]
        return (
            self.name.replace("_", " "),
            *(f"{check.measured}{mark}" for check, mark in zip(self.checks, marks, strict=True)),
            f"{self.ingress_mib:.0f}",
        )


def main() -> int:
    """Run the bench; return its exit status."""
    options = command.parser("tests.bench.abuse", __doc__)
    options.add_argument("--attacks", nargs="+", choices=ATTACKS, help="only these, and no more")
    return command.run(options, measure)


def measure(options: argparse.Namespace) -> Iterator[Section]:
    """Start a service with two keys, attack it in each way and in all at once, and report."""
    count = _QUICK_CHATS if options.quick else _CHATS
    names = options.attacks or (_QUICK_ATTACKS if options.quick else tuple(ATTACKS))
    rounds = [*((name,) for name in names), *([tuple(names)] if not options.attacks else [])]
    with tempfile.TemporaryDirectory(prefix="genserve-abuse-") as folder, _site(folder) as site:
        asyncio.run(_prepare(site))
        quiet = asyncio.run(chats(site.url, site.bystander, count))
        rows = [_row("quiet", quiet, quiet, site, replicas(site.process))]
        for attack in rounds:
            before = replicas(site.process)
            with attacking(site.url, site.attacker, site.web_port, *attack):
                seen = asyncio.run(_after(_ONSET_S, chats(site.url, site.bystander, count)))
            asyncio.run(_cancel_jobs(site))
            name = attack[0] if len(attack) == 1 else "all at once"
            rows.append(_row(name, seen, quiet, site, before))
            say(" | ".join(rows[-1].cells))
    yield _section(rows)


@contextlib.contextmanager
def _site(folder: str) -> Iterator[Site]:
    system = ours(Configuration.read(CPU), Path(folder))
    path, web_port = Path(system.command.args[-1]), free_port()
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    scraper = document["applications"][0]["args"]["scraper"]
    scraper |= {"allowed_networks": ["127.0.0.0/8"], "allowed_ports": [80, 443, web_port]}
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    keys = [secrets.token_hex(16) for _ in range(2)]
    env = {"GENSERVE_API_KEYS": f"attacker:{keys[0]},bystander:{keys[1]}"}
    say("==> starting the service")
    with started(replace(system.command, env=env), Path(folder) / "log") as process:
        yield Site(system.url, process, keys[0], keys[1], web_port)


async def _prepare(site: Site) -> None:
    headers = {"authorization": f"Bearer {site.bystander}"}
    form = aiohttp.FormData()
    form.add_field("file", _DOCUMENT, filename="arvik.txt")
    async with aiohttp.ClientSession(site.url, headers=headers) as http:
        async with http.post("/upload", data=form) as answer:
            job = f"/v1/jobs/{(await answer.json())['job_id']}"
        while True:
            async with http.get(job) as answer:
                if (await answer.json())["status"] in ENDED:
                    break
            await asyncio.sleep(0.2)
    await chats(site.url, site.bystander, _WARM_UP)


async def _after(seconds: float, work: Coroutine[Any, Any, Seen]) -> Seen:
    await asyncio.sleep(seconds)
    return await work


async def _cancel_jobs(site: Site) -> None:
    """Stop what an attack has left, so that the next one is measured by itself."""
    await asyncio.sleep(_REST_S)
    headers = {"authorization": f"Bearer {site.attacker}"}
    async with aiohttp.ClientSession(site.url, headers=headers) as http:
        for status in ("queued", "running") * 4:
            query = {"status": status, "limit": "100"}
            async with http.get("/v1/jobs", params=query) as answer:
                jobs = (await answer.json())["data"] if answer.ok else []
            for job in jobs:
                async with http.post(f"/v1/jobs/{job['id']}/cancel") as answer:
                    await answer.read()
    await asyncio.sleep(_REST_S)


def _row(name: str, seen: Seen, quiet: Seen, site: Site, before: dict[int, str]) -> Row:
    after = replicas(site.process)
    lost = sorted(before[pid] for pid in before.keys() - after.keys())
    return Row(name, seen, quiet.median_s, lost, resident_bytes(after, "Ingress") / _MIB)


def _section(rows: list[Row]) -> Section:
    headings = ("attack", "chats", "median", "`/healthz` p99", "replicas lost", "ingress, MiB")
    bounds = f"at least {_MIN_SUCCEEDED:.0%}, {_MAX_SLOWDOWN:g} x, {_MAX_HEALTH_MS:g} ms, none"
    body = f"""\
## One key attacks

`make bench-abuse`: `configs/cpu.yaml`, two keys. While the first attacks in one way, and then in
all ways at once, the second asks {len(rows[0].seen.statuses)} chats of 16 tokens, half of them
answered from documents (quiet median {rows[0].quiet_s:.2f} s). Promised: {bounds}.

{table(headings, (row.cells for row in rows))}"""
    raw = [{"attack": row.name, "seen": row.seen, "lost": row.lost} for row in rows]
    return Section("abuse", body, [check for row in rows for check in row.checks], {"rows": raw})


if __name__ == "__main__":
    sys.exit(main())
