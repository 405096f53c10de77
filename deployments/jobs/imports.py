"""The steps by which an archive becomes a vector store; each may be repeated."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import secrets
import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from deployments.archives.layout import Layout
from deployments.archives.scanner import Scanner
from deployments.archives.tape import MemoryTape, Tape
from deployments.catalogue.entries import CollectionEntry
from deployments.catalogue.removals import Removal
from deployments.contents import contents_folder
from deployments.errors import NotFound, ServiceError
from deployments.jobs.document_imports import (
    DocumentImport,
    ImportBackends,
    ImportedAs,
    UsableVectors,
)
from deployments.jobs.retrying import remove_if_possible

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Self

    from deployments.archives.records import Manifest
    from deployments.types import ImportSpec

_STEP_CHUNKS = 512
_STEP_DOCUMENTS = 64
_STEP_S = 10.0
_AT_ONCE = 4  # documents: each waits for the database and the disk
_IN_MEMORY_BYTES = 2 * 1024**2  # a larger document is read from the file store in pieces


@dataclass(frozen=True, slots=True)
class ImportState:
    """How far an import is: the byte where it goes on, and what is before it.

    `began_ms` and `salt` make the ids of the documents, the same whenever a step is repeated.
    `total` is the number of documents, `cost_s` the CPU seconds of the last step.
    """

    position: int
    total: int
    began_ms: int
    salt: str
    documents: int = 0
    last_id: str = ""
    ended: bool = False
    cost_s: float = 0.0


@dataclass(frozen=True)
class ImportSteps(ImportBackends):
    """Read an archive from the file store a few documents at a time."""

    async def open(self, job_id: str, spec: ImportSpec) -> ImportState:
        """Check the structure of the whole archive, and create the vector store."""
        manifest, position, total = await self.backends.call(
            job_id, self.files, lambda: self._scan(spec)
        )
        now_ms = time.time_ns() // 1_000_000
        await self.backends.call(
            job_id,
            self.catalogue,
            lambda: self.catalogue.collections.add(
                CollectionEntry(
                    spec.collection,
                    manifest.name if spec.name is None else spec.name,
                    now_ms // 1000,
                    manifest.metadata,
                    expires_days=manifest.expires_days,
                )
            ),
        )
        return ImportState(position, total, now_ms, secrets.token_hex(4))

    async def _scan(self, spec: ImportSpec) -> tuple[Manifest, int, int]:
        """Return the manifest, where the first document begins and how many there are."""
        scanner, start = Scanner(), 0
        async with self._tape(spec) as tape:
            async for piece in tape.pieces(spec.size_bytes):
                scanner.feed(piece)
                if not start and scanner.layout.manifest is not None:
                    start = await self._after_manifest(spec)
        scanner.finish()
        assert scanner.layout.manifest is not None  # noqa: S101 - else it is not finished
        return scanner.layout.manifest, start, scanner.layout.documents

    async def _after_manifest(self, spec: ImportSpec) -> int:
        async with self._tape(spec) as tape:
            if (member := await tape.header()) is not None:
                await tape.record(member)
            return tape.position

    async def some(self, job_id: str, spec: ImportSpec, state: ImportState) -> ImportState:
        """Import the next documents."""
        return await self.backends.call(job_id, self.files, lambda: self._some(job_id, spec, state))

    async def _some(self, job_id: str, spec: ImportSpec, state: ImportState) -> ImportState:
        manifest = await self._manifest(spec)
        layout = Layout(manifest, state.documents, state.last_id)
        vectors = UsableVectors(manifest.embedding.fingerprint if manifest.embedding else "")
        began, chunks = time.monotonic(), 0
        async with contextlib.AsyncExitStack() as tapes, _Tasks(_AT_ONCE) as tasks:
            tape = await tapes.enter_async_context(self._tape(spec, state.position))
            while (
                layout.documents - state.documents < _STEP_DOCUMENTS
                and chunks < _STEP_CHUNKS
                and time.monotonic() - began < _STEP_S
            ):
                member = await tape.header()
                layout.check(member)
                record = None if member is None else layout.read(await tape.record(member))
                if record is None:
                    break
                size = layout.skip_parts()
                if size <= _IN_MEMORY_BYTES:
                    parts: Tape = MemoryTape(await tape.read(size))
                else:
                    parts = await tapes.enter_async_context(tape.at(tape.position))
                    tape = await tapes.enter_async_context(tape.at(tape.position + size))
                chunks += record.chunks.count
                identity = ImportedAs(job_id, spec, _id_of(job_id, state, layout.documents))
                one = DocumentImport(self, identity, record, vectors)
                await tasks.start(one.run(parts))
            cost_s = await tasks.results()
            return replace(
                state,
                position=tape.position,
                documents=layout.documents,
                last_id=layout.last_id,
                ended=layout.end is not None,
                cost_s=cost_s,
            )

    async def _manifest(self, spec: ImportSpec) -> Manifest:
        layout = Layout()
        async with self._tape(spec) as tape:
            member = await tape.header()
            layout.check(member)
            assert member is not None  # noqa: S101 - it was checked
            layout.read(await tape.record(member))
        assert layout.manifest is not None  # noqa: S101 - as above
        return layout.manifest

    def _tape(self, spec: ImportSpec, start: int = 0) -> Tape:
        return Tape(self.files, spec.upload_path, spec.size_bytes, start)

    async def discard(self, spec: ImportSpec) -> None:
        """Remove the vector store with all that was imported."""
        await self.catalogue.collections.remove(spec.collection)
        removal = Removal(spec.collection)
        if await self.catalogue.removals.deferred(removal):
            return
        with contextlib.suppress(NotFound):
            await self.retriever.drop(spec.collection)
        await self.files.delete(contents_folder(spec.collection))
        await self.catalogue.removals.done(removal)

    async def remove_upload(self, spec: ImportSpec) -> None:
        """Remove the archive, if that is possible now; while a backup needs it, the sweep does."""
        with contextlib.suppress(ServiceError):
            if await self.catalogue.removals.held():
                return
        await remove_if_possible(self.files, spec.upload_path)


class _Tasks:
    """Run a few documents at once; an async context manager that cancels unfinished tasks."""

    def __init__(self, at_once: int) -> None:
        self._places = asyncio.Semaphore(at_once)
        self._tasks: list[asyncio.Task[float]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def start(self, work: Coroutine[Any, Any, float]) -> None:
        """Begin some work once there is a place; raise the error of work that has failed."""
        try:
            await self._places.acquire()
        except BaseException:
            work.close()
            raise
        task = asyncio.create_task(work)
        task.add_done_callback(lambda _: self._places.release())
        self._tasks.append(task)
        for one in self._tasks:
            if one.done():
                one.result()

    async def results(self) -> float:
        """Wait for all work, and return the sum of its results."""
        return sum(await asyncio.gather(*self._tasks))


def _id_of(job_id: str, state: ImportState, number: int) -> str:
    """Return the id of a document: ids are in the order of the archive."""
    drawn = hashlib.sha256(f"{job_id}/{state.salt}/{number}".encode()).hexdigest()[:12]
    return f"doc_{state.began_ms:012x}{number:08x}{drawn}"


def state_record(state: ImportState) -> dict[str, Any]:
    """Return a state as the database keeps it."""
    return asdict(state)
