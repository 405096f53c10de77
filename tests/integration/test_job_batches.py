"""File batches through real jobs: in turns with other keys, and over a restart."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from pathlib import Path

import pytest

from deployments.catalogue.entries import BatchFile, CollectionEntry, DocumentStatus, FileEntry
from deployments.catalogue.new_batches import NewBatch
from deployments.kept_files import CARD_BYTES, document_id_of, kept_path
from deployments.types import JobStatus
from tests.support import job_engine
from tests.support.job_engine import Parts, Retriever, ended, running

pytestmark = pytest.mark.anyio

STORE, BATCH, FILES = "alice.vs_1", "vsfb_1", 40
MAX_QUEUED = 32  # of which a batch may take a quarter


async def keep(parts: Parts, contents: Sequence[bytes]) -> list[BatchFile]:
    """Keep files of alice, and return them as those of a batch."""
    files = []
    for number, content in enumerate(contents):
        file_id = f"file-{number:032x}"
        digest = hashlib.sha256(content).hexdigest()
        entry = FileEntry(file_id, f"{number}.txt", "user_data", len(content), 1, digest)
        await parts.files.put(kept_path("alice", file_id), content, b"card".ljust(CARD_BYTES))
        await parts.catalogue.files.add("alice", entry)
        files.append(BatchFile(document_id_of(file_id)))
    return files


async def test_a_batch_takes_turns_with_other_keys_and_goes_on_after_a_restart(
    job_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = Retriever()  # which outlives the jobs
    monkeypatch.setattr(job_engine, "Retriever", lambda: stored)
    files = [b"bad" if number == 7 else b"text %d" % number for number in range(FILES)]
    async with running(job_database, tmp_path, max_queued=MAX_QUEUED) as parts:
        parts.retriever.open.clear()
        await parts.retriever.create(STORE)
        await parts.catalogue.collections.add(CollectionEntry(STORE, "a store", 1))
        batch = NewBatch(BATCH, STORE, await keep(parts, files), 1)
        await parts.catalogue.batches.add(batch)
        await parts.retriever.reached.wait()
        # The rest of the batch waits in the catalogue, and leaves room for other uploads.
        await asyncio.sleep(1)
        waiting = await parts.catalogue.batches.waiting("alice", FILES)
        assert FILES - MAX_QUEUED // 2 <= len(waiting) < FILES
        text = await parts.submissions.ingest(await parts.uploaded(b"text", "b", "bob"), None)
        parts.retriever.open.set()
        assert (await ended(parts, text.job.id)).status is JobStatus.SUCCEEDED
        # Before it went only what was at work, and one more in whose turn it came.
        assert [owner for owner, _ in parts.parser.begun].index("bob") <= 2
    async with running(job_database, tmp_path, max_queued=MAX_QUEUED) as parts:
        batches = parts.catalogue.batches

        async def has_ended() -> bool:
            counts = (await batches.get(STORE, BATCH)).files
            return not counts.get(DocumentStatus.IN_PROGRESS)

        async with asyncio.timeout(60):
            while not await has_ended():
                await asyncio.sleep(0.1)
        shown = await batches.get(STORE, BATCH)
        assert shown.files == {DocumentStatus.COMPLETED: FILES - 1, DocumentStatus.FAILED: 1}
        assert not shown.cancelled
        entry = await parts.catalogue.collections.get(STORE)
        assert (entry.completed, entry.failed, entry.in_progress) == (FILES - 1, 1, 0)
        # Nothing was copied.
        assert await parts.files.names("uploads") == []
