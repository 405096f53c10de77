"""One contract for every vector store, and what only the embedded or the remote one promises."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
import uuid
from asyncio.subprocess import PIPE
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Self

import numpy as np
import pytest
import qdrant_edge
from qdrant_client import AsyncQdrantClient, models

from deployments.errors import (
    DeadlineExceeded,
    InvalidRequest,
    NotFound,
    Overloaded,
    ServiceError,
    Unavailable,
)
from deployments.retriever import points
from deployments.retriever.bm25 import LexicalEncoder
from deployments.retriever.edge.store import EdgeStore
from deployments.retriever.qdrant.store import ServerStore
from deployments.retriever.vector_store import Candidate, EmbeddedChunk, HybridQuery, VectorStore
from deployments.types import Chunk, Document

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from numpy.typing import NDArray

pytestmark = pytest.mark.anyio

DIMENSIONS = 16
ROOM_BYTES = 1_000_000_000
LEXICAL = LexicalEncoder()
KINDS = ["edge", "memory", *(["server"] if "QDRANT_URL" in os.environ else [])]


@dataclass
class Place:
    """A store under test, a collection of its own, and a second store on the same data."""

    kind: str
    store: VectorStore
    collection: str
    root: Path


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """In memory where there is room: the embedded store waits for the disk at every turn."""
    memory = Path("/dev/shm")  # noqa: S108 - only a place for TemporaryDirectory
    if not memory.is_dir() or shutil.disk_usage(memory).free < ROOM_BYTES:
        yield tmp_path
        return
    with TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


@pytest.fixture(params=KINDS)
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    kind = str(request.param)
    collection = f"test-{uuid.uuid4().hex[:12]}"
    store = make_store(kind, tmp_path)
    yield Place(kind, store, collection, tmp_path)
    await store.close()
    if kind == "server":
        client = AsyncQdrantClient(url=os.environ["QDRANT_URL"])
        await client.delete_collection(f"genserve_{collection}")
        await client.close()


def make_store(kind: str, root: Path, *, max_collections: int = 1000) -> VectorStore:
    if kind == "edge":
        return EdgeStore(
            root, chunker_version=1, max_collections=max_collections, lock_timeout_s=0.2
        )
    url = os.environ["QDRANT_URL"] if kind == "server" else ":memory:"
    return ServerStore(url, chunker_version=1, max_collections=max_collections, timeout_s=10)


def make_document(name: str, chunks: int, collection: str) -> Document:
    return Document(
        id=name,
        collection=collection,
        filename=f"{name}.pdf",
        title=f"On {name}",
        media_type="application/pdf",
        size_bytes=5_000_000_000,
        pages=3,
        chunks=chunks,
        created_at=1_760_000_000.0,
    )


def vector(seed: int, dimensions: int = DIMENSIONS) -> NDArray[np.float32]:
    drawn = np.random.default_rng(seed).normal(size=dimensions)
    return (drawn / np.linalg.norm(drawn)).astype(np.float32)


def embedded(number: int, text: str = "", seed: int | None = None) -> EmbeddedChunk:
    text = text or f"passage {number}"
    chunk = Chunk(number, text, tokens=2, page_start=number + 1, page_end=number + 2)
    dense = vector(number if seed is None else seed)
    return EmbeddedChunk(chunk, dense, LEXICAL.passage(text))


async def upload(
    store: VectorStore, document: Document, chunks: Sequence[EmbeddedChunk] | None = None
) -> None:
    await store.add(document, chunks or [embedded(n) for n in range(document.chunks)])
    await store.publish(document)


async def search(
    store: VectorStore, collection: str, dense: NDArray[np.float32], limit: int, words: str = ""
) -> list[Candidate]:
    """Look up one vector, and words if there are any."""
    query = HybridQuery(dense[np.newaxis], [LEXICAL.query(words)], limit)
    return await store.candidates(collection, query)


async def texts(place: Place, seed: int = 0, limit: int = 100) -> list[str]:
    found = await search(place.store, place.collection, vector(seed), limit)
    return [candidate.stored.chunk.text for candidate in found]


async def listed(place: Place) -> list[str]:
    page = await place.store.documents(place.collection, 100, None)
    return [document.id for document in page.documents]


async def stored_points(place: Place) -> int:
    """Count what is really there, hidden or not."""
    if isinstance(place.store, EdgeStore):
        shard = place.store._shards[place.collection]
        return shard._edge.count(qdrant_edge.CountRequest())
    assert isinstance(place.store, ServerStore)
    found = await place.store._client.count(f"genserve_{place.collection}")
    return found.count


async def lexical_scores(place: Place, question: str) -> list[float]:
    query = LEXICAL.query(question)
    if isinstance(place.store, EdgeStore):
        shard = place.store._shards[place.collection]
        sparse = qdrant_edge.SparseVector(list(query.indices), list(query.values))
        nearest = qdrant_edge.Query.Nearest(sparse, using="bm25")
        request = qdrant_edge.QueryRequest(limit=9, query=nearest)
        return [point.score for point in shard._edge.query(request)]
    assert isinstance(place.store, ServerStore)
    found = await place.store._client.query_points(
        f"genserve_{place.collection}",
        query=models.SparseVector(indices=list(query.indices), values=list(query.values)),
        using="bm25",
    )
    return [point.score for point in found.points]


async def test_a_document_is_found_only_once_it_is_published_and_then_whole(place: Place) -> None:
    document = make_document("whales", 5, place.collection)
    await place.store.add(document, [embedded(n) for n in range(3)])
    await place.store.add(document, [embedded(n) for n in range(3, 5)])
    assert await texts(place) == []
    assert await listed(place) == []
    with pytest.raises(NotFound, match="whales"):
        await place.store.document(place.collection, "whales")

    await place.store.publish(document)
    assert sorted(await texts(place)) == [f"passage {n}" for n in range(5)]
    assert await listed(place) == ["whales"]
    assert await place.store.document(place.collection, "whales") == document


async def test_a_document_with_chunks_missing_cannot_be_published(place: Place) -> None:
    document = make_document("whales", 5, place.collection)
    await place.store.add(document, [embedded(n) for n in range(4)])
    with pytest.raises(InvalidRequest, match="4 of its 5 chunks"):
        await place.store.publish(document)
    assert await texts(place) == []
    await place.store.add(document, [embedded(4)])
    await place.store.publish(document)
    assert len(await texts(place)) == 5


async def test_passages_come_best_first_with_all_they_were_stored_with(place: Place) -> None:
    document = replace(
        make_document("fjörd-日本", 2, place.collection), pages=None, title="Été 🐋 «quoted»"
    )
    text = 'Zwölf Boxkämpfer — 日本語のテキスト\n\t"quoted" \\ 🐋'
    bare = EmbeddedChunk(Chunk(1, text, 9), vector(1), LEXICAL.passage(text))
    whole = Chunk(0, "passage 0", 2, 1, 2, section="Fjords > «Deep»", separator=" ")
    await upload(
        place.store, document, [EmbeddedChunk(whole, vector(0), LEXICAL.passage("")), bare]
    )

    first, second = await search(place.store, place.collection, vector(1), 2)
    assert (first.stored.document, first.stored.chunk) == (document, bare.chunk)
    assert first.dense == pytest.approx(vector(1), abs=1e-4)
    assert (second.stored.document, second.stored.chunk) == (document, whole)
    assert first.score > second.score
    assert await place.store.document(place.collection, document.id) == document
    assert await texts(place, seed=1, limit=1) == [text]


async def test_ranks_by_meaning_and_by_words_are_fused(place: Place) -> None:
    """The one near by its vector and the one with the word both come before the rest."""
    chunks = [embedded(n, f"passage on thing{n}", seed=n) for n in range(6)]
    await upload(place.store, make_document("things", 6, place.collection), chunks)
    found = await search(place.store, place.collection, vector(2), 6, words="thing4")
    assert {one.stored.chunk.number for one in found[:2]} == {2, 4}
    (both, *_) = await search(place.store, place.collection, vector(2), 6, words="thing2")
    assert both.stored.chunk.number == 2
    assert both.score == pytest.approx(1 / 2 + 1 / 2)
    (lone, *_) = await search(place.store, place.collection, vector(2), 1)
    assert lone.score == pytest.approx(1 / 2)


async def test_further_phrasings_are_fused_with_the_question(place: Place) -> None:
    await upload(place.store, make_document("things", 9, place.collection))
    dense = np.stack([vector(3), vector(7)])
    nothing = [LEXICAL.query("")] * 2
    found = await place.store.candidates(place.collection, HybridQuery(dense, nothing, 9))
    assert len(found) == 9  # each once
    assert {one.stored.chunk.number for one in found[:2]} == {3, 7}


async def test_neighbours_are_fetched_by_number_if_published(place: Place) -> None:
    await upload(place.store, make_document("whales", 5, place.collection))
    hidden = make_document("ships", 3, place.collection)
    await place.store.add(hidden, [embedded(n) for n in range(3)])
    (found, *_) = await search(place.store, place.collection, vector(2), 1)
    near = await place.store.chunks(
        place.collection, [(found.stored, number) for number in (1, 3, 99)]
    )
    assert sorted(one.chunk.text for one in near) == ["passage 1", "passage 3"]
    of_hidden = replace(found.stored, document=hidden, edition="1.3")
    assert await place.store.chunks(place.collection, [(of_hidden, 1)]) == []
    assert await place.store.chunks(place.collection, []) == []


async def test_the_bm25_vector_is_stored_beside_the_dense_one(place: Place) -> None:
    chunks = [embedded(0, "The whale sings at night"), embedded(1, "A ship sails home")]
    await upload(place.store, make_document("sea", 2, place.collection), chunks)
    (score,) = await lexical_scores(place, "singing whales")
    assert score > 0
    assert await lexical_scores(place, "volcano") == []


async def test_a_chunk_of_nothing_but_stop_words_is_stored(place: Place) -> None:
    await upload(
        place.store,
        make_document("empty", 1, place.collection),
        [embedded(0, "to be or not to be")],
    )
    assert await texts(place) == ["to be or not to be"]


async def test_adding_a_published_document_again_neither_hides_nor_doubles_it(
    place: Place,
) -> None:
    document = make_document("whales", 4, place.collection)
    await upload(place.store, document)
    await place.store.add(document, [embedded(n) for n in range(4)])
    assert len(await texts(place)) == 4
    await place.store.publish(document)
    assert len(await texts(place)) == 4
    assert await listed(place) == ["whales"]
    assert await stored_points(place) == 5


async def test_two_uploads_of_one_file_at_once_make_one_document(place: Place) -> None:
    document = make_document("whales", 8, place.collection)
    other = replace(document, filename="copy.pdf")

    async def by_halves(one: Document) -> None:
        await place.store.add(one, [embedded(n) for n in range(4)])
        await asyncio.sleep(0)
        await upload(place.store, one, [embedded(n) for n in range(4, 8)])

    await asyncio.gather(by_halves(document), by_halves(other))
    found = await search(place.store, place.collection, vector(0), 100)
    assert sorted(one.stored.chunk.number for one in found) == list(range(8))
    (entry,) = (await place.store.documents(place.collection, 10, None)).documents
    assert {one.stored.document.filename for one in found} == {entry.filename}


async def test_what_a_failed_upload_left_behind_never_appears(place: Place) -> None:
    """A first attempt cut the document finer, and died half way."""
    finer = make_document("whales", 9, place.collection)
    await place.store.add(finer, [embedded(n, f"leftover {n}") for n in range(7)])
    document = make_document("whales", 3, place.collection)
    await upload(place.store, document)
    assert sorted(await texts(place)) == ["passage 0", "passage 1", "passage 2"]
    assert await stored_points(place) == 4


async def test_a_published_document_cut_anew_stays_until_the_new_one_is_whole(
    place: Place,
) -> None:
    await upload(place.store, make_document("whales", 3, place.collection))
    anew = make_document("whales", 2, place.collection)
    chunks = [embedded(n, f"new {n}") for n in range(2)]
    await place.store.add(anew, chunks[:1])
    assert sorted(await texts(place)) == ["passage 0", "passage 1", "passage 2"]
    await place.store.add(anew, chunks[1:])
    await place.store.publish(anew)
    assert sorted(await texts(place)) == ["new 0", "new 1"]
    assert (await place.store.document(place.collection, "whales")).chunks == 2


async def test_a_version_is_shown_beside_the_one_before_until_that_is_discarded(
    place: Place,
) -> None:
    first = make_document("whales", 2, place.collection)
    second, third, fourth = (replace(first, version=number) for number in (2, 3, 4))
    await upload(place.store, first)
    for document in (third, second, fourth):
        chunks = [embedded(n, f"{document.version}: passage {n}") for n in range(2)]
        await place.store.add(document, chunks[:1])
        await place.store.add(document, chunks[1:])
    assert sorted(await texts(place)) == ["passage 0", "passage 1"]
    await place.store.publish(second)
    found = await search(place.store, place.collection, vector(0), 9)
    assert {one.stored.document.version for one in found} == {1, 2}
    query = HybridQuery(
        vector(0)[np.newaxis], [], 9, frozenset({("whales", found[0].stored.edition)})
    )
    others = await place.store.candidates(place.collection, query)
    assert len(others) == 2
    assert {one.stored.edition for one in found} - {found[0].stored.edition} == {
        one.stored.edition for one in others
    }
    assert await listed(place) == ["whales"]
    await place.store.discard(place.collection, "whales", [1, 4])
    assert sorted(await texts(place)) == ["2: passage 0", "2: passage 1"]
    assert (await place.store.document(place.collection, "whales")).version == 2
    await place.store.publish(third)
    await place.store.discard(place.collection, "whales", [2])
    assert sorted(await texts(place)) == ["3: passage 0", "3: passage 1"]
    assert await stored_points(place) == 3
    await place.store.discard(place.collection, "whales", [1])  # long gone
    with pytest.raises(InvalidRequest, match="0 of its 2 chunks"):
        await place.store.publish(fourth)


async def test_chunks_of_0_1_are_those_of_the_first_version(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as old:
        old.setattr(points, "VERSION", "unknown")
        await upload(place.store, make_document("whales", 2, place.collection))
        await upload(place.store, make_document("ships", 2, place.collection))
    second = replace(make_document("whales", 1, place.collection), version=2)
    await place.store.add(second, [embedded(0, "2: passage 0")])
    await place.store.publish(second)
    await place.store.discard(place.collection, "whales", [1])
    assert sorted(await texts(place)) == ["2: passage 0", "passage 0", "passage 1"]


async def test_deleting_removes_every_point_published_or_not(place: Place) -> None:
    await upload(place.store, make_document("whales", 3, place.collection))
    await upload(place.store, make_document("ships", 2, place.collection))
    await place.store.add(make_document("half", 9, place.collection), [embedded(0)])

    assert await place.store.delete(place.collection, "whales")
    assert await place.store.delete(place.collection, "half")
    assert not await place.store.delete(place.collection, "whales")
    assert await listed(place) == ["ships"]
    assert len(await texts(place)) == 2
    assert await stored_points(place) == 3
    with pytest.raises(InvalidRequest, match="0 of its 9 chunks"):
        await place.store.publish(make_document("half", 9, place.collection))


async def test_the_catalogue_is_read_in_pages(place: Place) -> None:
    names = [f"doc-{n}" for n in range(7)]
    for name in names:
        await upload(place.store, make_document(name, 1, place.collection))
    await place.store.add(make_document("hidden", 1, place.collection), [embedded(0)])

    seen: list[str] = []
    after: str | None = None
    for size in (3, 3, 1):
        page = await place.store.documents(place.collection, 3, after)
        assert len(page.documents) == size
        seen += [document.id for document in page.documents]
        after = page.next_after
    assert after is None
    assert sorted(seen) == names

    await place.store.delete(place.collection, seen[2])
    rest = await place.store.documents(place.collection, 100, seen[2])
    assert [document.id for document in rest.documents] == seen[3:]
    exact = await place.store.documents(place.collection, 6, None)
    assert exact.next_after is None


async def test_documents_of_one_collection_are_not_in_another(place: Place) -> None:
    other = replace(place, collection=place.collection + "-b")
    await upload(place.store, make_document("whales", 1, place.collection))
    try:
        await upload(place.store, make_document("ships", 1, other.collection))
        assert await listed(place) == ["whales"]
        assert await listed(other) == ["ships"]
        assert not await place.store.delete(place.collection, "ships")
    finally:
        if isinstance(place.store, ServerStore):
            await place.store._client.delete_collection(f"genserve_{other.collection}")


async def test_an_unknown_collection_is_not_found(place: Place) -> None:
    with pytest.raises(NotFound, match=place.collection):
        await search(place.store, place.collection, vector(0), 3)
    with pytest.raises(NotFound):
        await place.store.documents(place.collection, 3, None)
    with pytest.raises(NotFound):
        await place.store.document(place.collection, "whales")
    with pytest.raises(NotFound):
        await place.store.delete(place.collection, "whales")


async def test_a_collection_is_created_and_dropped(place: Place) -> None:
    store, collection = place.store, place.collection
    await store.create(collection, DIMENSIONS)
    await store.create(collection, DIMENSIONS)
    assert collection in await store.collections()
    assert await search(store, collection, vector(1), 3) == []
    await upload(store, make_document("a", 2, collection))
    assert await store.drop(collection)
    assert not await store.drop(collection)
    assert collection not in await store.collections()
    with pytest.raises(NotFound):
        await search(store, collection, vector(1), 3)
    await upload(store, make_document("c", 1, collection))
    assert [one.id for one in (await store.documents(collection, 9, None)).documents] == ["c"]


async def test_a_vector_store_that_was_dropped_does_not_come_back_with_a_late_chunk(
    place: Place,
) -> None:
    store, collection = place.store, f"us.vs_{place.collection.replace('-', '')}"
    with pytest.raises(NotFound):
        await store.add(make_document("a", 1, collection), [embedded(0)])
    await store.create(collection, DIMENSIONS)
    await store.add(make_document("a", 2, collection), [embedded(0)])
    await store.drop(collection)
    with pytest.raises(NotFound):
        await store.add(make_document("a", 2, collection), [embedded(1)])
    assert collection not in await store.collections()


async def test_owners_share_a_store_and_nothing_else(place: Place) -> None:
    store, ours, theirs = place.store, f"us.{place.collection}", f"them.{place.collection}"
    await upload(store, make_document("a", 1, ours))
    with pytest.raises(NotFound) as unknown:
        await store.documents(theirs, 9, None)
    assert "them" not in unknown.value.message
    assert (await store.documents("them.default", 9, None)).documents == ()
    await upload(store, make_document("b", 1, theirs))
    assert [one.id for one in (await store.documents(ours, 9, None)).documents] == ["a"]
    found = await search(store, ours, vector(0), 9)
    assert {one.stored.document.id for one in found} == {"a"}
    assert await store.drop(theirs)
    assert [one.id for one in (await store.documents(ours, 9, None)).documents] == ["a"]
    await store.drop(ours)


@pytest.mark.parametrize("kind", ["edge", "memory"])
async def test_each_owner_may_have_so_many_collections(kind: str, tmp_path: Path) -> None:
    store = make_store(kind, tmp_path, max_collections=1)
    await store.create("us.a", DIMENSIONS)
    await store.create("them.a", DIMENSIONS)
    with pytest.raises(InvalidRequest, match="1 collections already"):
        await store.create("us.b", DIMENSIONS)
    await store.close()


@pytest.mark.parametrize("kind", ["edge", "memory"])
async def test_the_default_collection_is_there_from_the_beginning(
    kind: str, tmp_path: Path
) -> None:
    place = Place(kind, make_store(kind, tmp_path), "default", tmp_path)
    assert await texts(place) == []
    assert await listed(place) == []
    assert not await place.store.delete("default", "whales")
    with pytest.raises(NotFound, match="no document 'whales'"):
        await place.store.document("default", "whales")
    await upload(place.store, make_document("whales", 1, "default"))
    assert await listed(place) == ["whales"]
    await place.store.close()


@pytest.mark.parametrize(
    "name", ["", "../up", "a/b", "A", "-a", ".b", "a.b.c", "a\n", "é", "x" * 64]
)
async def test_a_name_that_is_not_safe_in_a_path_is_refused(place: Place, name: str) -> None:
    with pytest.raises(InvalidRequest, match="collection name") as refused:
        await place.store.add(make_document("whales", 1, name), [embedded(0)])
    assert refused.value.param == "collection"
    with pytest.raises(InvalidRequest, match="collection name"):
        await search(place.store, name, vector(0), 3)


@pytest.mark.parametrize("kind", ["edge", "memory"])
async def test_there_are_at_most_so_many_collections(kind: str, tmp_path: Path) -> None:
    store = make_store(kind, tmp_path, max_collections=2)
    await upload(store, make_document("whales", 1, "first"))
    await upload(store, make_document("whales", 1, "second"))
    with pytest.raises(InvalidRequest, match="2 collections already"):
        await store.add(make_document("whales", 1, "third"), [embedded(0)])
    await upload(store, make_document("ships", 1, "first"))
    await store.close()


async def test_another_embedder_than_the_collections_is_explained(place: Place) -> None:
    await upload(place.store, make_document("whales", 1, place.collection))
    with pytest.raises(Unavailable, match=r"16 dimensions.*makes 24"):
        await search(place.store, place.collection, vector(0, 24), 3)
    wider = EmbeddedChunk(Chunk(0, "x", 1), vector(0, 24), LEXICAL.passage("x"))
    with pytest.raises(Unavailable, match=r"16 dimensions.*makes 24"):
        await place.store.add(make_document("ships", 1, place.collection), [wider])


async def test_searching_goes_on_while_documents_are_added(place: Place) -> None:
    """Each search sees the second document whole or not at all, and in the end whole."""
    await upload(place.store, make_document("whales", 10, place.collection))
    ships = make_document("ships", 60, place.collection)

    async def add_slowly() -> None:
        for start in range(0, 60, 10):
            await place.store.add(ships, [embedded(n) for n in range(start, start + 10)])
            await asyncio.sleep(0)
        await place.store.publish(ships)

    adding = asyncio.create_task(add_slowly())
    counts: list[int] = []
    while not adding.done():
        counts.append(len(await texts(place)))
        await asyncio.sleep(0)
    await adding
    counts.append(len(await texts(place)))
    assert set(counts) == {10, 70}


# The embedded store only.


async def test_documents_are_there_after_reopening(tmp_path: Path) -> None:
    store = make_store("edge", tmp_path)
    document = make_document("whales", 3, "sea")
    await upload(store, document)
    await store.add(make_document("half", 9, "sea"), [embedded(0)])
    await store.close()
    await store.close()
    with pytest.raises(Unavailable, match="closed"):
        await store.documents("sea", 3, None)

    place = Place("edge", make_store("edge", tmp_path), "sea", tmp_path)
    assert await listed(place) == ["whales"]
    assert await place.store.document("sea", "whales") == document
    assert len(await texts(place)) == 3
    await upload(place.store, make_document("half", 9, "sea"))
    assert len(await texts(place)) == 12
    await place.store.close()


KILLED = """
import asyncio, json, sys
from pathlib import Path
import numpy as np
from deployments.retriever.edge.store import EdgeStore
from deployments.retriever.bm25 import SparseVector
from deployments.retriever.vector_store import EmbeddedChunk
from deployments.types import Chunk, Document

