"""The steps by which a document is rechunked; each may be repeated."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from deployments.catalogue.entries import VersionStatus
from deployments.catalogue.removals import Removal
from deployments.chunk_batches import read_batch
from deployments.contents import path_and_start
from deployments.errors import (
    NOT_STORED_WHOLE,
    InvalidRequest,
    NotFound,
    ServiceError,
    Unavailable,
)
from deployments.file_store import CHUNKS, RECHUNKED
from deployments.jobs.pacing import yield_to_searches
from deployments.jobs.reconciliation import carry_out
from deployments.types import ParseSpec, WarningCode

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from deployments.catalogue.catalogue import Catalogue
    from deployments.catalogue.chunker_changes import ChunkerChange, ChunkerChanges
    from deployments.catalogue.outdated_documents import OutdatedDocument, VersionInProgress
    from deployments.file_store import FileStore
    from deployments.interfaces import Parser, RechunkingRetriever
    from deployments.types import Document, DocumentWarning, ParsedDocument

_RETRIED_CODES = frozenset({"reader_killed", "parse_timeout"})  # of the parser


class Unreadable(ServiceError, code="unreadable"):
    """A document whose content is not kept, or cannot be parsed."""


def _ocr_pages(warnings: Iterable[DocumentWarning]) -> set[int]:
    """Return the pages whose text was recognised in pictures."""
    found = (one.pages for one in warnings if one.code == WarningCode.PAGES_BY_OCR)
    return {page for pages in found for page in pages}


def folder_of_claim(change: ChunkerChange) -> str:
    """Return the folder of the batches of chunks, which only this claim uses."""
    return f"{CHUNKS}/{RECHUNKED}{change.claimant}"


@dataclass(frozen=True)
class RechunkSteps:
    """Works on one document; `chunker` is the name of that of the parser."""

    catalogue: Catalogue
    parser: Parser
    retriever: RechunkingRetriever
    files: FileStore
    chunker: str
    batch_chunks: int

    @property
    def changes(self) -> ChunkerChanges:
        """Where the version in progress is recorded."""
        return self.catalogue.chunker_changes

    async def store(
        self,
        change: ChunkerChange,
        wanted: OutdatedDocument,
        report: Callable[[ChunkerChange], Awaitable[None]],
    ) -> None:
        """Store and publish the new chunks of a document; `report` is called after each slice.

        Raises Unreadable for a document that must stay as it is.
        """
        document = wanted.document
        await self.changes.begin_document(change, wanted)
        # Asked last: see `deployments.catalogue.backups`.
        if await self.catalogue.removals.held():
            msg = "a backup is under way"
            raise Unavailable(msg)
        parsed = await self._parse(change, wanted)
        new = replace(
            document,
            title=parsed.title or document.filename,
            media_type=parsed.media_type,
            pages=parsed.pages,
            chunks=parsed.chunks,
            chunker=parsed.chunker,
            warnings=parsed.warnings,
            language=parsed.language,
        )
        for number in range(parsed.batches):
            began = time.monotonic()
            if await self.changes.current(wanted.version) is None:
                break
            chunks = await read_batch(self.files, folder_of_claim(change), number)
            idle_s = await self.retriever.replace_chunks(new, chunks)
            await report(change)
            await yield_to_searches(time.monotonic() - began, idle_s)
        await self.changes.renew(change)  # else another worker may be at it
        if await self.changes.current(wanted.version) is not None:
            await self.retriever.publish(new)
        if not await self.changes.complete(change, new):
            await self.remove(change, wanted.version)

    async def _parse(self, change: ChunkerChange, wanted: OutdatedDocument) -> ParsedDocument:
        """Have the content of a document parsed."""
        document = wanted.document
        path, start_byte = path_and_start(document, named=wanted.named)
        stored = await self.files.infos([path])
        if not stored or stored[0].size_bytes != document.size_bytes + start_byte:
            msg = "its content is not kept"
            raise Unreadable(msg)
        await self.files.delete(folder_of_claim(change))
        spec = ParseSpec(
            path,
            document.filename,
            folder_of_claim(change),
            self.batch_chunks,
            start_byte=start_byte,
            chunking=wanted.chunking,
        )
        try:
            parsed = await self.parser.parse(spec)
        except InvalidRequest as error:
            if error.code in _RETRIED_CODES:
                raise
            raise Unreadable(error.message) from None
        if parsed.chunker != wanted.chunker(self.chunker):
            msg = "a Parser replica still runs another chunker (rolling update)"
            raise Unavailable(msg)
        if _ocr_pages(document.warnings) - _ocr_pages(parsed.warnings):
            msg = "OCR no longer reads pages that it read before"
            raise Unreadable(msg)
        return parsed

    async def undo(self, change: ChunkerChange, wanted: OutdatedDocument) -> None:
        """Leave a document in one edition, as the catalogue describes it."""
        document = wanted.document
        if await self.changes.current(wanted.version) is None:
            await self.remove(change, wanted.version)
            return
        try:
            await self.retriever.publish(document)  # which removes other editions
        except InvalidRequest as error:
            if error.code != NOT_STORED_WHOLE:
                raise
            await self._complete_published(change, document)  # the other edition has replaced it
        else:
            await self.changes.end_document(change)

    async def _complete_published(self, change: ChunkerChange, document: Document) -> None:
        try:
            stored = await self.retriever.document(
                document.collection, document.id, document.version
            )
        except NotFound:  # for the doctor
            await self.changes.end_document(change)
            return
        described = replace(stored, warnings=document.warnings, job_id=document.job_id)
        if not await self.changes.complete(change, described):
            await self.changes.end_document(change)

    async def remove(self, change: ChunkerChange, version: VersionInProgress) -> None:
        """Remove what was stored of a version that is not the current one any more."""
        collection, document_id = version.collection, version.document_id
        known = await self.catalogue.inspection.document(collection, document_id)
        if known is None:
            if await self.catalogue.mending.begin_removal(collection, document_id):
                removal = Removal(collection, document_id)
                await carry_out(removal, self.catalogue, self.retriever, self.files)
        else:
            ended = any(
                one.document.version == version.version
                and one.document.job_id == version.job_id
                and one.status is VersionStatus.SUPERSEDED
                for one in known.versions
            )
            if ended:
                await self.retriever.discard(collection, document_id, [version.version])
        await self.changes.end_document(change)
