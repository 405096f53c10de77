"""Rechunking: documents that another chunker has cut are read again from their contents."""

from __future__ import annotations

import contextlib
import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from loguru import logger

from deployments.catalogue.entries import ChangeProgress, ChangeState
from deployments.chunk_batches import read_batch
from deployments.contents import path_and_start
from deployments.errors import InvalidRequest, NotFound, ServiceError, Unavailable
from deployments.file_store import CHUNKS
from deployments.jobs.pacing import yield_to_searches
from deployments.observability.metrics import RECHUNK_DOCUMENTS, RECHUNK_LEFT
from deployments.types import ParseSpec

if TYPE_CHECKING:
    from deployments.catalogue.catalogue import Catalogue
    from deployments.catalogue.chunker_changes import ChunkerChange, DocumentToCut
    from deployments.file_store import FileStore
    from deployments.interfaces import Parser, RechunkingRetriever
    from deployments.types import Document, ParsedDocument

RECHUNK_FOLDER = f"{CHUNKS}/rechunk"
"""Folder of the file store with the new chunks of the document that is at work."""

_CLAIM_S = 60.0
_REPORT_S = 5.0
_IDLE_S = 10.0  # between two looks; Ray forgets a gauge that is not set for twenty seconds
_PAGE = 50
_FAILURES_IN_A_ROW = 8  # documents that cannot be cut for another reason than themselves


