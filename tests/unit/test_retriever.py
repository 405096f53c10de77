"""The retriever on Qdrant's imitation in memory, with an embedder simple enough to foresee."""

from __future__ import annotations

import asyncio
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from deployments.catalogue.catalogue import Catalogue
from deployments.catalogue.entries import CollectionEntry, CurrentVersion, Upload
from deployments.errors import (
    MODEL_CHANGED,
    Conflict,
    InvalidRequest,
    NotFound,
    Unavailable,
)
from deployments.filters import OneOf, Ordered
from deployments.retriever import search
from deployments.retriever.document_retriever import DocumentRetriever
from deployments.retriever.qdrant.store import ServerStore
from deployments.settings import RetrieverSettings
from deployments.types import Chunk, Document, EmbeddingModel
from serve_app.testing import FakeEmbedder
from serve_app.testing.service import new_catalogue

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from numpy.typing import NDArray

    from deployments.filters import Filter
    from deployments.types import TextKind

pytestmark = pytest.mark.anyio

# To the embedder below, unrelated texts are as much alike as they share words.
SETTINGS = RetrieverSettings(min_relevance=None)
SENTENCES = [
    "The blue whale is the largest animal known to have lived.",
    "Paris is the capital of France and lies on the Seine.",
    "Basalt forms when lava cools quickly at the surface.",
    "The violin has four strings tuned in perfect fifths.",
    "Photosynthesis turns light, water and carbon dioxide into sugar.",
    "The printing press spread books across Europe.",
    "A neutron star is the collapsed core of a massive star.",
    "Sourdough bread rises with wild yeast and bacteria.",
    "The Amazon carries more water than any other river.",
]


