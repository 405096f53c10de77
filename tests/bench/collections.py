"""`python -m tests.bench.collections`: time catalogue and embedded store at several sizes.

One process, one call after the other. Texts are made up, vectors are random and ready, so no
embedding is timed.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import psutil
import sqlalchemy as sa
from qdrant_edge import SparseVector

from deployments.catalogue.catalogue import Catalogue
from deployments.catalogue.entries import CollectionEntry, PageQuery, Upload, VersionStatus
from deployments.catalogue.opening import open_catalogue
from deployments.catalogue.removals import Removal
from deployments.catalogue.tables import COLLECTIONS, DOCUMENTS, VERSIONS
from deployments.file_store import FileStore
from deployments.interfaces import Embedder
from deployments.jobs.doctor.doctor import Doctor
from deployments.jobs.doctor.documents import Grace
from deployments.retriever import points
from deployments.retriever.bm25 import LexicalEncoder
from deployments.retriever.document_retriever import DocumentRetriever
from deployments.retriever.edge.index import Index
from deployments.retriever.edge.store import EdgeStore
from deployments.retriever.embedding import index_of
from deployments.settings import RetrieverSettings
from deployments.types import Chunk, Document
from tests.bench import command
from tests.bench.report import Check, Section, checks_table, percentile, say, table
from tests.support.made_up_documents import DIMENSIONS, RandomVectors, Words

if TYPE_CHECKING:
    from deployments.jobs.reconciliation import Backend

_CHUNKS = 10  # of each document
_DOCUMENTS = (1_000, 10_000, 20_000, 100_000)
_COLLECTIONS, _IN_EACH = 10_000, 10
_QUICK = 20
_CALLS, _WARM_UP = 200, 5
_PAGE = 20
_WORDS_OF_A_CHUNK, _TEXTS = 65, 2_000
_PASSAGES, _CHARS = 4, 3000
_SLICE = 1_000
_DELETED = 2_000  # documents
_COMPACTED_S = 60.0
_MAX_P50_MS, _MAX_SEARCH_MS, _LARGEST = 50.0, 300.0, 1_000_000
_MAX_PAUSE_MS = 100.0
_SEARCH = "search"
_CHUNKER = 1
_OWNER = "bench"
_PAPERS = f"{_OWNER}.papers"


@dataclass
class Library:
    """A catalogue and the vectors of its documents."""

    catalogue: Catalogue
    store: EdgeStore
    retriever: DocumentRetriever
    words: Words
    fresh: Iterator[int] = field(default_factory=count)


Calls = dict[str, Callable[[Library, int], Awaitable[object]]]


@dataclass
class Found:
    """What was measured at one size."""

    name: str
    chunks: int
    calls_ms: dict[str, list[float]] = field(default_factory=dict)
    fill_s: float = 0.0
    disk_mib: float = 0.0
    memory_mib: float = 0.0
    pause_ms: float = 0.0
    compaction_s: float = 0.0
    compacted: bool = False
    compaction_pause_ms: float = 0.0
    compaction_search_ms: float = 0.0
    doctor_s: float = 0.0
    doctor_pause_ms: float = 0.0
    doctor_search_ms: float = 0.0
    doctor_mib: float = 0.0

    def p50(self, name: str) -> float:
        """Return the median milliseconds of a call."""
        return percentile(self.calls_ms[name], 50)

    @property
    def compacted_in(self) -> str:
        """How many seconds a compaction took."""
        return f"{'' if self.compacted else 'over '}{self.compaction_s:.0f}"

    def rows(self) -> list[tuple[str, ...]]:
        """Return the rows of the table of calls."""
        return [
            (self.name, name, f"{percentile(values, 50):.2f}", f"{percentile(values, 99):.2f}")
            for name, values in self.calls_ms.items()
        ]

    def stored(self) -> tuple[str, ...]:
        """Return the row of the table of sizes."""
        sizes = f"{self.disk_mib:.0f}", f"{self.memory_mib:.0f}", f"{self.fill_s:.0f}"
        compaction = self.compacted_in, f"{self.compaction_search_ms:.1f}"
        pauses = f"{self.pause_ms:.0f}", f"{self.compaction_pause_ms:.0f}"
        return (self.name, *sizes, *compaction, *pauses)

    def examined(self) -> tuple[str, ...]:
        """Return the row of the table of the doctor."""
        meanwhile = f"{self.doctor_search_ms:.1f}", f"{self.doctor_pause_ms:.0f}"
        return (self.name, f"{self.doctor_s:.0f}", *meanwhile, f"{self.doctor_mib:.0f}")


class Heartbeat:
    """Measures the longest time for which another thread of the process could not run."""

    def __init__(self) -> None:
        self._longest = 0.0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()

    def longest_ms(self) -> float:
        """Return the longest pause since the last call."""
        longest, self._longest = self._longest, 0.0
        return longest * 1000

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        self._thread.join()

    def _beat(self) -> None:
        last = time.perf_counter()
        while not self._stopped.wait(0.001):
            now = time.perf_counter()
            self._longest = max(self._longest, now - last)
            last = now


def main() -> int:
    """Run the bench; return its exit status."""
    return command.run(command.parser("tests.bench.collections", __doc__), measure)


def measure(options: argparse.Namespace) -> Iterator[Section]:
    """Fill collections and time calls."""
    divisor = _QUICK if options.quick else 1
    found = []
    for documents in (size // divisor for size in _DOCUMENTS):
        name = f"{documents:,} documents, {documents * _CHUNKS:,} chunks"
        one = Found(name, documents * _CHUNKS)
        found.append(asyncio.run(_timed(one, [(_PAPERS, documents)], _one_collection(documents))))
    collections = _COLLECTIONS // divisor
    name = f"{collections:,} collections of {_IN_EACH}"
    many = Found(name, collections * _IN_EACH * _CHUNKS)
    stores = [(_store(number), _IN_EACH) for number in range(collections)]
    found.append(asyncio.run(_timed(many, stores, _many_collections(collections))))
    others = [one.p50(name) for one in found for name in one.calls_ms if name != _SEARCH]
    smaller = [one.p50(_SEARCH) for one in found if one.chunks < _LARGEST // divisor]
    largest = [one.p50(_SEARCH) for one in found if one.chunks >= _LARGEST // divisor]
    pauses = [max(one.pause_ms, one.compaction_pause_ms, one.doctor_pause_ms) for one in found]
    checks = [
        Check.at_most("the slowest p50 but for searches", max(others), _MAX_P50_MS, "{:.1f} ms"),
        Check.at_most("p50 of a search, smaller sizes", max(smaller), _MAX_P50_MS, "{:.1f} ms"),
        Check.at_most("p50 of a search, the largest", max(largest), _MAX_SEARCH_MS, "{:.1f} ms"),
        Check.at_most("longest pause of another thread", max(pauses), _MAX_PAUSE_MS, "{:.0f} ms"),
    ]
    body = f"""\
