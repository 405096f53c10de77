"""The steps by which an archive becomes a vector store; each may be repeated."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from deployments.archives.headers import bad_archive
from deployments.archives.layout import Layout
from deployments.archives.records import (
    ChunkRecord,
    Manifest,
    Part,
    parse,
)
from deployments.archives.scanner import Scanner
from deployments.archives.tape import Tape
from deployments.catalogue.entries import CollectionEntry, Upload, VersionStatus
from deployments.catalogue.removals import Removal
from deployments.contents import content_path, contents_folder
from deployments.errors import MODEL_CHANGED, Conflict, NotFound
from deployments.jobs.costs import chunks_s
from deployments.jobs.retrying import remove_if_possible
from deployments.types import Chunk, Chunking, Document, EmbeddedChunks

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from numpy.typing import NDArray

    from deployments.archives.headers import Member
    from deployments.archives.records import DocumentRecord, Vectors
    from deployments.catalogue.catalogue import Catalogue
    from deployments.file_store import FileStore
    from deployments.interfaces import Checked, Retriever
    from deployments.types import ImportSpec

T = TypeVar("T")

_STEP_CHUNKS = 512
_STEP_DOCUMENTS = 64
_STEP_S = 10.0
_BATCH_CHARS = 500_000  # in one call of the retriever, at most 2 MB
_BATCH_VECTOR_BYTES = 2 * 1024**2
_SPOOLED_BYTES = 1024**2
_LEAST_BYTES_PER_TEXT = 1 / 16  # of a document, counted in quotas, for each byte of its chunks
_UNIT = 1e-2  # how far the length of a vector may be from 1


class Caller(Protocol):
    """Calls backends, and waits while they are unavailable; see `BackendCaller`."""

    async def call(self, job_id: str, backend: Checked, work: Callable[[], Awaitable[T]]) -> T:
        """Return what `work` returns."""
        ...


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
class ImportSteps:
    """Read an archive from the file store a few documents at a time."""

    retriever: Retriever
    files: FileStore
    backends: Caller
    catalogue: Catalogue
    batch_chunks: int

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
        began, chunks, cost_s = time.monotonic(), 0, 0.0
        manifest = await self._manifest(spec)
        layout = Layout(manifest, state.documents, state.last_id)
        fingerprint = manifest.embedding.fingerprint if manifest.embedding else ""
        async with contextlib.AsyncExitStack() as tapes:
            tape = await tapes.enter_async_context(self._tape(spec, state.position))
            while layout.documents - state.documents < _STEP_DOCUMENTS:
                if chunks >= _STEP_CHUNKS or time.monotonic() - began > _STEP_S:
                    break
                member = await tape.header()
                layout.check(member)
                record = None
                if member is not None:
                    record = layout.read(await tape.record(member))
                if record is None:
                    break
                one = _Import(self, job_id, spec, state, layout, record, fingerprint)
                tape = await tapes.enter_async_context(tape.at(await one.run(tape)))
                fingerprint = one.fingerprint
                chunks += record.chunks.count
                cost_s += one.cost_s
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
        with contextlib.suppress(NotFound):
            await self.retriever.drop(spec.collection)
        await self.files.delete(contents_folder(spec.collection))
        await self.catalogue.removals.done(Removal(spec.collection, None))

    async def remove_upload(self, spec: ImportSpec) -> None:
        """Remove the archive, if that is possible now."""
        await remove_if_possible(self.files, spec.upload_path)


class _Import:
    """The import of one document."""

    def __init__(  # noqa: PLR0913, PLR0917 - what a document needs
        self,
        steps: ImportSteps,
        job_id: str,
        spec: ImportSpec,
        state: ImportState,
        layout: Layout,
        record: DocumentRecord,
        fingerprint: str,
    ) -> None:
        """Set of which index the vectors are; empty if they are not to be used."""
        self._steps = steps
        self._job_id = job_id
        self._layout = layout
        self._record = record
        self._spec = spec
        self.fingerprint = fingerprint
        number = layout.documents
        drawn = hashlib.sha256(f"{job_id}/{state.salt}/{number}".encode()).hexdigest()[:12]
        size = max(record.size_bytes, int(record.chunks.bytes * _LEAST_BYTES_PER_TEXT))
        self._document = Document(
            # In the order of the archive, which is that in which they were created.
            id=f"doc_{state.began_ms:012x}{number:08x}{drawn}",
            collection=spec.collection,
            filename=record.name,
            title=record.title,
            media_type=record.media_type,
            size_bytes=size,
            pages=record.pages,
            chunks=record.chunks.count,
            created_at=record.created,
            job_id=job_id,
            chunker=record.chunker,
        )
        self.cost_s = 0.0

    async def run(self, tape: Tape) -> int:
        """Import it and return the position behind it; the tape is at its first part."""
        status = await self._begin()
        chunks = await self._part(tape)
        at_vectors = tape.position + chunks.size_bytes + chunks.padding_bytes
        vectors = self._record.vectors
        async with tape.at(at_vectors) as beside:
            if vectors is not None:
                await self._part(beside)
            await self._store(tape, beside if vectors is not None else None, status)
            await tape.pad(chunks)
            return await self._content(beside if vectors is not None else tape)

    async def _part(self, tape: Tape) -> Member:
        member = await tape.header()
        self._layout.check(member)
        assert member is not None  # noqa: S101 - it was checked
        return member

    async def _begin(self) -> VersionStatus:
        record, document = self._record, self._document
        sizes = record.chunking
        digest = record.content.sha256 if record.content else record.sha256
        upload = Upload(
            document.collection,
            document.filename,
            document.size_bytes,
            digest or "",
            self._job_id,
            document_id=document.id,
            author=self._spec.owner,
            created_at=record.created,
            named=True,
            attributes=record.attributes or None,
            chunking=Chunking(sizes.max_tokens, sizes.overlap_tokens) if sizes else None,
        )
        catalogue = self._steps.catalogue
        entry = await self._call(catalogue, lambda: catalogue.versions.begin(upload))
        return entry.status

    async def _store(self, tape: Tape, beside: Tape | None, status: VersionStatus) -> None:
        """Store the chunks hidden, in batches; they are published with the content."""
        record = self._record
        digest, number = hashlib.sha256(), 0
        vectors_digest = hashlib.sha256()
        async for batch in self._batches(tape, digest):
            if batch[0].number != number:
                msg = f"a chunk of {record.id} is missing before number {batch[0].number}"
                raise bad_archive(msg)
            number += len(batch)
            rows = None
            if beside is not None and record.vectors is not None:
                rows = await self._rows(beside, record.vectors, len(batch), vectors_digest)
            if status is not VersionStatus.COMPLETED:  # else a repeated step has stored it before
                await self._add(batch, rows)
        _check_digest(digest, record.chunks, f"the chunks of {record.id}")
        if number != record.chunks.count:
            msg = f"{record.id} has {number} chunks, and says that it has {record.chunks.count}"
            raise bad_archive(msg)
        if beside is not None and record.vectors is not None:
            _check_digest(vectors_digest, record.vectors, f"the vectors of {record.id}")
            await beside.read(-record.vectors.bytes % 512)

    async def _batches(
        self, tape: Tape, digest: hashlib._Hash
    ) -> AsyncGenerator[list[Chunk], None]:
        """Yield chunks whose numbers follow each other, bounded in number and length."""
        batch: list[Chunk] = []
        chars, most = 0, self._most_chunks()
        async with contextlib.aclosing(tape.lines(digest, self._record.chunks.bytes)) as lines:
            async for line in lines:
                chunk = Chunk(**parse(ChunkRecord, line, "a chunk").model_dump())
                if batch and chunk.number != batch[-1].number + 1:
                    msg = f"chunk {chunk.number} of {self._record.id} is not the next one"
                    raise bad_archive(msg)
                batch.append(chunk)
                chars += len(chunk.text) + len(chunk.section)
                if len(batch) == most or chars > _BATCH_CHARS:
                    yield batch
                    batch, chars = [], 0
        if batch:
            yield batch

    def _most_chunks(self) -> int:
        most = self._steps.batch_chunks
        if self._record.vectors is not None:
            most = min(most, _BATCH_VECTOR_BYTES // (4 * self._record.vectors.dimensions))
        return max(1, most)

    async def _rows(
        self, tape: Tape, vectors: Vectors, count: int, digest: hashlib._Hash
    ) -> NDArray[np.float32]:
        data = await tape.read(count * vectors.dimensions * 4)
        digest.update(data)
        rows = np.frombuffer(data, dtype="<f4").reshape(count, vectors.dimensions)
        with np.errstate(all="ignore"):
            lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))
        if not np.all(np.abs(lengths - 1) <= _UNIT):  # nor for NaN and infinity
            msg = f"a vector of {self._record.id} is not of unit length"
            raise bad_archive(msg)
        return np.asarray(rows, dtype=np.float32)

    async def _add(self, batch: list[Chunk], rows: NDArray[np.float32] | None) -> None:
        retriever, document = self._steps.retriever, self._document
        if rows is not None and self.fingerprint:
            embedded = EmbeddedChunks(self.fingerprint, tuple(batch), rows)
            try:
                await self._call(retriever, lambda: retriever.add_embedded(document, embedded))
            except Conflict as error:
                if error.code != MODEL_CHANGED:
                    raise
                self.fingerprint = ""  # of another model: they are embedded here
            else:
                return
        self.cost_s += chunks_s(batch)
        await self._call(retriever, lambda: retriever.add(document, batch))

    async def _content(self, tape: Tape) -> int:
        """Keep the content, if there is one, and publish the document; return the position."""
        record, document, steps = self._record, self._document, self._steps
        if record.content is not None:
            member = await self._part(tape)
            await self._keep(tape, record.content)
            await tape.pad(member)
        await self._call(steps.retriever, lambda: steps.retriever.publish(document))
        await self._call(steps.catalogue, lambda: steps.catalogue.versions.complete(document))
        return tape.position

    async def _keep(self, tape: Tape, content: Part) -> None:
        digest, document = hashlib.sha256(), self._document
        with tempfile.SpooledTemporaryFile(_SPOOLED_BYTES) as file:
            async for piece in tape.pieces(content.bytes):
                digest.update(piece)
                file.write(piece)
            _check_digest(digest, content, f"the content of {self._record.id}")
            file.seek(0)
            path = content_path(document.collection, document.id, document.version)
            await self._steps.files.put(path, file)  # type: ignore[arg-type]  # it reads as one

    async def _call(self, backend: Checked, work: Callable[[], Awaitable[T]]) -> T:
        return await self._steps.backends.call(self._job_id, backend, work)


def _check_digest(digest: hashlib._Hash, part: Part, what: str) -> None:
    if digest.hexdigest() != part.sha256:
        msg = f"the digest of {what} is another one: the archive is damaged"
        raise bad_archive(msg)


def state_record(state: ImportState) -> dict[str, Any]:
    """Return a state as the database keeps it."""
    return asdict(state)