class WordEmbedder(FakeEmbedder):
    """Sums a fixed random vector for each word; remembers what it was asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, TextKind]] = []
        self.broken = False
        self.reranked = 0
        self.present = EmbeddingModel("words", "words", 64)

    async def model(self) -> EmbeddingModel:
        return self.present

    async def rerank(self, query: str, texts: Sequence[str]) -> NDArray[np.float32]:
        """Prefer the short."""
        assert query
        self.reranked = len(texts)
        return np.array([-len(text) for text in texts], dtype=np.float32)

    async def embed(
        self, texts: Sequence[str], kind: TextKind, fingerprint: str = ""
    ) -> NDArray[np.float32]:
        if fingerprint not in {"", self.present.fingerprint}:
            raise Conflict("another model", code=MODEL_CHANGED)
        if self.broken:
            message = "no embedder"
            raise Unavailable(message)
        self.calls.append((len(texts), kind))
        rows = [sum(map(word_vector, text.lower().split()), np.zeros(64)) for text in texts]
        return np.array([row / np.linalg.norm(row) for row in rows], dtype=np.float32)


def word_vector(word: str) -> NDArray[np.float64]:
    return np.random.default_rng(zlib.crc32(word.strip(".,?").encode())).normal(size=64)


@pytest.fixture
def embedder() -> WordEmbedder:
    return WordEmbedder()


@pytest.fixture
async def retriever(embedder: WordEmbedder) -> AsyncIterator[DocumentRetriever]:
    store = ServerStore(":memory:", chunker_version=1, timeout_s=10)
    retriever = DocumentRetriever(store, embedder, SETTINGS, batch_chunks=4)
    yield retriever
    await retriever.close()


CHUNKS = [Chunk(n, text, 12, page_start=n + 1, page_end=n + 1) for n, text in enumerate(SENTENCES)]


def make_document(collection: str = "default") -> Document:
    return Document(
        id="facts",
        collection=collection,
        filename="facts.pdf",
        title="Facts",
        media_type="application/pdf",
        size_bytes=1234,
        pages=len(CHUNKS),
        chunks=len(CHUNKS),
        created_at=1_760_000_000.5,
    )


async def test_a_question_finds_the_passage_that_answers_it(retriever: DocumentRetriever) -> None:
    await retriever.add(make_document(), CHUNKS)
    assert await retriever.search(["What is the capital of France?"], "default", 3, 200) == []
    await retriever.publish(make_document())
    found = await retriever.search(["What is the capital of France?"], "default", 3, 100)
    assert found[0].text == SENTENCES[1]
    assert (found[0].filename, found[0].page_start) == ("facts.pdf", 2)
    assert (found[0].first, found[0].last, found[0].title) == (1, 1, "Facts")
    assert found[0].score == max(passage.score for passage in found)
    assert sum(len(passage.text) for passage in found) <= 100
    again = await retriever.search(["wild yeast in sourdough"], "default", 1, 60)
    assert [passage.text for passage in again] == [SENTENCES[7]]


async def test_neighbours_come_along_when_there_is_room(retriever: DocumentRetriever) -> None:
    await retriever.add(make_document(), CHUNKS)
    await retriever.publish(make_document())
    (found,) = await retriever.search(["wild yeast in sourdough"], "default", 1, 190)
    assert found.text == f"{SENTENCES[6]}\n\n{SENTENCES[7]}\n\n{SENTENCES[8]}"
    assert (found.first, found.last, found.page_start, found.page_end) == (6, 8, 7, 9)


async def test_the_title_and_the_section_help_to_find_a_chunk(
    retriever: DocumentRetriever,
) -> None:
    chunks = [
        Chunk(0, "It opens at nine.", 5, section="Museum"),
        Chunk(1, "It opens at ten.", 5, section="Library"),
    ]
    for title in ("Ghent", "Bruges"):
        document = replace(make_document(), id=title, title=title, chunks=2)
        await retriever.add(document, chunks)
        await retriever.publish(document)
    (found,) = await retriever.search(["When does the library of Bruges open?"], "default", 1, 20)
    assert (found.title, found.section, found.text) == ("Bruges", "Library", "It opens at ten.")


async def test_a_phrasing_finds_what_the_question_does_not(retriever: DocumentRetriever) -> None:
    await retriever.add(make_document(), CHUNKS)
    await retriever.publish(make_document())
    asked = ["fiddle", "violin strings"]
    found = await retriever.search(asked, "default", 2, 120)
    assert any(SENTENCES[3] in passage.text for passage in found)


async def test_a_reranker_has_the_last_word(
    retriever: DocumentRetriever, embedder: WordEmbedder
) -> None:
    await retriever.add(make_document(), CHUNKS)
    await retriever.publish(make_document())
    retriever._search._settings = RetrieverSettings(rerank=9)
    (found,) = await retriever.search(["What is the capital of France?"], "default", 1, 60)
    assert found.text == min(SENTENCES, key=len)  # as the embedder above judges
    assert embedder.reranked == 9


@pytest.mark.parametrize("trouble", [Unavailable("no reranker"), None])
async def test_without_its_reranker_a_search_goes_on(
    retriever: DocumentRetriever,
    embedder: WordEmbedder,
    monkeypatch: pytest.MonkeyPatch,
    trouble: Exception | None,
) -> None:
    async def rerank(query: str, texts: Sequence[str]) -> NDArray[np.float32]:
        assert query
        assert texts
        if trouble:
            raise trouble
        return await asyncio.Future()

    monkeypatch.setattr(embedder, "rerank", rerank)
    await retriever.add(make_document(), CHUNKS)
    await retriever.publish(make_document())
    retriever._search._settings = RetrieverSettings(rerank=9)
    monkeypatch.setattr(search, "_RERANK_TIMEOUT_S", 0.01)
    (found,) = await retriever.search(["What is the capital of France?"], "default", 1, 60)
    assert found.text == SENTENCES[1]


async def test_searches_for_documents_ignore_the_relevance_bound(
    retriever: DocumentRetriever,
) -> None:
    await retriever.add(make_document(), CHUNKS)
    await retriever.publish(make_document())
    other = replace(make_document(), id="brass", chunks=1)
    await retriever.add(other, [Chunk(0, "A trumpet has three valves.", 6)])
    await retriever.publish(other)
    retriever._search._settings = RetrieverSettings(min_relevance=0.9)
    asked = ["strings of the violin and the star"], "default", 2, 4000
    assert await retriever.search(*asked) == []
    nothing = OneOf("year", (1999,))
    assert await retriever.search(*asked, nothing, by_document=True) == []
    found = await retriever.search(*asked, by_document=True)
    ids = [passage.document_id for passage in found]
    assert set(ids[:-1]) == {"facts"}
    assert ids[-1] == "brass"
    assert any(SENTENCES[3] in passage.text for passage in found)
    assert sum(len(passage.text) for passage in found) <= 4000


@pytest.mark.parametrize("by_document", [False, True])
async def test_a_question_makes_two_calls_of_the_store(
    retriever: DocumentRetriever, monkeypatch: pytest.MonkeyPatch, *, by_document: bool
) -> None:
    await retriever.add(make_document(), CHUNKS)
    await retriever.publish(make_document())
    calls: list[str] = []

    class Counted:
        def __getattr__(self, name: str) -> object:
            calls.append(name)
            return getattr(store, name)

    retriever._search._settings = RetrieverSettings(min_relevance=None, candidates=1)
    store = retriever._search._store
    monkeypatch.setattr(retriever._search, "_store", Counted())
    found = await retriever.search(["whale"], "default", 1, 4000, by_document=by_document)
    assert found
    assert calls == ["candidates", "chunks"]


async def test_texts_are_embedded_in_batches_and_by_their_kind(
    retriever: DocumentRetriever, embedder: WordEmbedder
) -> None:
    await retriever.add(make_document(), CHUNKS)
    await retriever.publish(make_document())
    await retriever.search(["whale"], "default", 1, 10_000)
    assert embedder.calls[:4] == [(4, "passage"), (4, "passage"), (1, "passage"), (1, "query")]
    measured = len(embedder.calls)  # the scale of the model's similarities, once
    await retriever.search(["whale"], "default", 1, 10_000)
    assert embedder.calls[measured:] == [(1, "query")]


async def test_a_number_as_a_file_name_is_found_by_words_and_not_embedded(
    retriever: DocumentRetriever, embedder: WordEmbedder
) -> None:
    names = ("2023", "1984", "facts")
    for name in names:
        document = replace(make_document(), id=name, title=name, chunks=1)
        await retriever.publish(document, [Chunk(0, "Turnover rose by a tenth.", 6)])
    found = await retriever.search(["Turnover in 1984"], "default", 1, 10_000)
    assert [passage.title for passage in found] == ["1984"]
    assert found[0].score == pytest.approx(
        float(
            (await embedder.embed(["Turnover in 1984"], "query"))[0]
            @ (await embedder.embed(["Turnover rose by a tenth."], "passage"))[0]
        )
    )


async def test_a_version_is_known_once_it_is_published(retriever: DocumentRetriever) -> None:
    document = make_document("library")
    await retriever.add(document, CHUNKS)
    with pytest.raises(NotFound):
        await retriever.document("library", "facts", 1)
    await retriever.publish(document)
    assert await retriever.document("library", "facts", 1) == document
    assert await retriever.delete("library", "facts")
    assert not await retriever.delete("library", "facts")
    assert await retriever.search(["whale"], "library", 1, 10_000) == []


async def test_an_upload_that_failed_half_way_can_be_done_again(
    retriever: DocumentRetriever, embedder: WordEmbedder
) -> None:
    await retriever.add(make_document(), CHUNKS[:5])
    embedder.broken = True
    with pytest.raises(Unavailable, match="no embedder"):
        await retriever.add(make_document(), CHUNKS[5:])
    embedder.broken = False
    with pytest.raises(InvalidRequest, match="5 of its 9 chunks"):
        await retriever.publish(make_document())
    await retriever.add(make_document(), CHUNKS)
    await retriever.publish(make_document())
    (found,) = await retriever.search(["whale"], "default", 100, 10_000)
    assert (found.first, found.last) == (0, len(CHUNKS) - 1)


async def test_a_batch_still_on_its_way_does_not_outlive_its_document(
    retriever: DocumentRetriever, embedder: WordEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its caller may have been killed, and the job be cancelled by whoever took it up."""
    at_work, go_on = asyncio.Event(), asyncio.Event()
    embed = embedder.embed

    async def slow(texts: Sequence[str], kind: TextKind, fingerprint: str) -> NDArray[np.float32]:
        at_work.set()
        await go_on.wait()
        return await embed(texts, kind, fingerprint)

    monkeypatch.setattr(embedder, "embed", slow)
    late = asyncio.ensure_future(retriever.add(make_document(), CHUNKS))
    await at_work.wait()
    removed = asyncio.ensure_future(retriever.delete("default", "facts"))
    await asyncio.sleep(0.01)
    go_on.set()
    await asyncio.gather(late, removed)
    with pytest.raises(InvalidRequest, match="0 of its 9 chunks"):
        await retriever.publish(make_document())