## Collections that grow

`make bench-collections`: {_CALLS} calls of each kind, one after the other, in one process, on
SQLite and the embedded store. An upload adds a version, publishes its {_CHUNKS} chunks and
completes it; a deletion removes the rows and the chunks. A page has {_PAGE} entries, from a random
place on. A search finds {_PASSAGES} passages of {_CHARS} characters, by words and by vectors.
Embedding is left out: vectors are random, of {DIMENSIONS} dimensions. Then at most {_DELETED:,}
documents are deleted, and the index is compacted for {_COMPACTED_S:.0f} s at most, while searches
go on. A pause is the longest time for which another thread of the process could not run.

{checks_table(checks)}

{table(("size", "call", "p50, ms", "p99, ms"), [row for one in found for row in one.rows()])}

{table(_SIZES, [one.stored() for one in found])}

The doctor looks at everything, except at contents of files, while searches go on.

{table(_DOCTOR, [one.examined() for one in found])}"""
    yield Section("collections", body, checks)


_SIZES = (
    *("size", "disk, MiB", "process, MiB", "filled, s", "compacted, s"),
    *("search meanwhile, p50, ms", "longest pause, ms", "the same, compacting"),
)


_DOCTOR = (
    *("size", "a run of the doctor, s", "search meanwhile, p50, ms"),
    *("longest pause, ms", "more memory, MiB"),
)


async def _timed(found: Found, collections: list[tuple[str, int]], calls: Calls) -> Found:
    with tempfile.TemporaryDirectory(prefix="genserve-collections-") as name:
        folder = Path(name)
        async with _opened(folder) as library:
            began = time.monotonic()
            await _fill(library, folder, collections)
            found.fill_s = time.monotonic() - began
            say(f"{found.name}: filled in {found.fill_s:.0f} s")
        async with _opened(folder) as library:  # as after a restart
            heart = Heartbeat()
            for call_name, call in calls.items():
                for number in range(_WARM_UP):
                    await call(library, _CALLS + number)
                times = found.calls_ms[call_name] = []
                for number in range(_CALLS):
                    started = time.perf_counter()
                    await call(library, number)
                    times.append((time.perf_counter() - started) * 1000)
                say(f"{found.name}: {call_name} {found.p50(call_name):.2f} ms")
            found.pause_ms = heart.longest_ms()
            found.memory_mib = psutil.Process().memory_info().rss / 2**20
            found.disk_mib = _disk_mib(folder)
            await _examine(found, library, folder, collections[0][0], heart)
            await _compact(found, library, collections, heart)
            heart.stop()
    return found


async def _examine(
    found: Found, library: Library, folder: Path, collection: str, heart: Heartbeat
) -> None:
    """Run the doctor as in a service, asking meanwhile."""
    doctor = Doctor(
        library.catalogue,
        cast("Backend", library.retriever),
        FileStore(str(folder / "files")),
        f"sqlite:///{folder}/catalogue.sqlite",
        submit=None,
        grace=Grace(),
    )
    process, asked = psutil.Process(), []
    before = most = process.memory_info().rss
    heart.longest_ms()
    run = asyncio.create_task(doctor.run(mend=False, thorough=False))
    while not run.done():
        started = time.perf_counter()
        await _search(library, collection)
        asked.append((time.perf_counter() - started) * 1000)
        most = max(most, process.memory_info().rss)
        await asyncio.sleep(0.05)
    report = await run
    found.doctor_s, found.doctor_mib = report.took_s, (most - before) / 2**20
    found.doctor_search_ms = percentile(asked, 50)
    found.doctor_pause_ms = heart.longest_ms()
    say(f"{found.name}: looked at {dict(report.looked_at)} in {found.doctor_s:.0f} s")


async def _compact(
    found: Found, library: Library, collections: list[tuple[str, int]], heart: Heartbeat
) -> None:
    """Delete the chunks of every other document and compact the index, asking meanwhile."""
    half = [(name, f"doc_{n:032x}") for name, size in collections for n in range(0, size, 2)]
    for collection, document_id in half[:_DELETED]:
        await library.store.delete(collection, document_id)
    heart.longest_ms()
    began, asked = time.monotonic(), []
    compaction = asyncio.create_task(library.store.purge(0))
    while not compaction.done() and time.monotonic() - began < _COMPACTED_S:
        started = time.perf_counter()
        await _search(library, collections[0][0])
        asked.append((time.perf_counter() - started) * 1000)
        await asyncio.sleep(0.05)
    found.compacted = compaction.done()
    found.compaction_s = time.monotonic() - began
    found.compaction_search_ms = percentile(asked, 50)
    found.compaction_pause_ms = heart.longest_ms()
    compaction.cancel()
    await asyncio.gather(compaction, return_exceptions=True)
    say(f"{found.name}: compacted in {found.compacted_in}")


def _disk_mib(folder: Path) -> float:
    files = (file for file in folder.rglob("*") if file.is_file())
    return sum(file.stat().st_blocks * 512 for file in files) / 2**20


@asynccontextmanager
async def _opened(folder: Path) -> AsyncIterator[Library]:
    catalogue = open_catalogue(f"sqlite:///{folder}/catalogue.sqlite")
    store = EdgeStore(folder / "vectors", chunker_version=_CHUNKER)
    retriever = DocumentRetriever(
        store,
        cast("Embedder", RandomVectors()),
        RetrieverSettings(min_relevance=None),
        versions=catalogue.documents.current,
        collections=catalogue.collections,
    )
    yield Library(catalogue, store, retriever, Words())
    await store.close()
    catalogue.close()


def _one_collection(documents: int) -> Calls:
    def some_id(number: int) -> str:
        return f"doc_{number * 7919 % documents:032x}"

    async def delete(library: Library, number: int) -> None:
        document_id = f"doc_{(2 * number + 1) % documents:032x}"
        await library.catalogue.documents.remove(_PAPERS, document_id)
        await library.retriever.delete(_PAPERS, document_id)
        await library.catalogue.removals.done(Removal(_PAPERS, document_id))

    return {
        "existence": lambda library, n: library.catalogue.documents.get(_PAPERS, some_id(n)),
        "page of documents": lambda library, n: library.catalogue.documents.page(
            _PAPERS, PageQuery(_PAGE, some_id(n))
        ),
        "counts of the collection": lambda library, _: library.catalogue.collections.get(_PAPERS),
        _SEARCH: lambda library, _: _search(library, _PAPERS),
        "upload": lambda library, _: _upload(library, _PAPERS),
        "deletion": delete,
    }


def _many_collections(collections: int) -> Calls:
    async def create(library: Library, number: int) -> None:
        entry = CollectionEntry(_store(collections + number), "New", 1)
        await library.catalogue.collections.add(entry)

    def place(number: int) -> str:
        return _store(number * 7919 % collections)

    return {
        "create": create,
        "page of collections": lambda library, n: library.catalogue.collections.page(
            _OWNER, PageQuery(_PAGE, place(n))
        ),
        "existence and counts": lambda library, n: library.catalogue.collections.get(place(n)),
        _SEARCH: lambda library, n: _search(library, place(n)),
        "upload": lambda library, n: _upload(library, place(n)),
    }


async def _search(library: Library, collection: str) -> None:
    question = " ".join(library.words.some(8))
    if not await library.retriever.search([question], collection, _PASSAGES, _CHARS):
        msg = "a search found nothing"
        raise RuntimeError(msg)


async def _upload(library: Library, collection: str) -> None:
    number = next(library.fresh)
    begun = await library.catalogue.versions.begin(
        Upload(collection, f"new-{number}.txt", 1000, f"{number:064x}", f"job_{number}")
    )
    document = replace(begun.document, title="New", chunks=_CHUNKS)
    texts = [library.words.text(_WORDS_OF_A_CHUNK) for _ in range(_CHUNKS)]
    chunks = [Chunk(position, text, tokens=90) for position, text in enumerate(texts)]
    await library.retriever.publish(document, chunks)
    await library.catalogue.versions.complete(document)


def _store(number: int) -> str:
    return f"{_OWNER}.vs_{number:024x}"


async def _fill(library: Library, folder: Path, collections: list[tuple[str, int]]) -> None:
    """Add collections with completed documents, and their chunks as they are stored."""
    index = index_of(await RandomVectors().model())
    for collection, documents in collections:
        await _add_rows(library.catalogue, collection, documents, index.name)
    target = folder / "vectors" / "indexes" / index.name
    target.mkdir()
    Index.create(target, index)
    stored = Index(target)
    lexical, draw = LexicalEncoder(), np.random.default_rng(3)
    texts = [library.words.text(_WORDS_OF_A_CHUNK) for _ in range(_TEXTS)]
    sparse = [
        SparseVector(list(vector.indices), list(vector.values))
        for vector in map(lexical.passage, texts)
    ]
    made = []
    for collection, documents in collections:
        for number in range(documents):
            document = _document(collection, number)
            edition = points.edition_of(document, _CHUNKER)
            for position in range(_CHUNKS):
                chosen = int(draw.integers(_TEXTS))
                payload = points.chunk_payload(
                    document, edition, Chunk(position, texts[chosen], tokens=90)
                )
                payload |= points.published_payload(document)
                dense = draw.standard_normal(DIMENSIONS, dtype=np.float32).tolist()
                vectors = {points.DENSE: dense, points.SPARSE: sparse[chosen]}
                made.append((points.chunk_id(document, edition, position), vectors, payload))
            if len(made) >= _SLICE:
                stored.copy(made)
                made.clear()
    if made:
        stored.copy(made)
    stored.close()


def _document(collection: str, number: int) -> Document:
    name = f"document-{number}.txt"
    return Document(
        f"doc_{number:032x}", collection, name, name, "text/plain", 1000, None, _CHUNKS, 0.0
    )


async def _add_rows(catalogue: Catalogue, collection: str, documents: int, index: str) -> None:
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
                | {"digest": "", "author": _OWNER, "filename": name, "title": name}
                | {"media_type": "text/plain", "size_bytes": 1000, "chunks": _CHUNKS}
                | {"created_ms": 0, "job_id": id_}
                for id_, name in named
            ],
        )
        connection.execute(
            COLLECTIONS.update()
            .where(COLLECTIONS.c.id == collection)
            .values(
                completed=documents,
                size_bytes=1000 * documents,
                index_name=index,
                embedding_model="random",
            )
        )

    await catalogue._database.write(add)


if __name__ == "__main__":
    sys.exit(main())
