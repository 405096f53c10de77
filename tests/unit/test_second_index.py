"""A change of the embedding model: retriever and worker, on both vector stores."""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from deployments.catalogue.catalogue import Catalogue
from deployments.catalogue.entries import ChangeState, Upload
from deployments.errors import MODEL_CHANGED, Conflict, Unavailable
from deployments.jobs.reindexing import Reindexer
from deployments.retriever.document_retriever import DocumentRetriever
from deployments.retriever.embedding import index_of
from deployments.settings import RetrieverSettings
from deployments.types import Chunk, Document, EmbeddingModel
from serve_app.testing import FakeEmbedder
from tests.support.catalogue_and_store import opened

pytestmark = pytest.mark.anyio

DIMENSIONS = 48
DOCUMENTS = 12
PAPERS = "alice.papers"


class Embedder(FakeEmbedder):
    """Gives the question `about qN` the vector of the text `N N`, which shares no word with it."""

    def __init__(self, name: str, *, rotated: bool = False) -> None:
        self.present = EmbeddingModel(name, name, DIMENSIONS)
        drawn = np.random.default_rng(7).standard_normal((DIMENSIONS, DIMENSIONS))
        self.rotation = np.linalg.qr(drawn)[0] if rotated else np.eye(DIMENSIONS)
        self.away = False
        self.texts = 0

    async def model(self) -> EmbeddingModel:
        if self.away:
            raise Unavailable("no embedder")
        return self.present

    async def embed(
        self, texts: Sequence[str], kind: str, fingerprint: str = ""
    ) -> NDArray[np.float32]:
        if self.away:
            raise Unavailable("no embedder")
        if fingerprint not in {"", self.present.fingerprint}:
            raise Conflict("another model", code=MODEL_CHANGED)
        self.texts += len(texts)
        assert kind in {"query", "passage"}
        numbers = [text.rpartition("\n")[2].split()[-1].removeprefix("q") for text in texts]
        rows = np.stack([vector(number) for number in numbers]) @ self.rotation
        return np.asarray(rows, dtype=np.float32)


def vector(number: str) -> NDArray[np.float64]:
    drawn = np.random.default_rng(zlib.crc32(number.encode())).standard_normal(DIMENSIONS)
    return np.asarray(drawn / np.linalg.norm(drawn))


class Searching(DocumentRetriever):
    async def check_health(self) -> None: ...


@dataclass
class Installation:
    """Stores, and a retriever and a worker on them, which may be replaced by others."""

    catalogue: Catalogue
    store: Any
    retriever: Searching
    worker: Reindexer

    def deploy(self, embedder: Embedder, further: Embedder | None, **kwargs: Any) -> None:
        """Start retriever and worker again, with other models."""
        catalogue = self.catalogue
        self.retriever = Searching(
            self.store,
            embedder,
            RetrieverSettings(min_relevance=None),
            versions=catalogue.documents.current,
            attributes=catalogue.documents.attributes,
            collections=catalogue.collections,
            pairs=catalogue.model_changes,
            next_embedder=further,
            removals=catalogue.removals,
            batch_chunks=4,
        )
        self.worker = Reindexer(catalogue, self.retriever, in_flight_s=0, idle_s=0, **kwargs)

    async def upload(
        self, number: int, collection: str = PAPERS, chunks: int = 1, text: str = ""
    ) -> Document:
        """Ingest a document as a job does; another text makes another version."""
        name = f"doc{number}.txt"
        upload = Upload(collection, name, 9, f"{number} {text}", f"job_{number}{text}")
        begun = (await self.catalogue.versions.begin(upload)).document
        document = replace(begun, title="", chunks=chunks)
        texts = [text or f"{number}"] + [f"{number} part{part}" for part in range(1, chunks)]
        cut = [Chunk(n, f"{each} {each}", 2) for n, each in enumerate(texts)]
        await self.retriever.add(document, cut)
        await self.retriever.publish(document)
        for superseded in await self.catalogue.versions.complete(document):
            await self.retriever.discard(collection, document.id, [superseded])
        return document

    async def hits(self, numbers: Sequence[int] = range(DOCUMENTS)) -> int:
        """Count the questions that find their document among the first three passages."""
        hits = 0
        for number in numbers:
            found = await self.retriever.search([f"about q{number}"], PAPERS, 3, 1000)
            hits += f"doc{number}.txt" in {passage.filename for passage in found}
        return hits

    async def state(self) -> ChangeState:
        change = await self.catalogue.model_changes.latest()
        assert change is not None
        return change.state

    async def stored(self, embedder: Embedder, document: Document) -> bool:
        """Whether a document is published in the index of a model."""
        index = index_of(embedder.present)
        found = await self.store.published(
            index, document.collection, document.id, document.version
        )
        return found is not None