async def test_a_batch_is_embedded_while_the_one_before_is_stored(
    embedder: WordEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ServerStore(":memory:", chunker_version=1, timeout_s=10)
    retriever = DocumentRetriever(store, embedder, RetrieverSettings())
    stored, embedded, go_on = asyncio.Event(), asyncio.Event(), asyncio.Event()
    add, embed = store.add, embedder.embed
    embedding = 0

    async def slow_add(*args: Any) -> None:
        stored.set()
        await go_on.wait()
        await add(*args)

    async def watched_embed(
        texts: Sequence[str], kind: TextKind, fingerprint: str
    ) -> NDArray[np.float32]:
        nonlocal embedding
        embedding += 1
        assert embedding == 1, "one batch of a document at a time"
        await asyncio.sleep(0.01)
        embedding -= 1
        if stored.is_set():
            embedded.set()
        return await embed(texts, kind, fingerprint)

    monkeypatch.setattr(store, "add", slow_add)
    monkeypatch.setattr(embedder, "embed", watched_embed)
    batches = [
        asyncio.ensure_future(retriever.add(make_document(), part))
        for part in (CHUNKS[:3], CHUNKS[3:6], CHUNKS[6:])
    ]
    async with asyncio.timeout(10):
        await embedded.wait()  # while the first is stored
        published = asyncio.ensure_future(retriever.publish(make_document()))
        await asyncio.sleep(0.05)
        assert not published.done()
        go_on.set()
        await asyncio.gather(*batches, published)
    assert (await retriever.document("default", "facts", 1)).chunks == len(CHUNKS)
    await retriever.close()


@pytest.mark.parametrize(
    "name",
    ["", "../up", "a/b", "A", "No Such", "-a", ".b", "a.b.c", "a\n", "é", "x" * 64],
)
async def test_a_name_that_is_not_safe_in_a_path_is_refused_before_anything_is_embedded(
    retriever: DocumentRetriever, embedder: WordEmbedder, name: str
) -> None:
    with pytest.raises(InvalidRequest, match="collection name"):
        await retriever.search(["whale"], name, 1, 10_000)
    with pytest.raises(InvalidRequest, match="collection name") as refused:
        await retriever.add(make_document(name), CHUNKS)
    assert refused.value.param == "collection"
    assert embedder.calls == []


async def test_a_document_deleted_while_it_is_published_leaves_nothing_behind(
    retriever: DocumentRetriever, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish, reached, go_on = retriever._store.publish, asyncio.Event(), asyncio.Event()

    async def slow(*args: Any) -> None:
        reached.set()
        await go_on.wait()
        await publish(*args)

    monkeypatch.setattr(retriever._store, "publish", slow)
    await retriever.add(make_document(), CHUNKS)
    published = asyncio.ensure_future(retriever.publish(make_document()))
    await reached.wait()
    removed = asyncio.ensure_future(retriever.delete("default", "facts"))
    await asyncio.wait({removed}, timeout=0.2)
    assert not removed.done()
    go_on.set()
    await asyncio.gather(published, removed)
    assert await retriever.search(["whale"], "default", 9, 10_000) == []
    with pytest.raises(NotFound):
        await retriever.document("default", "facts", 1)


async def test_only_the_current_version_is_found_whenever_it_changes(
    retriever: DocumentRetriever,
) -> None:
    first = replace(make_document(), chunks=1, title="facts")  # of the name of the file
    second = replace(first, version=2)
    await retriever.publish(first, [Chunk(0, "The violin has four strings.", 9)])
    current = {"facts": CurrentVersion(1, "facts.pdf")}
    looked_up = 0

    async def versions(
        collection: str, document_ids: Sequence[str]
    ) -> Mapping[str, CurrentVersion]:
        nonlocal looked_up
        looked_up += 1
        assert (collection, document_ids) == ("default", ["facts"])
        if current["facts"].number == 2 and looked_up == 1:
            # Between the search and this look-up the version was published and became current.
            await retriever.publish(second, [Chunk(0, "The violin has six strings.", 9)])
        return current if looked_up < 9 else {}

    async def found() -> list[tuple[str, str]]:
        passages = await retriever.search(["violin strings"], "default", 9, 10_000)
        return [(passage.filename, passage.text) for passage in passages]

    retriever._search._versions = versions
    assert await found() == [("facts.pdf", "The violin has four strings.")]
    current = {"facts": CurrentVersion(1, "renamed.pdf")}
    assert await found() == [("renamed.pdf", "The violin has four strings.")]
    (passage,) = await retriever.search(["violin strings"], "default", 9, 10_000)
    assert (passage.title, passage.version) == ("renamed.pdf", 1)
    looked_up, current = 0, {"facts": CurrentVersion(2, "facts.pdf")}
    assert await found() == [("facts.pdf", "The violin has six strings.")]
    current = {"facts": CurrentVersion(1, "facts.pdf")}  # both are published
    assert await found() == [("facts.pdf", "The violin has four strings.")]
    await retriever.discard("default", "facts", [1])
    looked_up, current = 2, {"facts": CurrentVersion(2, "facts.pdf")}
    assert await found() == [("facts.pdf", "The violin has six strings.")]
    looked_up = 9  # deleted
    assert await found() == []


async def catalogued(
    embedder: WordEmbedder, collection: str
) -> tuple[DocumentRetriever, Catalogue, Document]:
    """Ingest a document as a job does."""
    catalogue = new_catalogue()
    await catalogue.collections.add(CollectionEntry(collection, "", 0))
    retriever = DocumentRetriever(
        ServerStore(":memory:", chunker_version=1, timeout_s=10),
        embedder,
        SETTINGS,
        versions=catalogue.documents.current,
        collections=catalogue.collections,
    )
    upload = Upload(collection, "facts.pdf", 1234, "0" * 64, "job_1")
    begun = (await catalogue.versions.begin(upload)).document
    document = replace(begun, title="Facts", chunks=len(CHUNKS))
    await retriever.publish(document, CHUNKS)
    await catalogue.versions.complete(document)
    return retriever, catalogue, document


async def test_a_collection_of_another_embedding_model_is_not_searched(
    embedder: WordEmbedder,
) -> None:
    """Its vectors have the same length."""
    retriever, catalogue, document = await catalogued(embedder, "library")
    assert await retriever.search(["whale"], "library", 1, 100)
    embedder.present = EmbeddingModel("other words", "other", 64)
    with pytest.raises(Unavailable, match=r"embedded with 'words'.*'other words'") as refused:
        await retriever.search(["whale"], "library", 1, 100)
    assert refused.value.code == "embedding_model_changed"
    embedder.present = EmbeddingModel("words", "words", 64)
    (found,) = await retriever.search(["whale"], "library", 1, 100)
    assert "whale" in found.text

    await catalogue.documents.remove("library", document.id)
    await retriever.delete("library", document.id)
    embedder.present = EmbeddingModel("other words", "other", 64)
    upload = Upload("library", "facts.pdf", 1234, "1" * 64, "job_3")
    again = (await catalogue.versions.begin(upload)).document
    await retriever.publish(replace(again, title="Facts", chunks=len(CHUNKS)), CHUNKS)
    await retriever.close()


async def test_a_dropped_collection_does_not_come_back_with_a_late_chunk(
    embedder: WordEmbedder,
) -> None:
    retriever, catalogue, document = await catalogued(embedder, "vs_1")
    await catalogue.collections.remove("vs_1")
    assert await retriever.drop("vs_1")
    with pytest.raises(NotFound, match="vs_1"):
        await retriever.publish(document, CHUNKS)
    assert not await retriever.drop("vs_1")
    with pytest.raises(NotFound, match="vs_1"):
        await retriever.search(["whale"], "vs_1", 1, 100)
    assert await retriever.search(["whale"], "default", 1, 100) == []
    await retriever.close()


async def test_the_newest_attributes_decide_what_is_found(retriever: DocumentRetriever) -> None:
    """Whatever the order in which they reach the store."""
    attributes: dict[str, Any] = {"year": 2025}
    meanwhile: list[dict[str, Any]] = []

    async def attributes_of(collection: str, document_id: str) -> Mapping[str, Any] | None:
        assert (collection, document_id) == ("default", "facts")
        read = dict(attributes)
        if meanwhile:  # another replica changes them after this one has read them
            attributes.clear()
            attributes.update(meanwhile.pop())
            await retriever._store.set_attributes("default", "facts", attributes)
        return read

    async def versions(_: str, __: Sequence[str]) -> Mapping[str, CurrentVersion]:
        return {"facts": CurrentVersion(1, "facts.pdf", dict(attributes))}

    async def found(filters: Filter) -> list[Mapping[str, Any]]:
        passages = await retriever.search(["violin"], "default", 1, 60, filters)
        return [passage.attributes for passage in passages]

    retriever._attributes, retriever._search._versions = attributes_of, versions
    meanwhile = [{"year": 2026}]
    await retriever.publish(make_document(), CHUNKS)
    assert await found(OneOf("year", (2025,))) == []
    assert await found(OneOf("year", (2026,))) == [{"year": 2026}]
    meanwhile = [{"year": 2028}, {"year": 2027}]
    await retriever.apply_attributes("default", "facts")
    assert await found(Ordered("year", "gt", 2027)) == [{"year": 2028}]
    # The catalogue has a change that the store has not: nothing is found that does not match.
    attributes.clear()
    assert await found(Ordered("year", "gt", 2027)) == []
    await retriever.apply_attributes("default", "facts")
    assert await found(Ordered("year", "gt", 2027)) == []
    assert await found(OneOf("year", (2028,), negated=True)) == [{}]


async def test_collections_are_searched_as_one(retriever: DocumentRetriever) -> None:
    """The best of a collection about something else does not stand beside the best of all."""
    about_animals = [
        "The blue whale is the largest animal.",
        "The fin whale is the second largest animal.",
        "The sperm whale is the largest animal with teeth.",
    ]
    collections = {"animals": about_animals, "towns": SENTENCES[1:2], "stars": SENTENCES[6:7]}
    for collection, texts in collections.items():
        for number, text in enumerate(texts):
            document = replace(make_document(collection), id=f"doc{number}", chunks=1)
            await retriever.publish(document, [Chunk(0, text, 9)])
    names = [*collections, "animals", "default"]
    found = await retriever.search(["Which whale is the largest animal?"], names, 9, 10_000)
    assert {passage.text for passage in found[:3]} == set(about_animals)
    assert {passage.collection for passage in found[:3]} == {"animals"}
    assert {passage.collection for passage in found[3:]} == {"towns", "stars"}
    # The same id in two collections is two documents, and each brings its own neighbours.
    for collection in ("animals", "towns"):
        pair = [Chunk(n, f"{collection} xylophone {n}", 3) for n in range(2)]
        document = replace(make_document(collection), id="pair", chunks=2)
        await retriever.publish(document, pair)
    found = await retriever.search(["xylophone 0"], ["animals", "towns"], 2, 10_000)
    assert {(passage.collection, passage.text) for passage in found} == {
        (name, f"{name} xylophone 0\n\n{name} xylophone 1") for name in ("animals", "towns")
    }
