"""`python -m tests.bench.abuse`: one key attacks, in twelve ways; what a second key notices."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from tests.bench import command
from tests.bench.report import Check, Section, say, table
from tests.support.attacked_service import Site, attacked_service, cancel_jobs, prepare
from tests.support.attacks import ATTACKS, ran
from tests.support.bystander import Seen, attacking, chats, replicas, resident_bytes

_CHATS, _QUICK_CHATS = 100, 20
_QUICK_ATTACKS = ("unfinished_bodies", "unread_downloads", "long_streams", "huge_embeddings")
_ONSET_S = 5.0
_MIN_SUCCEEDED, _MAX_SLOWDOWN, _MAX_HEALTH_MS = 0.95, 3.0, 250.0
_MIB = 2**20


@dataclass(frozen=True)
class Row:
    """A round: what the second key saw, lost replicas, the ingress's memory, what attacked."""

    name: str
    seen: Seen
    quiet_s: float
    lost: list[str]
    ingress_mib: float
    attacks: dict[str, Counter[str]]

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
            Check.equal(f"{self.name}: attacks that did not run", len(self.idle)),
        ]

    @property
    def idle(self) -> list[str]:
        """The attacks that sent too little, or of which nothing reached what it attacks."""
        return [name for name, seen in self.attacks.items() if not ran(name, seen)]

    @property
    def cells(self) -> tuple[str, ...]:
        """The row of the table."""
        sent = sum(self.attacks.values(), Counter[str]())
        marks = ["" if check.holds else " **NO**" for check in self.checks]
        return (
            self.name.replace("_", " "),
            *(f"{check.measured}{mark}" for check, mark in zip(self.checks, marks, strict=True)),
            f"{self.ingress_mib:.0f}",
            ", ".join(f"{what} {number}" for what, number in sorted(sent.items())),
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
    say("==> starting the service")
    rounds = [*((name,) for name in names), *([tuple(names)] if not options.attacks else [])]
    with (
        tempfile.TemporaryDirectory(prefix="genserve-abuse-") as folder,
        attacked_service(folder) as site,
    ):
        asyncio.run(prepare(site))
        rows: list[Row] = []
        for attack in ((), *rounds):
            before = replicas(site.process)
            with attacking(site.url, site.attacker, site.web_port, *attack) as attacks:
                seen = asyncio.run(_chats(site, count, _ONSET_S if attack else 0))
            if attack:
                asyncio.run(cancel_jobs(site))
            after = replicas(site.process)
            quiet_s = rows[0].quiet_s if rows else seen.median_s
            lost = sorted(before[pid] for pid in before.keys() - after.keys())
            ingress_mib = resident_bytes(after, "Ingress") / _MIB
            name = " ".join(attack) or "quiet" if len(attack) < 2 else "all at once"
            rows.append(Row(name, seen, quiet_s, lost, ingress_mib, attacks))
            say(" | ".join(rows[-1].cells))
    yield _section(rows)


async def _chats(site: Site, count: int, after_s: float) -> Seen:
    await asyncio.sleep(after_s)
    return await chats(site.url, site.bystander, count)


def _section(rows: list[Row]) -> Section:
    headings = (
        *(
            "attack",
            "chats",
            "median",
            "`/healthz` p99",
            "replicas lost",
            "attacks that did not run",
        ),
        *("ingress, MiB", "sent by the attacks, and answered with"),
    )
    bounds = (
        f"at least {_MIN_SUCCEEDED:.0%}, {_MAX_SLOWDOWN:g} x, {_MAX_HEALTH_MS:g} ms, none, none"
    )
    body = f"""\
## One key attacks

`make bench-abuse`: `configs/cpu.yaml` without its limit of requests a minute, which would hold off
most of the attacks; two keys. While the first attacks in one way, and then in
all ways at once, the second asks {len(rows[0].seen.statuses)} chats of 16 tokens, half of them
answered from documents (quiet median {rows[0].quiet_s:.2f} s). Promised: {bounds}.
An attack did not run if it sent too little, or if nothing it sent reached what it attacks. The
clock of `/healthz` stops while the bench itself waits for one of the machine's cores.

{table(headings, (row.cells for row in rows))}"""
    raw = [dict(vars(row)) for row in rows]
    return Section("abuse", body, [check for row in rows for check in row.checks], {"rows": raw})


if __name__ == "__main__":
    sys.exit(main())
