"""A change of the chunker: retriever, worker and doctor, on both vector stores."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from deployments.catalogue.catalogue import Catalogue
from deployments.catalogue.clock import now_ms
from deployments.catalogue.entries import ChangeState, PageQuery, Upload
from deployments.chunk_batches import read_batch, write_batches
from deployments.contents import content_path
from deployments.errors import NotFound, ServiceError, Unavailable, Unprocessable
from deployments.file_store import FileStore
from deployments.jobs.doctor.documents import Grace
from deployments.jobs.doctor.examination import Examination
from deployments.jobs.rechunk_steps import RechunkSteps
from deployments.jobs.rechunking import Rechunker
from deployments.retriever.document_retriever import DocumentRetriever
from deployments.settings import RetrieverSettings
from deployments.types import (
    Chunk,
    Chunking,
    Document,
    DocumentWarning,
    EmbeddingModel,
    ParsedDocument,
    ParseSpec,
)
from serve_app.testing import FakeEmbedder
from tests.support.catalogue_and_store import opened

pytestmark = pytest.mark.anyio

PAPERS = "alice.papers"
LINES = 6
DOCUMENTS = 5


class Embedder(FakeEmbedder):
    """Knows how many texts it has embedded."""

    async def model(self) -> EmbeddingModel:
        return EmbeddingModel("fake", "fake", 4)

    async def embed(
        self, texts: Sequence[str], kind: str, fingerprint: str = ""
    ) -> NDArray[np.float32]:
        del fingerprint
        if kind == "passage":
            self.embedded += texts
        rows = np.array([[len(text), 1, 0, 1] for text in texts], dtype=np.float32)
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


@dataclass
class LineParser:
    """Cuts a text into chunks of some lines."""

    files: FileStore
    lines: int = 1
    calls: int = 0
    broken: str = ""
    language: str = ""

    async def check_health(self) -> None: ...

    @property
    def chunker(self) -> str:
        return f"1.{self.lines}"

    async def parse(self, spec: ParseSpec) -> ParsedDocument:
        self.calls += 1
        text = (await self.files.get(spec.path)).decode()
        if self.broken and self.broken in text:
            msg = "it cannot be read"
            raise Unprocessable(msg)
        lines, size = text.splitlines(), self.lines
        if spec.chunking is not None:
            size = spec.chunking.max_tokens
        kept, rest = lines[:2], lines[2:]  # the first two are chunks of their own, however long
        texts = [*kept, *(" ".join(rest[n : n + size]) for n in range(0, len(rest), size))]
        chunks = [Chunk(number, each, 2) for number, each in enumerate(texts)]
        batches = await write_batches(self.files, spec.chunks_folder, chunks, 2)
        return ParsedDocument(
            *("", "text/plain", None, len(chunks), batches),
            chunker=f"1.{size}",
            language=self.language,
        )


class Searching(DocumentRetriever):
    async def check_health(self) -> None: ...


@dataclass
class Installation:
    catalogue: Catalogue
    store: Any
    files: FileStore
    embedder: Embedder
    retriever: Searching
    parser: LineParser
    worker: Rechunker

    def deploy(self, lines: int) -> None:
        """Start parser and worker again, with another chunker."""
        self.parser = LineParser(self.files, lines)
        steps = RechunkSteps(
            *(self.catalogue, self.parser, self.retriever, self.files), self.parser.chunker, 2
        )
        self.worker = Rechunker(steps, rest_s=0, look_s=0)

    async def upload(
        self, number: int, chunking: Chunking | None = None, text: str = ""
    ) -> Document:
        """Ingest a document as a job does."""
        name = f"doc{number}.txt"
        text = text or "\n".join(f"word{number}n{line} okapi" for line in range(LINES))
        job_id = f"job_{number}"
        digest = sha256(text.encode()).hexdigest()
        upload = Upload(PAPERS, name, len(text.encode()), digest, job_id, chunking=chunking)
        begun = (await self.catalogue.versions.begin(upload)).document
        path = content_path(PAPERS, begun.id, begun.version)
        await self.files.put(path, text.encode())
        spec = ParseSpec(path, name, f"chunks/{job_id}", chunking=chunking)
        parsed = await self.parser.parse(spec)
        document = replace(begun, title=name, chunks=parsed.chunks, chunker=parsed.chunker)
        await self.retriever.publish(document, await self.cut(f"chunks/{job_id}", parsed.batches))
        await self.files.delete(f"chunks/{job_id}")
        await self.catalogue.versions.complete(document)
        return document

    async def cut(self, folder: str, batches: int) -> list[Chunk]:
        parts = [await read_batch(self.files, folder, number) for number in range(batches)]
        return [chunk for part in parts for chunk in part]

    async def hits(self) -> int:
        """Count the documents that a question about their last line finds."""
        hits = 0
        for number in range(DOCUMENTS):
            question = f"word{number}n{LINES - 1}"
            found = await self.retriever.search([question], PAPERS, 3, 1000)
            hits += any(question in passage.text for passage in found)
        return hits

    async def cut_by(self) -> list[tuple[str, int]]:
        """Return chunker and number of chunks of each document, as the catalogue has them."""
        documents = [
            (await self.catalogue.documents.get(PAPERS, document_id)).document
            for document_id in await self.ids()
        ]
        for document in documents:
            content = await self.retriever.content(document, 0, 100)
            assert [chunk.number for chunk in content] == list(range(document.chunks))
        return [(document.chunker, document.chunks) for document in documents]

    async def ids(self) -> list[str]:
        page = await self.catalogue.documents.page(PAPERS, PageQuery(50))
        return sorted(entry.document.id for entry in page.entries)

    async def state(self) -> ChangeState:
        change = await self.catalogue.chunker_changes.latest()
        assert change is not None
        return change.state

    async def damage(self) -> list[str]:
        grace = Grace(pause_s=0, look_s=0.05)
        examined = Examination(
            *(self.catalogue, self.retriever, self.files, None), grace=grace, thorough=True
        )
        return [finding.kind.value async for finding in examined.findings()]


@pytest.fixture(params=["edge", pytest.param("server", marks=pytest.mark.long)])
async def installation(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[Installation]:
    async with opened(request, tmp_path) as (catalogue, store):
        embedder, files = Embedder(), FileStore(str(tmp_path / "files"))
        retriever = Searching(
            store,
            embedder,
            RetrieverSettings(min_relevance=None),
            versions=catalogue.documents.current,
            attributes=catalogue.documents.attributes,
            collections=catalogue.collections,
            pairs=catalogue.model_changes,
            removals=catalogue.removals,
        )
        parts: Any = (catalogue, store, files, embedder, retriever, None, None)  # two are set below
        made = Installation(*parts)
        made.deploy(1)
        for number in range(DOCUMENTS):
            await made.upload(number)
        embedder.embedded.clear()
        yield made


@pytest.mark.parametrize("installation", ["edge", "server"], indirect=True)
async def test_questions_are_answered_while_all_documents_are_cut_anew(
    installation: Installation,
) -> None:
    assert await installation.hits() == DOCUMENTS
    installation.deploy(2)
    work = asyncio.create_task(installation.worker.run_pending())
    asked = 0
    while not work.done():
        assert await installation.hits() == DOCUMENTS
        asked += 1
    await work
    assert asked > 1
    assert await installation.state() is ChangeState.FINISHED
    assert await installation.cut_by() == [("1.2", 4)] * DOCUMENTS
    # The first two chunks of each document are as they were.
    again = [text for text in installation.embedder.embedded if "okapi" in text]
    assert len(again) == 2 * DOCUMENTS
    assert not any("n0" in text or "n1" in text for text in again)
    assert await installation.damage() == []
    assert await installation.files.names("chunks") == []


async def test_rechunking_indexes_words_in_the_language_of_the_document(
    installation: Installation,
) -> None:
    """As its texts stay, none is embedded."""

    async def found() -> bool:
        passages = await installation.retriever.search(["Haus"], PAPERS, 1, 80)
        return bool(passages) and "Häuser" in passages[0].text

    document = await installation.upload(
        7, text="Die alten Häuser am Fluss wurden verkauft, bevor\nsie verfielen."
    )
    installation.embedder.embedded.clear()
    assert not await found()
    installation.deploy(LINES)
    installation.parser.language = "de"
    await installation.worker.run_pending()
    assert await found()
    assert not any("Häuser" in text for text in installation.embedder.embedded)
    entry = await installation.catalogue.documents.get(PAPERS, document.id)
    assert entry.document.language == "de"


async def test_sizes_of_their_own_stay(installation: Installation) -> None:
    await installation.upload(7, Chunking(3, 0))
    installation.deploy(2)
    await installation.worker.run_pending()
    assert sorted(await installation.cut_by()) == [("1.2", 4)] * DOCUMENTS + [("1.3", 4)]
    assert installation.parser.calls == DOCUMENTS


@pytest.mark.parametrize("installation", ["edge", "server"], indirect=True)
@pytest.mark.parametrize("at", ["replace_chunks", "publish", "after publish"])
async def test_a_worker_that_is_killed_is_continued(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    calls = 0
    name = at.removeprefix("after ")
    method: Callable[..., Awaitable[Any]] = getattr(installation.retriever, name)

    async def killed(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            if at.startswith("after"):
                await method(*args)
            raise asyncio.CancelledError
        return await method(*args)

    installation.deploy(2)
    with monkeypatch.context() as patch:
        patch.setattr(installation.retriever, name, killed)
        with contextlib.suppress(asyncio.CancelledError):
            await installation.worker.run_pending()
    assert calls == 2
    assert await installation.hits() == DOCUMENTS
    assert await installation.damage() == []
    installation.deploy(2)
    await installation.worker.run_pending()
    assert await installation.cut_by() == [("1.2", 4)] * DOCUMENTS
    assert await installation.damage() == []


@pytest.mark.parametrize("change", ["deleted", "replaced"])
async def test_a_document_that_changes_meanwhile_is_left(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    taken = (await installation.ids())[0]
    publish, changed = installation.retriever.publish, False

    async def meanwhile(document: Document, *args: Any) -> None:
        nonlocal changed
        if document.id == taken and not changed:
            changed = True
            if change == "deleted":
                await installation.catalogue.documents.remove(PAPERS, taken)
                await installation.retriever.delete(PAPERS, taken)
            else:
                upload = Upload(PAPERS, document.filename, 9, "new", "job_new")
                begun = (await installation.catalogue.versions.begin(upload)).document
                new = replace(begun, title="", chunks=1, chunker="1.2")
                await publish(new, [Chunk(0, "word0n5 newer", 2)])
                assert await installation.catalogue.versions.complete(new) == [1]
                await installation.retriever.discard(PAPERS, taken, [1])
        await publish(document, *args)

    installation.deploy(2)
    with monkeypatch.context() as patch:
        patch.setattr(installation.retriever, "publish", meanwhile)
        await installation.worker.run_pending()
    assert changed
    await installation.worker.run_pending()
    found = await installation.retriever.search(["word0n5"], PAPERS, 3, 1000)
    texts = [passage.text for passage in found if passage.document_id == taken]
    assert texts == ([] if change == "deleted" else ["word0n5 newer"])
    damage = await installation.damage()
    assert [kind for kind in damage if kind not in {"content_missing", "unknown_file"}] == []
    assert await installation.state() is ChangeState.FINISHED


async def test_nothing_stays_of_a_document_that_was_deleted_before_a_kill(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = (await installation.ids())[0]
    replace_chunks, calls = installation.retriever.replace_chunks, 0

    async def late(*args: Any) -> float:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise asyncio.CancelledError
        await installation.catalogue.documents.remove(PAPERS, taken)
        await installation.retriever.delete(PAPERS, taken)
        return await replace_chunks(*args)

    installation.deploy(2)
    with monkeypatch.context() as patch:
        patch.setattr(installation.retriever, "replace_chunks", late)
        with contextlib.suppress(asyncio.CancelledError):
            await installation.worker.run_pending()
    installation.deploy(2)
    await installation.worker.run_pending()
    index = (await installation.retriever.indexes())[0].name
    assert await installation.retriever.inventory(index, 10, None, (PAPERS, taken)) == []


async def test_what_cannot_be_read_again_stays_and_is_counted(installation: Installation) -> None:
    lost = (await installation.ids())[0]
    await installation.files.delete(content_path(PAPERS, lost, 1))
    installation.deploy(2)
    installation.parser.broken = "word1n0"
    await installation.worker.run_pending()
    change = await installation.catalogue.chunker_changes.latest()
    assert change is not None
    assert (change.state, change.failed) == (ChangeState.FINISHED, 2)
    assert sorted(await installation.cut_by()) == [("1.1", 6)] * 2 + [("1.2", 4)] * 3
    assert await installation.hits() == DOCUMENTS
    installation.deploy(2)  # they are not tried again at every start
    await installation.worker.run_pending()
    assert installation.parser.calls == 0
    await installation.catalogue.chunker_changes.start()
    await installation.worker.run_pending()
    assert sorted(await installation.cut_by()) == [("1.1", 6)] + [("1.2", 4)] * 4


async def test_what_ocr_has_read_is_not_replaced_by_less(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    scanned = await installation.upload(0)
    recognised = replace(scanned, warnings=(DocumentWarning("pages_by_ocr", "OCR", (1, 2)),))
    await installation.catalogue.versions.complete(recognised)
    installation.deploy(2)
    await installation.worker.run_pending()
    change = await installation.catalogue.chunker_changes.latest()
    assert change is not None
    assert (change.state, change.failed) == (ChangeState.FINISHED, 1)
    assert sorted(await installation.cut_by()) == [("1.1", 6)] + [("1.2", 4)] * 4


async def test_it_waits_while_something_does_not_answer(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    installation.deploy(2)

    async def away(*_: Any) -> None:
        msg = "no retriever"
        raise Unavailable(msg)

    with monkeypatch.context() as patch:
        patch.setattr(installation.retriever, "replace_chunks", away)
        await installation.worker.run_pending()
    assert await installation.state() is ChangeState.RUNNING
    await installation.worker.run_pending()
    assert await installation.cut_by() == [("1.2", 4)] * DOCUMENTS


async def test_a_change_is_paused_cancelled_and_begun_again(installation: Installation) -> None:
    changes = installation.catalogue.chunker_changes
    with pytest.raises(NotFound, match="were chunked by the chunker"):
        await changes.pause()
    await changes.begin("1.2", now_ms())
    await changes.pause()
    installation.deploy(2)
    await installation.worker.run_pending()
    assert installation.parser.calls == 0
    await changes.cancel()
    await installation.worker.run_pending()
    assert await installation.cut_by() == [("1.1", 6)] * DOCUMENTS
    await changes.start()
    await installation.worker.run_pending()
    assert await installation.state() is ChangeState.FINISHED
    # Another chunker is another change.
    installation.deploy(3)
    await installation.worker.run_pending()
    assert await installation.cut_by() == [("1.3", 4)] * DOCUMENTS


async def test_a_second_worker_waits_and_a_lost_claim_ends_the_first(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    installation.deploy(2)
    first, parse = installation.worker, installation.parser.parse
    changes = installation.catalogue.chunker_changes
    others = 0

    async def meanwhile(spec: ParseSpec) -> ParsedDocument:
        nonlocal others
        parsed = await parse(spec)
        others += 1
        assert await changes.claim("1.2", "another", 60) is None
        if others == 2:
            assert await changes.claim("1.2", "another", -1) is not None
        return parsed

    monkeypatch.setattr(installation.parser, "parse", meanwhile)
    await first.run_pending()
    assert others == 2
    assert [chunker for chunker, _ in await installation.cut_by()].count("1.2") == 1
    assert (await changes.latest()).claimant == "another"  # type: ignore[union-attr]
    assert await installation.hits() == DOCUMENTS


async def test_a_replica_with_settings_of_the_past_begins_no_change(
    installation: Installation,
) -> None:
    installation.deploy(3)
    old = installation.worker
    await asyncio.sleep(0.01)
    installation.deploy(2)
    await installation.worker.run_pending()
    await old.run_pending()
    assert await installation.cut_by() == [("1.2", 4)] * DOCUMENTS


async def test_a_change_back_completes_the_document_in_progress(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def killed(*_: Any) -> None:
        raise asyncio.CancelledError

    installation.deploy(2)
    with monkeypatch.context() as patch:
        patch.setattr(installation.retriever, "publish", killed)
        with contextlib.suppress(asyncio.CancelledError):
            await installation.worker.run_pending()
    await asyncio.sleep(0.01)
    installation.deploy(1)
    await installation.worker.run_pending()
    latest = await installation.catalogue.chunker_changes.latest()
    assert latest is not None
    assert (latest.chunker, latest.in_progress) == ("1.1", None)
    assert await installation.cut_by() == [("1.1", 6)] * DOCUMENTS
    assert await installation.damage() == []


async def test_what_was_published_before_a_kill_is_described_though_its_content_is_gone(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = (await installation.ids())[0]
    publish = installation.retriever.publish

    async def killed(document: Document, *args: Any) -> None:
        await publish(document, *args)
        raise asyncio.CancelledError

    installation.deploy(2)
    with monkeypatch.context() as patch:
        patch.setattr(installation.retriever, "publish", killed)
        with contextlib.suppress(asyncio.CancelledError):
            await installation.worker.run_pending()
    await installation.files.delete(content_path(PAPERS, first, 1))
    installation.deploy(2)
    await installation.worker.run_pending()
    assert await installation.cut_by() == [("1.2", 4)] * DOCUMENTS
    assert await installation.damage() == ["content_missing"]


async def test_one_document_that_fails_holds_up_no_others(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = (await installation.ids())[1]
    replace_chunks = installation.retriever.replace_chunks

    async def fails(document: Document, *args: Any) -> float:
        if document.id == failing:
            msg = "its index is damaged"
            raise ServiceError(msg)
        return await replace_chunks(document, *args)

    installation.deploy(2)
    monkeypatch.setattr(installation.retriever, "replace_chunks", fails)
    for _ in range(5):
        await installation.worker.run_pending()
    change = await installation.catalogue.chunker_changes.latest()
    assert change is not None
    assert (change.state, change.failed) == (ChangeState.FINISHED, 1)
    assert sorted(await installation.cut_by()) == [("1.1", 6)] + [("1.2", 4)] * 4
    assert await installation.hits() == DOCUMENTS


@pytest.mark.parametrize("installation", ["edge", "server"], indirect=True)
async def test_a_search_shows_one_edition_of_a_version(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As between the two operations by which a server exchanges them."""
    candidates = installation.store.candidates
    excluded: list[frozenset[tuple[str, str]]] = []

    async def both(index: Any, collection: str, query: Any) -> list[Any]:
        found = await candidates(index, collection, query)
        twins = [
            replace(one, stored=replace(one.stored, edition="1.2.4"))
            for one in found
            if (one.stored.document.id, "1.2.4") not in query.excluded
        ]
        excluded.append(query.excluded)
        return [*found, *twins]

    monkeypatch.setattr(installation.store, "candidates", both)
    found = await installation.retriever.search(["word0n5"], PAPERS, 10, 5000)
    places = [(passage.document_id, passage.first) for passage in found]
    assert len(places) == len(set(places)) > 0
    assert {edition for one in excluded for _, edition in one} == {"1.2.4"}


async def test_nothing_is_cut_while_a_backup_is_taken(installation: Installation) -> None:
    token = await installation.catalogue.backups.begin()
    installation.deploy(2)
    await installation.worker.run_pending()
    assert installation.parser.calls == 0
    await installation.catalogue.backups.end(token)
    await installation.worker.run_pending()
    assert await installation.cut_by() == [("1.2", 4)] * DOCUMENTS
