"""`python -m tests.bench.catalogue`: time the catalogue, in SQLite, at several sizes.

One process, one call after the other. The documents are rows only: nothing is embedded.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import psutil
import sqlalchemy as sa

from deployments.catalogue.catalogue import Catalogue
from deployments.catalogue.entries import CollectionEntry, PageQuery, Upload, VersionStatus
from deployments.catalogue.opening import open_catalogue
from deployments.catalogue.removals import Removal
from deployments.catalogue.tables import COLLECTIONS, DOCUMENTS, VERSIONS
from tests.bench import command
from tests.bench.report import Check, Section, checks_table, percentile, say, table

_DOCUMENTS = (1_000, 10_000, 100_000)
_COLLECTIONS, _IN_EACH = 10_000, 10
_QUICK = 10
_CALLS = 200
_PAGE = 20
_MAX_P50_MS = 50.0
_OWNER = "bench"

Calls = dict[str, Callable[[Catalogue, int], Awaitable[object]]]


def main() -> int:
    """Run the bench; return its exit status."""
    return command.run(command.parser("tests.bench.catalogue", __doc__), measure)


def measure(options: argparse.Namespace) -> Iterator[Section]:
    """Fill catalogues and time calls of them."""
    divisor = _QUICK if options.quick else 1
    rows: list[tuple[str, ...]] = []
    slowest = 0.0
    with tempfile.TemporaryDirectory(prefix="genserve-catalogue-") as name:
        for number, documents in enumerate(size // divisor for size in _DOCUMENTS):
            fill, calls = _one_collection(documents)
            found = _found(Path(name) / f"{number}.sqlite", fill, calls)
            slowest = max(slowest, found.slowest_ms)
            rows += found.rows(f"{documents:,} documents")
        collections = _COLLECTIONS // divisor
        fill, calls = _many_collections(collections)
        found = _found(Path(name) / "collections.sqlite", fill, calls)
        slowest = max(slowest, found.slowest_ms)
        rows += found.rows(f"{collections:,} collections of {_IN_EACH}")
    check = Check.at_most("the slowest p50", slowest, _MAX_P50_MS, "{:.1f} ms")
    body = f"""\
## The catalogue

`make bench-catalogue`: {_CALLS} calls of each kind, one after the other, in one process, on SQLite.
An upload adds a version and completes it (two transactions), as a job does; a deletion removes the
rows and then the removal (two transactions). A page has {_PAGE} entries, from a random place on.

{checks_table([check])}

