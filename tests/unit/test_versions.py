"""A search finds one version of a document, whole, at any moment while it is replaced."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from deployments.catalogue.catalogue import Catalogue
from deployments.catalogue.entries import PageQuery, Upload
from deployments.errors import Unavailable
from deployments.file_store import FileStore
from deployments.jobs.cancellation import Cancellations
from deployments.jobs.ingest import IngestSteps
from deployments.jobs.records import CATALOGUED
from deployments.jobs.retrying import BackendCaller
from deployments.retriever.document_retriever import DocumentRetriever
from deployments.retriever.edge.store import EdgeStore
from deployments.retriever.qdrant.store import ServerStore
from deployments.retriever.vector_store import VectorStore
from deployments.settings import RetrieverSettings
from deployments.types import Chunk, Document
from serve_app.testing import FakeEmbedder, FakeParser
from serve_app.testing.service import new_catalogue

pytestmark = pytest.mark.anyio
PARTS = 48  # more than a search looks at of each version
REPLACEMENTS: dict[type, int] = {EdgeStore: 50, ServerStore: 10}  # Qdrant's imitation is slow
_PART = re.compile(r"part (\d+) of version (\d+)")


@pytest.fixture(params=["edge", "server"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[VectorStore]:
    opened: VectorStore
    if request.param == "edge":
        opened = EdgeStore(tmp_path, chunker_version=1)
    else:
        opened = ServerStore(":memory:", chunker_version=1)
    yield opened
    await opened.close()


class Searching(DocumentRetriever):
    async def check_health(self) -> None: ...


class Ingestion:
    """Ingests versions of one document as a job does."""

    def __init__(self, retriever: Searching, catalogue: Catalogue, files: FileStore) -> None:
        self._versions = catalogue.versions
        backends = BackendCaller(Cancellations())
        self._steps = IngestSteps(
            FakeParser(files), retriever, files, backends, catalogue, batch_chunks=4
        )

    async def begin(self, number: int) -> Document:
        upload = Upload("default", "report.txt", 1, f"{number:064}", f"job_{number}")
        document = (await self._versions.begin(upload)).document
        assert document.version == number
        return document

    async def ingest(self, document: Document) -> None:
        number = document.version
        record = asdict(replace(document, title="Report", chunks=PARTS)) | {CATALOGUED: True}
        texts = [f"part {part} of version {number}" for part in range(PARTS)]
        chunks = [Chunk(part, text, 5) for part, text in enumerate(texts)]
        await self._steps.publish(f"job_{number}", record, chunks)


async def test_a_search_finds_one_version_whole_while_it_is_replaced(
    store: VectorStore, tmp_path: Path
) -> None:
    catalogue, replacements = new_catalogue(), REPLACEMENTS[type(store)]
    retriever = Searching(
        store,
        FakeEmbedder(),
        RetrieverSettings(candidates=PARTS),
        versions=catalogue.documents.current,
    )
    ingestion = Ingestion(retriever, catalogue, FileStore(str(tmp_path / "files")))
    await ingestion.ingest(await ingestion.begin(1))
    seen: list[int] = []
    replaced = asyncio.Event()

    async def ask() -> None:
        while not replaced.is_set():
            passages = await retriever.search(["version"], "default", PARTS, 1_000_000)
            parts = [part for each in passages for part in _PART.findall(each.text)]
            versions = {version for _, version in parts}
            assert len(versions) == 1, f"versions {versions} in one answer"
            assert {int(number) for number, _ in parts} == set(range(PARTS))
            seen.append(int(versions.pop()))
            await asyncio.sleep(0.02)

    async def replace_often() -> None:
        try:
            # Two at a time, which end in any order.
            for number in range(2, replacements + 2, 2):
                documents = [await ingestion.begin(each) for each in (number, number + 1)]
                await asyncio.gather(*map(ingestion.ingest, reversed(documents)))
        finally:
            replaced.set()

    async with asyncio.TaskGroup() as tasks:
        for _ in range(2):
            tasks.create_task(ask())
        tasks.create_task(replace_often())
    assert len(set(seen)) > replacements / 4
    assert seen[-1] >= replacements
    (current,) = (await catalogue.documents.page("default", PageQuery(9))).entries
    assert current.document.version == replacements + 1


@pytest.mark.parametrize("chunker", ["", "3.90.45"])
async def test_the_content_of_the_current_version_is_read_in_order(
    store: VectorStore, chunker: str
) -> None:
    # The store's chunker, for what version 0.1 has stored.
    retriever = Searching(store, FakeEmbedder(), RetrieverSettings(min_relevance=None))
    first = Document(
        "doc_1", "default", "a.txt", "A", "text/plain", 1, None, 7, 1.0, "job_1", chunker=chunker
    )
    chunks = [Chunk(number, f"part {number}", 2, overlap_chars=number) for number in range(7)]
    await retriever.publish(first, list(reversed(chunks)))
    assert await retriever.content(first, 0, 5) == chunks[:5]
    assert await retriever.content(first, 5, 5) == chunks[5:]
    assert await retriever.content(first, 7, 5) == []
    second = replace(first, version=2, job_id="job_2", chunks=1)
    await retriever.publish(second, [Chunk(0, "anew", 1)])
    await retriever.discard("default", "doc_1", [1])
    assert await retriever.content(second, 0, 5) == [Chunk(0, "anew", 1)]
    with pytest.raises(Unavailable, match="is being replaced"):
        await retriever.content(first, 0, 5)