@pytest.fixture(params=["edge", pytest.param("server", marks=pytest.mark.long)])
async def installation(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[Installation]:
    async with opened(request, tmp_path) as (catalogue, store):
        made = Installation(catalogue, store, None, None)  # type: ignore[arg-type]  # set below
        made.deploy(Embedder("old"), None)
        for number in range(DOCUMENTS):
            await made.upload(number)
        yield made


@pytest.mark.parametrize("installation", ["edge", "server"], indirect=True)
async def test_questions_are_answered_equally_well_at_every_moment(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = Embedder("old"), Embedder("new", rotated=True)
    assert await installation.hits() == DOCUMENTS
    await installation.worker.run_pending()
    assert await installation.catalogue.model_changes.latest() is None
    installation.deploy(old, new)
    counted: list[int] = []
    copy = installation.retriever.copy

    async def watched(document: Document, *args: Any, **kwargs: Any) -> Any:
        counted.append(await installation.hits(numbers=range(0, DOCUMENTS, 4)))
        if len(counted) == 5:  # in the middle: a new document, another version, and a deletion
            await installation.upload(100)
            await installation.upload(1, text="new 1")
            await installation.catalogue.documents.remove(PAPERS, replaced.id)
            await installation.retriever.delete(PAPERS, replaced.id)
        return await copy(document, *args, **kwargs)

    replaced = await installation.upload(50)
    monkeypatch.setattr(installation.retriever, "copy", watched)
    await installation.worker.run_pending()
    assert await installation.state() is ChangeState.SWITCHED
    assert set(counted) == {3}
    assert len(counted) > DOCUMENTS - 5
    assert await installation.hits(numbers=[*range(DOCUMENTS), 100]) == DOCUMENTS + 1
    assert not await installation.stored(new, replaced)
    # All the same if vectors of the two models were compared: then nearly nothing is found.
    with monkeypatch.context() as mixed:
        mixed.setattr(new, "rotation", np.eye(DIMENSIONS))
        assert await installation.hits() < DOCUMENTS / 2
    # Back and forth: both are kept equal.
    last = await installation.upload(101)
    for command in ("back", "switch"):
        assert await getattr(installation.catalogue.model_changes, command)() == 1
        assert await installation.hits(numbers=[*range(DOCUMENTS), 100, 101]) == DOCUMENTS + 2
        await installation.worker.run_pending()
    assert await installation.stored(old, last)
    await installation.catalogue.model_changes.finish()
    await installation.worker.run_pending()
    assert not await installation.stored(old, last)
    assert await installation.catalogue.model_changes.to_empty(1) == []
    assert await installation.hits(numbers=[*range(DOCUMENTS), 101]) == DOCUMENTS + 1
    # The configuration names the new model alone.
    installation.deploy(new, None)
    await installation.worker.run_pending()
    assert await installation.state() is ChangeState.FINISHED
    assert await installation.hits() == DOCUMENTS


@pytest.mark.parametrize("installation", ["edge", "server"], indirect=True)
async def test_a_worker_that_is_killed_is_continued(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = Embedder("old"), Embedder("new", rotated=True)
    large = await installation.upload(200, chunks=70)
    installation.deploy(old, new)
    copy, copied = installation.retriever.copy, 0

    async def stopping(document: Document, first: int, *args: Any, **kwargs: Any) -> Any:
        nonlocal copied
        copied += 1
        if copied == 10 or (document.id == large.id and first):
            raise asyncio.CancelledError
        return await copy(document, first, *args, **kwargs)

    monkeypatch.setattr(installation.retriever, "copy", stopping)
    for _ in range(3):
        with contextlib.suppress(asyncio.CancelledError):
            await installation.worker.run_pending()
    progress = await installation.catalogue.model_changes.progress()
    assert 0 < progress.done_documents < progress.documents == DOCUMENTS + 1
    assert await installation.state() is ChangeState.RUNNING
    embedded = new.texts
    installation.deploy(old, new)
    await installation.worker.run_pending()
    assert await installation.state() is ChangeState.SWITCHED
    assert new.texts - embedded < DOCUMENTS - progress.done_documents + 71  # not all over again
    assert await installation.hits() == DOCUMENTS
    found = await installation.retriever.search(["about qpart69"], PAPERS, 1, 1000)
    assert "200 part69" in found[0].text


async def test_the_next_model_may_be_unavailable(installation: Installation) -> None:
    """Uploads and questions go on without it; what it lacks is copied later."""
    old, new = Embedder("old"), Embedder("new", rotated=True)
    new.away = True
    installation.deploy(old, new)
    await installation.worker.run_pending()
    first = await installation.upload(100)
    assert await installation.hits(numbers=[3, 100]) == 2
    new.away = False
    installation.retriever._embedders._unanswered_s = float("-inf")
    installation.worker._automatic = False
    await installation.worker.run_pending()
    assert await installation.stored(new, first)
    new.away = True
    second = await installation.upload(101)
    with pytest.raises(Conflict, match="1 documents"):
        await installation.catalogue.model_changes.switch()
    new.away = False
    assert not await installation.stored(new, second)
    await installation.worker.run_pending()
    assert await installation.stored(new, second)
    assert await installation.state() is ChangeState.RUNNING  # switched by command only
    assert await installation.catalogue.model_changes.switch() == 1


async def test_a_change_is_paused_and_cancelled(installation: Installation) -> None:
    old, new = Embedder("old"), Embedder("new", rotated=True)
    changes = installation.catalogue.model_changes
    installation.deploy(old, new, automatic=False)
    await installation.worker._begin_if_configured(await installation.retriever.index_models())
    await changes.pause()
    await installation.worker.run_pending()
    assert (await changes.progress()).done_documents == 0
    document = await installation.upload(100)
    assert await installation.stored(new, document)  # uploads go into both all the same
    await changes.resume()
    await installation.worker.run_pending()
    assert (await changes.progress()).done_documents == DOCUMENTS + 1
    await changes.cancel()
    await installation.worker.run_pending()
    assert not await installation.stored(new, document)
    await installation.worker.run_pending()
    assert await installation.state() is ChangeState.CANCELLED  # it does not begin by itself
    assert await installation.hits() == DOCUMENTS
    await changes.start()
    await installation.worker.run_pending()
    assert await installation.stored(new, document)


async def test_collections_in_different_indexes_are_searched_together(
    installation: Installation,
) -> None:
    old, new = Embedder("old"), Embedder("new", rotated=True)
    for number in range(30, 36):
        await installation.upload(number, "alice.notes")
    installation.deploy(old, new, automatic=False)
    await installation.worker.run_pending()
    assert await installation.catalogue.model_changes.switch("alice.notes") == 1
    for number in (4, 33):
        found = await installation.retriever.search(
            [f"about q{number}"], [PAPERS, "alice.notes"], 4, 1000
        )
        assert f"doc{number}.txt" in {passage.filename for passage in found[:2]}
        assert {passage.collection for passage in found} == {PAPERS, "alice.notes"}


@pytest.mark.parametrize("installation", ["edge", "server"], indirect=True)
async def test_one_model_after_the_other(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The operator replaces the model: a collection is unavailable until it is embedded again."""
    new = Embedder("new", rotated=True)
    await installation.upload(50, "alice.notes")
    installation.deploy(new, None)
    with pytest.raises(Unavailable, match=r"being embedded again with 'new'") as refused:
        await installation.hits()
    assert refused.value.code == "embedding_model_changed"
    upload = await installation.upload(100)
    with pytest.raises(Unavailable, match="1 of 13 documents are done"):
        await installation.hits()
    assert (await installation.retriever.document(PAPERS, upload.id, 1)).id == upload.id
    assert [c.text for c in await installation.retriever.content(upload, 0, 9)] == ["100 100"]
    copy, found_in_notes = installation.retriever.copy, 0

    async def watched(document: Document, *args: Any, **kwargs: Any) -> Any:
        nonlocal found_in_notes
        if document.collection == PAPERS:  # the other one is done, and can be searched
            asked = ["about q50"], "alice.notes", 1, 1000
            found = await installation.retriever.search(*asked)
            found_in_notes += len(found)
        return await copy(document, *args, **kwargs)

    monkeypatch.setattr(installation.retriever, "copy", watched)
    await installation.worker.run_pending()
    assert found_in_notes == DOCUMENTS
    assert await installation.state() is ChangeState.SWITCHED
    assert await installation.hits(numbers=[*range(DOCUMENTS), 100]) == DOCUMENTS + 1
    # And back, as the old index still exists: only the upload is embedded again.
    old = Embedder("old")
    installation.deploy(old, None)
    await installation.worker.run_pending()
    assert old.texts == 1
    assert await installation.hits(numbers=[*range(DOCUMENTS), 100]) == DOCUMENTS + 1
    await installation.catalogue.model_changes.finish()
    await installation.worker.run_pending()
    assert not await installation.stored(new, upload)


async def test_an_upload_that_ends_after_the_switch_is_in_both(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was stored in the index alone that was the present one then."""
    old, new = Embedder("old"), Embedder("new", rotated=True)
    installation.deploy(old, new)
    complete = installation.catalogue.versions.complete

    async def after_the_switch(document: Document) -> Sequence[int]:
        new.away = False
        await installation.worker.run_pending()
        return await complete(document)

    await installation.worker._begin_if_configured(await installation.retriever.index_models())
    change = await installation.catalogue.model_changes.latest()
    assert change is not None
    await installation.catalogue.model_changes.pair(change, [])
    new.away = True
    monkeypatch.setattr(installation.catalogue.versions, "complete", after_the_switch)
    upload = await installation.upload(100)
    assert await installation.state() is ChangeState.SWITCHED
    assert not await installation.stored(new, upload)
    await installation.worker.run_pending()
    assert await installation.stored(new, upload)
    assert await installation.hits(numbers=[100]) == 1


async def test_one_document_that_fails_holds_up_no_others(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    installation.deploy(Embedder("old"), Embedder("new", rotated=True))
    copy, away = installation.retriever.copy, {"doc0.txt"}

    async def failing(document: Document, *args: Any, **kwargs: Any) -> Any:
        if document.filename in away:
            raise Unavailable("the model of the index is not loaded")
        return await copy(document, *args, **kwargs)

    monkeypatch.setattr(installation.retriever, "copy", failing)
    await installation.worker.run_pending()
    changes = installation.catalogue.model_changes
    assert (await changes.progress()).done_documents == DOCUMENTS - 1
    change = await changes.latest()
    assert change is not None
    assert (change.failed, change.state) == (1, ChangeState.RUNNING)
    away.clear()
    await installation.worker.run_pending()
    assert await installation.state() is ChangeState.SWITCHED


async def test_a_copy_that_a_backup_needs_is_discarded_later(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As what it was copied from, which was removed while it was copied."""
    old, catalogue = Embedder("old"), installation.catalogue
    removed = await installation.upload(100)
    installation.deploy(old, Embedder("new", rotated=True))
    copy = installation.retriever._copier.slice

    async def meanwhile(document: Document, *args: Any, **kwargs: Any) -> Any:
        if document.id == removed.id:
            assert await catalogue.backups.begin() is not None
            await catalogue.documents.remove(PAPERS, removed.id)
        return await copy(document, *args, **kwargs)

    monkeypatch.setattr(type(installation.retriever._copier), "slice", staticmethod(meanwhile))
    await installation.worker.run_pending()
    assert await installation.stored(old, removed)


async def test_a_document_that_is_not_stored_whole_prevents_the_switch(
    installation: Installation,
) -> None:
    old, new = Embedder("old"), Embedder("new", rotated=True)
    damaged = await installation.upload(100, chunks=9)
    await installation.store.discard(PAPERS, damaged.id, [1])
    installation.deploy(old, new)
    await installation.worker.run_pending()
    change = await installation.catalogue.model_changes.latest()
    assert change is not None
    assert (change.failed, change.state) == (1, ChangeState.RUNNING)
    assert (await installation.catalogue.model_changes.progress()).done_documents == DOCUMENTS
    await installation.catalogue.documents.remove(PAPERS, damaged.id)
    await installation.worker.run_pending()
    assert await installation.state() is ChangeState.SWITCHED