{table(("size", "call", "p50, ms", "p99, ms"), rows)}"""
    yield Section("catalogue", body, [check])


class _Found:
    def __init__(self) -> None:
        self.calls_ms: dict[str, list[float]] = {}
        self.database_mib = 0.0
        self.memory_mib = 0.0

    @property
    def slowest_ms(self) -> float:
        return max(percentile(values, 50) for values in self.calls_ms.values())

    def rows(self, size: str) -> list[tuple[str, ...]]:
        """Return the rows of the table."""
        timed = [
            (size, name, f"{percentile(values, 50):.2f}", f"{percentile(values, 99):.2f}")
            for name, values in self.calls_ms.items()
        ]
        stored = f"database {self.database_mib:.0f} MiB, process {self.memory_mib:.0f} MiB"
        return [*timed, (size, stored, "", "")]


def _found(path: Path, fill: Callable[[Catalogue], Awaitable[None]], calls: Calls) -> _Found:
    found = asyncio.run(_timed(path, fill, calls))
    found.database_mib = path.stat().st_size / 2**20
    return found


async def _timed(path: Path, fill: Callable[[Catalogue], Awaitable[None]], calls: Calls) -> _Found:
    catalogue = open_catalogue(f"sqlite:///{path}")
    found = _Found()
    began = time.monotonic()
    await fill(catalogue)
    say(f"filled in {time.monotonic() - began:.0f} s")
    for name, call in calls.items():
        times = found.calls_ms[name] = []
        for number in range(_CALLS):
            started = time.perf_counter()
            await call(catalogue, number)
            times.append((time.perf_counter() - started) * 1000)
    found.memory_mib = psutil.Process().memory_info().rss / 2**20
    catalogue.close()
    return found


def _one_collection(documents: int) -> tuple[Callable[[Catalogue], Awaitable[None]], Calls]:
    collection = f"{_OWNER}.papers"
    fresh = count()

    async def fill(catalogue: Catalogue) -> None:
        await _add(catalogue, collection, documents)

    def some_id(number: int) -> str:
        return f"doc_{number * 7919 % documents:032x}"

    async def upload(catalogue: Catalogue, _: int) -> None:
        number = next(fresh)
        name = f"new-{number}.txt"
        begun = await catalogue.versions.begin(
            Upload(collection, name, 1000, f"{number:064x}", f"job_{number}")
        )
        await catalogue.versions.complete(replace(begun.document, chunks=10))

    async def delete(catalogue: Catalogue, number: int) -> None:
        document_id = f"doc_{number:032x}"
        await catalogue.documents.remove(collection, document_id)
        await catalogue.removals.done(Removal(collection, document_id))

    return fill, {
        "existence": lambda catalogue, n: catalogue.documents.get(collection, some_id(n)),
        "page of documents": lambda catalogue, n: catalogue.documents.page(
            collection, PageQuery(_PAGE, some_id(n))
        ),
        "counts of the collection": lambda catalogue, _: catalogue.collections.get(collection),
        "current versions of 32": lambda catalogue, n: catalogue.documents.current(
            collection, [some_id(n + other) for other in range(32)]
        ),
        "upload": upload,
        "deletion": delete,
    }


def _many_collections(
    collections: int,
) -> tuple[Callable[[Catalogue], Awaitable[None]], Calls]:
    async def fill(catalogue: Catalogue) -> None:
        for number in range(collections):
            await _add(catalogue, _store(number), _IN_EACH)

    async def create(catalogue: Catalogue, number: int) -> None:
        entry = CollectionEntry(_store(collections + number), "New", 1)
        await catalogue.collections.add(entry)

    def place(number: int) -> str:
        return _store(number * 7919 % collections)

    return fill, {
        "create": create,
        "page of collections": lambda catalogue, n: catalogue.collections.page(
            _OWNER, PageQuery(_PAGE, place(n))
        ),
        "existence and counts": lambda catalogue, n: catalogue.collections.get(place(n)),
    }


def _store(number: int) -> str:
    return f"{_OWNER}.vs_{number:024x}"


async def _add(catalogue: Catalogue, collection: str, documents: int) -> None:
    """Add a collection with completed documents, in one transaction."""
    await catalogue.collections.add(CollectionEntry(collection, "Papers", 1))
    completed = VersionStatus.COMPLETED.value
    named = [(f"doc_{number:032x}", f"document-{number}.txt") for number in range(documents)]

    def add(connection: sa.Connection) -> None:
        connection.execute(
            DOCUMENTS.insert(),
            [
                {"collection": collection, "id": id_, "name": name, "status": completed}
                | {"version": 1}
                for id_, name in named
            ],
        )
        connection.execute(
            VERSIONS.insert(),
            [
                {"collection": collection, "document_id": id_, "number": 1, "status": completed}
                | {"digest": id_, "author": _OWNER, "filename": name, "title": name}
                | {"media_type": "text/plain", "size_bytes": 1000, "chunks": 10}
                | {"created_ms": 0, "job_id": id_}
                for id_, name in named
            ],
        )
        connection.execute(
            COLLECTIONS.update()
            .where(COLLECTIONS.c.id == collection)
            .values(completed=documents, size_bytes=1000 * documents)
        )

    await catalogue._database.write(add)


if __name__ == "__main__":
    sys.exit(main())
