"""Steps of a ZIP job, which makes a document of each file in a ZIP file; all are idempotent.

Each file has an ingest job of its own. Its id is derived from the upload path and the number of
the file: no file is submitted twice, and all jobs are found again after a crash.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from loguru import logger

from deployments.attribute_writes import write_attributes
from deployments.catalogue.names import unique_names
from deployments.errors import (
    Conflict,
    NotFound,
    Overloaded,
    ServiceError,
    Unavailable,
    Unprocessable,
)
from deployments.job_ids import job_id_for
from deployments.jobs.records import fetch_jobs
from deployments.jobs.retrying import AllHealthy, remove_if_possible
from deployments.media_types import Format
from deployments.records import from_record
from deployments.types import (
    DocumentWarning,
    IngestSpec,
    JobKind,
    JobStatus,
    UnpackedFile,
    UnpackPosition,
    UnpackSpec,
    UnreadFile,
    WarningCode,
    ZipOutcome,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from deployments.catalogue.catalogue import Catalogue
    from deployments.file_store import FileStore
    from deployments.interfaces import Retriever, Unpacker
    from deployments.jobs.batches import Submit
    from deployments.jobs.document_imports import Caller
    from deployments.types import Job, ZipSpec

    Report = Callable[["Progress"], Awaitable[None]]

MAX_NAMED = 200
"""The most unread files, and the most warnings of documents, that a job lists."""

_POLL_S = 0.25  # interval of polling the jobs of the files
_POLLED_PER_S = 500  # jobs; with more of them, the interval grows
_FETCHED_AT_ONCE = 500
_SUBMITTED_AT_ONCE = 32
_CANCELLED_AT_ONCE = 8
_LISTED = 10  # the most files that an error names
_CANCELLED = "cancelled", "Reading it was cancelled."
_DELETED = "deleted", "Its job was deleted."
_OLD_DOCUMENT = DocumentWarning(
    WarningCode.ZIP_DOCUMENT,
    "The collection also has a document of this name, in which an earlier version of this service "
    "put all files of a ZIP file. It is still found: delete it if these documents replace it.",
)


@dataclass(slots=True)
class Progress:
    """Counts of finished files; `warnings` are those of their documents."""

    total: int
    documents: int = 0
    unchanged: int = 0
    unread: list[UnreadFile] = field(default_factory=list)
    warnings: list[DocumentWarning] = field(default_factory=list)

    @property
    def done(self) -> int:
        """The number of finished files."""
        return self.documents + self.unchanged + len(self.unread)

    @property
    def outcome(self) -> ZipOutcome:
        """The counts and the unread files, as the job shows them."""
        named = tuple(self.unread[:MAX_NAMED])
        return ZipOutcome(self.documents, self.unchanged, len(self.unread), named)

    def add_unread(self, name: str, code: str, message: str) -> None:
        """Add a file that becomes no document."""
        self.unread.append(UnreadFile(name, code, message))

    def add_ended(self, name: str, job: Job) -> None:
        """Add a file whose job has ended."""
        if job.status is JobStatus.SUCCEEDED:
            self.documents += 1
            room = MAX_NAMED - len(self.warnings)
            self.warnings += [
                DocumentWarning(each.code, f"{name}: {each.message}", each.pages)
                for each in job.warnings[:room]
            ]
        elif job.status is JobStatus.FAILED:
            message = job.error_message or "It could not be read."
            self.add_unread(name, job.error_code or "internal_error", message)
        else:
            self.add_unread(name, *_CANCELLED)


class CancellationCheck(Protocol):
    """Check for requests to cancel a job; see `Cancellations`."""

    async def check(self, job_id: str) -> None:
        """Raise JobCancelled if the job is to stop."""
        ...


@dataclass(frozen=True)
class ZipSteps:
    """Unpack a ZIP file, submit jobs for its files while the queue has room, and poll them."""

    unpacker: Unpacker
    retriever: Retriever
    files: FileStore
    backends: Caller
    cancellations: CancellationCheck
    catalogue: Catalogue
    submit: Submit
    cancel: Callable[[str], Awaitable[Job]]
    has_room: Callable[[str], bool]
    fetch: Callable[[Sequence[str]], Awaitable[list[Job]]] = fetch_jobs

    async def unpack(
        self, job_id: str, spec: ZipSpec, position: UnpackPosition
    ) -> tuple[list[UnpackedFile], UnpackPosition | None, float]:
        """Unpack the next files; return them, the next position, and the CPU seconds."""
        task = UnpackSpec(spec.upload_path, spec.folder, position, spec.owner)
        both = AllHealthy(self.files, self.unpacker)
        done = await self.backends.call(job_id, both, lambda: self.unpacker.unpack(task))
        return list(done.files), done.next, done.cpu_s

    async def ingest(
        self, job_id: str, spec: ZipSpec, files: Sequence[UnpackedFile], report: Report
    ) -> int:
        """Make documents of the files; return the number of searchable ones.

        Raises Unprocessable if there is none.
        """
        ingestion = _Ingestion(self, job_id, spec, files)
        progress = ingestion.progress
        documents = self.catalogue.documents
        old = await self.backends.call(
            job_id, self.catalogue, lambda: documents.with_name(spec.collection, spec.filename)
        )
        if old is not None and old.document.media_type == Format.ZIP:
            progress.warnings.append(_OLD_DOCUMENT)
        await ingestion.run(report)
        if not progress.documents + progress.unchanged:
            raise _none_read(progress)
        return progress.documents + progress.unchanged

    async def discard(self, spec: ZipSpec, count: int) -> None:
        """Cancel the jobs that have not ended; documents that are searchable stay."""
        for ids in _slices([job_id_of(spec, number) for number in range(count)]):
            open_ids = [job.id for job in await self.fetch(ids) if not job.ended]
            for start in range(0, len(open_ids), _CANCELLED_AT_ONCE):
                some = open_ids[start : start + _CANCELLED_AT_ONCE]
                await asyncio.gather(*map(self._cancel, some))

    async def _cancel(self, job_id: str) -> None:
        with contextlib.suppress(Conflict, NotFound):  # it has ended already
            await self.cancel(job_id)

    async def remove_upload(self, spec: ZipSpec) -> None:
        """Remove the ZIP file and its unpacked files, if that is possible now.

        While a backup needs them they stay; the sweep removes them later.
        """
        with contextlib.suppress(ServiceError):
            if await self.catalogue.removals.held():
                return
        await remove_if_possible(self.files, spec.upload_path, spec.folder)


class _Ingestion:
    """One attempt to ingest all files; an earlier one may have submitted some of their jobs."""

    def __init__(
        self, steps: ZipSteps, job_id: str, spec: ZipSpec, files: Sequence[UnpackedFile]
    ) -> None:
        self._steps = steps
        self._job_id = job_id
        self._spec = spec
        self._files = files
        self._names = unique_names([file.name for file in files])
        self._waiting: deque[int] = deque()
        self._open: dict[int, str] = {}  # jobs by the numbers of their files
        self.progress = Progress(len(files))

    async def run(self, report: Report) -> None:
        """Submit the jobs, poll them until all have ended, and report the progress."""
        await self._find_submitted()
        # An earlier attempt may have reported more: progress must not go back.
        shown = max((job.done for job in await self._steps.fetch([self._job_id])), default=0)
        while True:
            await self._steps.cancellations.check(self._job_id)
            more = await self._submit_some()
            await self._poll()
            at_end = not self._waiting and not self._open
            if self.progress.done > shown or at_end:
                shown = self.progress.done
                await report(self.progress)
            if at_end:
                return
            if not more:
                await asyncio.sleep(max(_POLL_S, len(self._open) / _POLLED_PER_S))

    async def _find_submitted(self) -> None:
        """Divide the files into those with an error, those with a job, and those to submit."""
        numbers = [number for number, file in enumerate(self._files) if file.code is None]
        ids = [self._own_id(number) for number in numbers]
        known = {job.id for some in _slices(ids) for job in await self._steps.fetch(some)}
        for number, file in enumerate(self._files):
            if file.code is not None:
                self.progress.add_unread(self._names[number], file.code, file.message)
            elif self._own_id(number) in known:
                self._open[number] = self._own_id(number)
            else:
                self._waiting.append(number)

    async def _submit_some(self) -> bool:
        """Submit jobs while the queue has room; return whether more can be submitted at once."""
        for _ in range(_SUBMITTED_AT_ONCE):
            if not self._waiting or not self._steps.has_room(self._spec.owner):
                return False
            try:
                await self._submit(self._waiting[0])
            except (Overloaded, Unavailable) as error:
                logger.debug("job {} waits: {}", self._job_id, error)
                return False
            self._waiting.popleft()
        return True

    async def _submit(self, number: int) -> None:
        """Submit the job of a file; raise Overloaded or Unavailable if it must wait."""
        file, name, spec = self._files[number], self._names[number], self._spec
        path = spec.path(number)
        ingest = IngestSpec(
            "",
            spec.collection,
            name,
            file.size_bytes,
            path,
            spec.owner,
            file.digest,
            on_conflict=spec.on_conflict,
            attributes=spec.attributes,
        )
        try:
            submitted = await self._steps.submit(ingest, path)
        except (Overloaded, Unavailable):
            raise
        except ServiceError as error:
            self.progress.add_unread(name, error.code, error.message)
            return
        if spec.attributes is not None:  # a searchable version gets them, too
            changes, document = self._steps.catalogue.attribute_changes, submitted.job.spec
            assert isinstance(document, IngestSpec)  # noqa: S101 - as it was submitted
            await write_attributes(
                changes, self._steps.retriever, spec.collection, document.document_id
            )
        own = submitted.job.id == self._own_id(number)
        if submitted.job.status is JobStatus.SUCCEEDED and not own:
            self.progress.unchanged += 1
        else:  # its own job, or one that reads the same file for another upload
            self._open[number] = submitted.job.id

    async def _poll(self) -> None:
        """Count the jobs that have ended; do nothing while the database does not answer."""
        numbers = {job_id: number for number, job_id in self._open.items()}
        for ids in _slices(list(numbers)):
            try:
                found = {job.id: job for job in await self._steps.fetch(ids)}
            except Unavailable:
                return
            for job_id in ids:
                job, number = found.get(job_id), numbers[job_id]
                if job is not None and not job.ended:
                    continue
                del self._open[number]
                if job is None:
                    self.progress.add_unread(self._names[number], *_DELETED)
                elif job.status is JobStatus.CANCELLED and job_id != self._own_id(number):
                    self._waiting.append(number)  # the same file of another upload
                else:
                    self.progress.add_ended(self._names[number], job)

    def _own_id(self, number: int) -> str:
        return job_id_of(self._spec, number)


def job_id_of(spec: ZipSpec, number: int) -> str:
    """Return the id of the job of a file; its path in the file store is the idempotency key."""
    return job_id_for(spec.owner, JobKind.INGEST, spec.path(number))


def unpacked_record(
    files: Sequence[UnpackedFile], position: UnpackPosition | None
) -> dict[str, Any]:
    """Return unpacked files and the next position as a database record."""
    return {
        "files": [asdict(file) for file in files],
        "next": None if position is None else asdict(position),
    }


def unpacked_of(record: dict[str, Any]) -> tuple[list[UnpackedFile], UnpackPosition | None]:
    """Return the unpacked files and the next position of a record."""
    files = [from_record(UnpackedFile, file) for file in record["files"]]
    after = record["next"]
    return files, None if after is None else from_record(UnpackPosition, after)


def _none_read(progress: Progress) -> Unprocessable:
    if not progress.total:
        return Unprocessable("There are no files in this ZIP file.", code="no_text")
    unread = progress.unread
    codes = {file.code for file in unread}
    listed = "; ".join(f"{file.filename}: {file.message}" for file in unread[:_LISTED])
    more = f"; and {len(unread) - _LISTED} more" if len(unread) > _LISTED else ""
    msg = f"None of the {progress.total} files in this ZIP file became a document. {listed}{more}"
    return Unprocessable(msg, code=codes.pop() if len(codes) == 1 else "no_text")


def _slices(ids: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(ids), _FETCHED_AT_ONCE):
        yield ids[start : start + _FETCHED_AT_ONCE]