class Rechunker:
    """Cuts documents anew, one at a time, in one replica at a time.

    It may be interrupted: the document that is at work is in the catalogue, and is begun again.
    """

    def __init__(  # noqa: PLR0913 - one parameter per collaborator
        self,
        catalogue: Catalogue,
        parser: Parser,
        retriever: RechunkingRetriever,
        files: FileStore,
        *,
        chunker: str,
        batch_chunks: int,
        idle_s: float = _IDLE_S,
    ) -> None:
        """Keep the parts; `chunker` is the name of that of the parser."""
        self._catalogue = catalogue
        self._changes = catalogue.chunker_changes
        self._parser = parser
        self._retriever = retriever
        self._files = files
        self._chunker = chunker
        self._batch_chunks = batch_chunks
        self._idle_s = idle_s
        self._rests_until = self._reported_s = -math.inf
        self._rate = 0.0
        self._stay: set[tuple[str, str, int]] = set()
        self._in_a_row = 0

    async def run_pending(self) -> None:
        """Do what there is to do; what fails is tried again later."""
        if time.monotonic() < self._rests_until:
            return
        try:
            await self._run()
        except ServiceError as error:
            logger.info("the change of the chunker is continued later: {}", error)
        finally:
            self._rests_until = time.monotonic() + self._idle_s

    async def _run(self) -> None:
        await self._changes.begin(self._chunker)
        latest = await self._changes.latest()
        await self._count(latest)
        # A replica with other settings, which is being replaced, leaves the change alone.
        if latest is None or latest.chunker != self._chunker:
            return
        if latest.at_work is None and latest.state is not ChangeState.RUNNING:
            return
        if (change := await self._changes.claim(_CLAIM_S)) is None:
            return
        try:
            await self._work(change)
        finally:
            with contextlib.suppress(ServiceError):
                await self._changes.release(change)

    async def _work(self, change: ChunkerChange) -> None:
        if change.at_work is not None:
            await self._resume(change, *change.at_work)
        if not await self._may_go_on(change):
            return
        copied = await self._catalogue.model_changes.latest()
        if copied is not None and copied.state is ChangeState.RUNNING:
            return  # the embedders are busy with that
        self._stay.clear()
        self._in_a_row = failed = 0
        after: tuple[str, str] | None = None
        while found := await self._changes.to_cut(self._chunker, after, _PAGE):
            for each in found:
                after = each.document.collection, each.document.id
                failed += not await self._cut_if_possible(change, each)
                if not await self._may_go_on(change):
                    return
        await self._report(change)
        if not failed:
            await self._changes.finish(change)
            logger.info(
                "all documents are cut by chunker {}, but for {}", self._chunker, len(self._stay)
            )

    async def _resume(
        self, change: ChunkerChange, collection: str, document_id: str, version: int
    ) -> None:
        """Cut the document that was at work; remove what was stored of it if it is outdated."""
        found = await self._changes.to_cut_again(collection, document_id)
        if found is not None and found.document.version == version:
            await self._cut_if_possible(change, found)
            return
        await self._leave(change, collection, document_id, version)

    async def _leave(
        self, change: ChunkerChange, collection: str, document_id: str, version: int
    ) -> None:
        """Remove what was stored of a version that is not the current one any more."""
        try:
            await self._catalogue.documents.get(collection, document_id)
        except NotFound:
            await self._retriever.delete(collection, document_id)
        else:
            await self._retriever.discard(collection, document_id, [version])
        await self._files.delete(RECHUNK_FOLDER)
        await self._changes.put_back(change)

    async def _cut_if_possible(self, change: ChunkerChange, wanted: DocumentToCut) -> bool:
        """Cut a document; return False if that is to be tried again.

        Raises what the last of several in a row has failed with.
        """
        document = wanted.document
        try:
            await self._cut(change, wanted)
        except ServiceError as error:
            self._in_a_row += 1
            if self._in_a_row >= _FAILURES_IN_A_ROW:
                raise
            if await self._is_current(document):
                logger.info("document {} is cut later: {}", document.id, error)
                return False
            await self._leave(change, document.collection, document.id, document.version)
        else:
            self._in_a_row = 0
        return True

    async def _cut(self, change: ChunkerChange, wanted: DocumentToCut) -> None:
        document, began = wanted.document, time.monotonic()
        await self._changes.take(change, document)
        # Asked last: see `deployments.catalogue.backups`.
        if await self._catalogue.removals.held():
            msg = "a backup is under way"
            raise Unavailable(msg)
        await self._files.delete(RECHUNK_FOLDER)
        try:
            parsed = await self._parse(wanted)
        except (NotFound, InvalidRequest) as error:
            logger.warning("document {} stays as it was cut: {}", document.id, error)
            self._stay.add((document.collection, document.id, document.version))
            await self._undo(change, document)
            return
        cut = replace(
            document,
            title=parsed.title or document.filename,
            media_type=parsed.media_type,
            pages=parsed.pages,
            chunks=parsed.chunks,
            chunker=parsed.chunker,
            warnings=parsed.warnings,
        )
        idle_s = 0.0
        for number in range(parsed.batches):
            slice_began = time.monotonic()
            chunks = await read_batch(self._files, RECHUNK_FOLDER, number)
            idle_s = await self._retriever.replace_chunks(cut, chunks)
            await self._report_if_due(change)
            await yield_to_searches(time.monotonic() - slice_began, idle_s)
        if await self._is_current(document):
            await self._retriever.publish(cut)
        if await self._changes.complete(change, cut):
            await self._files.delete(RECHUNK_FOLDER)
        else:
            await self._leave(change, document.collection, document.id, document.version)
        self._measure(parsed.chunks, time.monotonic() - began)

    async def _parse(self, wanted: DocumentToCut) -> ParsedDocument:
        """Have the content of a document parsed; raise NotFound if it is not kept."""
        document = wanted.document
        path, start_byte = path_and_start(document, named=wanted.named)
        stored = await self._files.infos([path])
        if not stored or stored[0].size_bytes != document.size_bytes + start_byte:
            msg = "its content is not kept"
            raise NotFound(msg)
        parsed = await self._parser.parse(
            ParseSpec(
                path,
                document.filename,
                RECHUNK_FOLDER,
                self._batch_chunks,
                start_byte=start_byte,
                chunking=wanted.chunking,
            )
        )
        if wanted.chunking is None and parsed.chunker != self._chunker:
            msg = "the parser is being replaced by one with another chunker"
            raise Unavailable(msg)
        return parsed

    async def _is_current(self, document: Document) -> bool:
        current = await self._catalogue.documents.current(document.collection, [document.id])
        found = current.get(document.id)
        return found is not None and found.number == document.version

    async def _undo(self, change: ChunkerChange, document: Document) -> None:
        """Drop what an interrupted attempt has stored of a document that cannot be cut anew."""
        if not await self._is_current(document):
            await self._leave(change, document.collection, document.id, document.version)
            return
        with contextlib.suppress(InvalidRequest):  # the doctor finds that it is not stored whole
            await self._retriever.publish(document)  # which drops other editions
        await self._files.delete(RECHUNK_FOLDER)
        await self._changes.put_back(change)

    async def _may_go_on(self, change: ChunkerChange) -> bool:
        """Report from time to time; return whether the change still runs."""
        await self._report_if_due(change)
        latest = await self._changes.latest()
        return (
            latest is not None
            and latest.number == change.number
            and latest.state is ChangeState.RUNNING
        )

    async def _report_if_due(self, change: ChunkerChange) -> None:
        if time.monotonic() - self._reported_s >= _REPORT_S:
            await self._report(change)
            await self._count(change)

    async def _report(self, change: ChunkerChange) -> None:
        self._reported_s = time.monotonic()
        await self._changes.report(change, self._rate, len(self._stay))

    def _measure(self, chunks: int, took_s: float) -> None:
        rate = chunks / max(took_s, 1e-6)
        self._rate = rate if not self._rate else 0.95 * self._rate + 0.05 * rate

    async def _count(self, change: ChunkerChange | None) -> None:
        """Set the metrics."""
        progress = ChangeProgress()
        if change is not None and not change.ended:
            progress = await self._changes.progress(change.chunker)
        RECHUNK_DOCUMENTS.set(progress.done_documents, state="done")
        RECHUNK_DOCUMENTS.set(progress.documents, state="all")
        rate = self._rate or (change.chunks_per_s if change else 0.0)
        left = progress.chunks - progress.done_chunks
        RECHUNK_LEFT.set(left / rate if rate else 0.0)