async def main():
    store = EdgeStore(Path(sys.argv[1]), chunker_version=1, max_collections=9)
    whole, half = (Document(**each) for each in json.loads(sys.argv[2]))
    row = np.eye(16, dtype=np.float32)[0]
    chunks = [EmbeddedChunk(Chunk(n, "x", 1), row, SparseVector((), ())) for n in range(30)]
    await store.add(whole, chunks)
    await store.publish(whole)
    await store.add(half, chunks[:1])
    print("published", flush=True)
    sys.stdin.read()

asyncio.run(main())
"""


async def test_what_was_acknowledged_survives_sigkill(tmp_path: Path) -> None:
    documents = [make_document("whales", 30, "sea"), make_document("half", 9, "sea")]
    described = json.dumps([asdict(document) for document in documents])
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", KILLED, tmp_path, described, stdin=PIPE, stdout=PIPE
    )
    assert child.stdout is not None
    assert await child.stdout.readline() == b"published\n"
    with pytest.raises(Unavailable, match="in use by another process"):
        make_store("edge", tmp_path)
    child.kill()
    await child.wait()
    assert child.returncode == -signal.SIGKILL

    place = Place("edge", make_store("edge", tmp_path), "sea", tmp_path)
    assert await listed(place) == ["whales"]
    assert len(await texts(place)) == 30
    assert await stored_points(place) == 32
    await place.store.close()


async def test_a_restart_keeps_every_collection_whatever_it_is_called(tmp_path: Path) -> None:
    names = ["dropped-orders", "dropped-bob.default", "kept"]
    store = make_store("edge", tmp_path)
    for name in names:
        await store.create(name, DIMENSIONS)
    await store.close()
    (tmp_path / ".dropped-half-gone").mkdir()
    again = make_store("edge", tmp_path)
    assert await again.collections() == sorted(names)
    await again.close()
    assert not (tmp_path / ".dropped-half-gone").exists()


async def test_a_replacement_waits_until_the_old_owner_lets_go(tmp_path: Path) -> None:
    old = make_store("edge", tmp_path)
    await upload(old, make_document("whales", 2, "sea"))
    opening = asyncio.create_task(
        asyncio.to_thread(
            EdgeStore, tmp_path, chunker_version=1, max_collections=9, lock_timeout_s=30
        )
    )
    await asyncio.sleep(0.1)
    assert not opening.done()
    await old.close()
    place = Place("edge", await opening, "sea", tmp_path)
    assert len(await texts(place)) == 2
    await place.store.close()


async def test_a_collection_half_made_when_the_process_died_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / ".unfinished" / "segments").mkdir(parents=True)
    place = Place("edge", make_store("edge", tmp_path), "sea", tmp_path)
    await upload(place.store, make_document("whales", 2, "sea"))
    assert len(await texts(place)) == 2
    await place.store.close()


async def test_damaged_files_are_a_failure_of_that_collection_only(tmp_path: Path) -> None:
    store = make_store("edge", tmp_path)
    await upload(store, make_document("whales", 2, "sea"))
    await upload(store, make_document("oaks", 2, "land"))
    await store.close()
    (tmp_path / "sea.16" / "edge_config.json").write_text("{")

    place = Place("edge", make_store("edge", tmp_path), "land", tmp_path)
    with pytest.raises(Unavailable, match="failed") as failed:
        await search(place.store, "sea", vector(0), 3)
    assert str(tmp_path) not in failed.value.message
    assert len(await texts(place)) == 2
    await place.store.close()


async def test_a_large_collection_is_whole_after_deleting_most_of_it(tmp_path: Path) -> None:
    """So many deleted points make the engine rewrite its files."""
    place = Place("edge", make_store("edge", tmp_path), "sea", tmp_path)
    one = embedded(0)
    many = [replace(one, chunk=Chunk(n, "many", 1)) for n in range(1100)]
    await upload(place.store, make_document("whales", 1100, "sea"), many)
    await upload(place.store, make_document("ships", 20, "sea"))
    before = set((tmp_path / "sea.16" / "segments").iterdir())
    assert await place.store.delete("sea", "whales")
    assert set((tmp_path / "sea.16" / "segments").iterdir()) - before
    assert len(await texts(place)) == 20
    await upload(place.store, make_document("boats", 5, "sea"))
    assert len(await texts(place)) == 25
    await place.store.close()


# The remote store only.


class Loopback:
    """A server that answers every request in one way, or drops the first ones."""

    def __init__(self, answer: bytes | None, drop: int = 0) -> None:
        self._answer = answer
        self._drop = drop
        self.requests = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.requests += 1
        if self.requests > self._drop:
            if self._answer is None:
                await reader.read()
            else:
                writer.write(self._answer)
                await writer.drain()
        writer.close()


def http(status: str, body: str = "{}", header: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nConnection: close\r\n{header}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()


def remote(url: str) -> ServerStore:
    return ServerStore(url, chunker_version=1, max_collections=9, timeout_s=1)


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (http("403 Forbidden"), Unavailable, "API key"),
        (http("500 Internal Server Error", '{"status":{"error":"/var/x"}}'), Unavailable, "failed"),
        (http("429 Too Many Requests", header="Retry-After: 7\r\n"), Overloaded, "too much"),
        (http("200 OK", "not json"), Unavailable, "failed"),
        (None, DeadlineExceeded, "in time"),
    ],
    ids=["refused", "broken", "busy", "not Qdrant", "silent"],
)
async def test_a_servers_failures_have_their_own_errors(
    answer: bytes | None, error: type[ServiceError], words: str
) -> None:
    async with Loopback(answer) as server:
        store = remote(server.url)
        with pytest.raises(error, match=words) as failed:
            await search(store, "sea", vector(0), 3)
        assert server.requests == 1
        assert "/var/x" not in failed.value.message
        if error is Overloaded:
            assert failed.value.retry_after_s == 7
        await store.close()


async def test_a_connection_that_breaks_is_made_again() -> None:
    missing = http("200 OK", '{"result":{"exists":false},"status":"ok","time":0.0}')
    async with Loopback(missing, drop=2) as server:
        store = remote(server.url)
        assert await search(store, "default", vector(0), 3) == []
        assert server.requests == 3
        await store.close()


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    store = remote("http://127.0.0.1:9")
    with pytest.raises(Unavailable, match="cannot be reached"):
        await search(store, "sea", vector(0), 3)
    await store.close()
