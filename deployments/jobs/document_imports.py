"""The import of one document of an archive; it may be repeated."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np

from deployments.archives.headers import BLOCK_BYTES, Member, bad_archive
from deployments.archives.layout import check_part, parts_of
from deployments.archives.records import ChunkRecord, Part, parse
from deployments.archives.scanner import check_zeros
from deployments.catalogue.entries import Upload, VersionStatus
from deployments.contents import content_path
from deployments.errors import (
    MODEL_CHANGED,
    NOT_STORED_WHOLE,
    Conflict,
    InvalidRequest,
    Unavailable,
)
from deployments.jobs.costs import chunks_s
from deployments.records import warnings_from
from deployments.types import Chunk, Chunking, Document, EmbeddedChunks

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from numpy.typing import NDArray

    from deployments.archives.records import DocumentRecord, Vectors
    from deployments.archives.tape import Tape
    from deployments.catalogue.catalogue import Catalogue
    from deployments.file_store import FileStore
    from deployments.interfaces import Checked, Retriever
    from deployments.types import ImportSpec

T = TypeVar("T")

_BATCH_CHARS = 500_000  # in one call of the retriever, at most 2 MB
_BATCH_VECTOR_BYTES = 2 * 1024**2
_SPOOLED_BYTES = 1024**2
_LEAST_BYTES_PER_TEXT = 1 / 16  # that a quota must have, for each byte of the chunks of a document
_UNIT = 1e-2  # how far the length of a vector may be from 1


class Caller(Protocol):
    """Calls backends, and waits while they are unavailable; see `BackendCaller`."""

    async def call(self, job_id: str, backend: Checked, work: Callable[[], Awaitable[T]]) -> T:
        """Return what `work` returns."""
        ...


@dataclass(frozen=True)
class ImportBackends:
    """Where documents are imported to; `batch_chunks` are stored in one call."""

    retriever: Retriever
    files: FileStore
    backends: Caller
    catalogue: Catalogue
    batch_chunks: int


@dataclass(frozen=True, slots=True)
class ImportedAs:
    """What a document becomes: its job, its collection and its id."""

    job_id: str
    spec: ImportSpec
    document_id: str


@dataclass
class UsableVectors:
    """Of which index the vectors are; empty once they are known to be of another model."""

    fingerprint: str


class DocumentImport:
    """The import of one document."""

    def __init__(
        self,
        backends: ImportBackends,
        identity: ImportedAs,
        record: DocumentRecord,
        vectors: UsableVectors,
    ) -> None:
        """Set what the document becomes, and its record in the archive."""
        self._to = backends
        self._job_id = identity.job_id
        self._record = record
        self._author = identity.spec.owner
        self._vectors = vectors
        self._expected = deque(parts_of(record))
        self._room_bytes = int(record.chunks.bytes * _LEAST_BYTES_PER_TEXT)
        size = record.size_bytes
        if record.content is None:  # nothing bears the size out that the record says
            size = max(size, self._room_bytes)
        self._document = Document(
            id=identity.document_id,
            collection=identity.spec.collection,
            filename=record.name,
            title=record.title,
            media_type=record.media_type,
            size_bytes=size,
            pages=record.pages,
            chunks=record.chunks.count,
            created_at=record.created,
            job_id=identity.job_id,
            chunker=record.chunker,
            warnings=warnings_from(each.model_dump() for each in record.warnings),
            language=record.language,
        )
        self._cost_s = 0.0

    async def run(self, tape: Tape) -> float:
        """Import it from the tape, which is at its first part; return the CPU seconds it took."""
        status = await self._begin()
        chunks = await self._part(tape)
        at_vectors = tape.position + chunks.size_bytes + chunks.padding_bytes
        vectors = self._record.vectors
        async with tape.at(at_vectors) as beside:
            if vectors is not None:
                await self._part(beside)
            await self._store(tape, beside if vectors is not None else None, status)
            await tape.pad(chunks)
            await self._publish(beside if vectors is not None else tape)
        return self._cost_s

    async def _part(self, tape: Tape) -> Member:
        member = await tape.header()
        expected = self._expected.popleft()
        check_part(member or Member("", 0), expected)
        return expected

    async def _begin(self) -> VersionStatus:
        record, document = self._record, self._document
        sizes = record.chunking
        upload = Upload(
            document.collection,
            document.filename,
            document.size_bytes,
            record.content.sha256 if record.content else "",  # of what is kept here
            self._job_id,
            document_id=document.id,
            author=self._author,
            created_at=record.created,
            named=True,
            attributes=record.attributes or None,
            chunking=Chunking(sizes.max_tokens, sizes.overlap_tokens) if sizes else None,
            room_bytes=self._room_bytes,
        )
        catalogue = self._to.catalogue
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
            check_zeros(await beside.read(-record.vectors.bytes % BLOCK_BYTES))

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
        most = self._to.batch_chunks
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
        retriever, document = self._to.retriever, self._document
        if rows is not None and self._vectors.fingerprint:
            embedded = EmbeddedChunks(self._vectors.fingerprint, tuple(batch), rows)
            try:
                await self._call(retriever, lambda: retriever.add_embedded(document, embedded))
            except Conflict as error:
                if error.code != MODEL_CHANGED:
                    raise
                self._vectors.fingerprint = ""  # of another model: they are embedded here
            else:
                return
        self._cost_s += chunks_s(batch)
        await self._call(retriever, lambda: retriever.add(document, batch))

    async def _publish(self, tape: Tape) -> None:
        """Keep the content, if there is one, and publish the document."""
        record, document, to = self._record, self._document, self._to
        if record.content is not None:
            member = await self._part(tape)
            await self._keep(tape, record.content)
            await tape.pad(member)
        try:
            await self._call(to.retriever, lambda: to.retriever.publish(document))
        except InvalidRequest as error:
            if error.code != NOT_STORED_WHOLE:
                raise
            # The step is repeated, and stores it in the index of the present model.
            msg = "another embedding model has become the present one: try again"
            raise Unavailable(msg) from None
        await self._call(to.catalogue, lambda: to.catalogue.versions.complete(document))

    async def _keep(self, tape: Tape, content: Part) -> None:
        digest, document = hashlib.sha256(), self._document
        with tempfile.SpooledTemporaryFile(_SPOOLED_BYTES) as file:
            async for piece in tape.pieces(content.bytes):
                digest.update(piece)
                file.write(piece)
            _check_digest(digest, content, f"the content of {self._record.id}")
            file.seek(0)
            path = content_path(document.collection, document.id, document.version)
            await self._to.files.put(path, file)  # type: ignore[arg-type]  # it reads as one

    async def _call(self, backend: Checked, work: Callable[[], Awaitable[T]]) -> T:
        return await self._to.backends.call(self._job_id, backend, work)


def _check_digest(digest: hashlib._Hash, part: Part, what: str) -> None:
    if digest.hexdigest() != part.sha256:
        msg = f"the digest of {what} is another one: the archive is damaged"
        raise bad_archive(msg)
