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
from qdrant_client import AsyncQdrantClient

from deployments.attribute_payloads import attributes_digest
from deployments.errors import (
    DeadlineExceeded,
    InvalidRequest,
    Overloaded,
    ServiceError,
    Unavailable,
)
from deployments.retriever.bm25 import LexicalEncoder
from deployments.retriever.edge import index as index_module
from deployments.retriever.edge import store as store_module
from deployments.retriever.edge.store import EdgeStore
from deployments.retriever.qdrant.indexes import qdrant_name
from deployments.retriever.qdrant.store import ServerStore
from deployments.retriever.vector_store import (
    Candidate,
    EmbeddedChunk,
    HybridQuery,
    VectorIndex,
    VectorStore,
)
from deployments.types import Chunk, Document, StoredIndex, StoredPoint

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from numpy.typing import NDArray

    from deployments.filters import Attributes

pytestmark = pytest.mark.anyio

DIMENSIONS = 16
INDEX = VectorIndex("test", DIMENSIONS)
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
    index: VectorIndex = INDEX


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
        await client.delete_collection(qdrant_name(INDEX))
        await client.close()


def make_store(kind: str, root: Path) -> VectorStore:
    if kind == "edge":
        return EdgeStore(root, chunker_version=1, lock_timeout_s=0.2)
    url = os.environ["QDRANT_URL"] if kind == "server" else ":memory:"
    return ServerStore(url, chunker_version=1, timeout_s=10)


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
    await store.add(INDEX, document, chunks or [embedded(n) for n in range(document.chunks)])
    await store.publish(INDEX, document)


async def search(
    store: VectorStore, collection: str, dense: NDArray[np.float32], limit: int, words: str = ""
) -> list[Candidate]:
    """Look up one vector, and words if there are any."""
    query = HybridQuery(dense[np.newaxis], [LEXICAL.query(words)], limit)
    return await store.candidates(INDEX, collection, query)


async def texts(place: Place, seed: int = 0, limit: int = 100) -> list[str]:
    found = await search(place.store, place.collection, vector(seed), limit)
    return [candidate.stored.chunk.text for candidate in found]


async def published(place: Place, document_id: str, version: int) -> Document | None:
    found = await place.store.published(INDEX, place.collection, document_id, version)
    return None if found is None else found.document


async def stored_points(place: Place) -> int:
    """Count what is really there, hidden or not."""
    if isinstance(place.store, EdgeStore):
        return place.store._indexes[INDEX.name].shard.count()
    assert isinstance(place.store, ServerStore)
    return (await place.store._client.count(qdrant_name(INDEX))).count


async def test_a_document_is_found_only_once_it_is_published_and_then_whole(place: Place) -> None:
    document = make_document("whales", 5, place.collection)
    await place.store.add(INDEX, document, [embedded(n) for n in range(3)])
    await place.store.add(INDEX, document, [embedded(n) for n in range(3, 5)])
    assert await texts(place) == []
    assert await place.store.published(INDEX, place.collection, "whales", 1) is None

    await place.store.publish(INDEX, document)
    assert sorted(await texts(place)) == [f"passage {n}" for n in range(5)]
    assert (await published(place, "whales", 1)) == document
    assert await place.store.published(INDEX, place.collection, "whales", 2) is None


async def test_a_document_with_chunks_missing_cannot_be_published(place: Place) -> None:
    document = make_document("whales", 5, place.collection)
    await place.store.add(INDEX, document, [embedded(n) for n in range(4)])
    with pytest.raises(InvalidRequest, match="4 of its 5 chunks"):
        await place.store.publish(INDEX, document)
    assert await texts(place) == []
    await place.store.add(INDEX, document, [embedded(4)])
    await place.store.publish(INDEX, document)
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
    assert first.cosines == pytest.approx((1.0,), abs=1e-4)
    assert (second.stored.document, second.stored.chunk) == (document, whole)
    assert first.cosines > second.cosines
    assert (await published(place, document.id, 1)) == document
    assert await texts(place, seed=1, limit=1) == [text]


async def test_every_candidate_is_scored_by_meaning_and_by_words(place: Place) -> None:
    """Also by the look-up that did not find it."""
    chunks = [embedded(n, f"passage on thing{n}", seed=n) for n in range(6)]
    await upload(place.store, make_document("things", 6, place.collection), chunks)
    found = await search(place.store, place.collection, vector(2), 1, words="thing4")
    by_number = {one.stored.chunk.number: one for one in found}
    assert set(by_number) == {2, 4}
    assert by_number[2].cosines == pytest.approx((1.0,), abs=1e-3)
    assert by_number[4].cosines == pytest.approx((float(vector(4) @ vector(2)),), abs=1e-3)
    assert by_number[2].bm25 == (0.0,)
    assert by_number[4].bm25[0] > 1
    both = await search(place.store, place.collection, vector(2), 1, words="passage thing4")
    assert {one.stored.chunk.number for one in both} == {2, 4}
    assert all(one.bm25[0] > 0 for one in both)
    (lone,) = await search(place.store, place.collection, vector(2), 1)
    assert lone.bm25 == (0.0,)


async def test_further_phrasings_are_fused_with_the_question(place: Place) -> None:
    await upload(place.store, make_document("things", 9, place.collection))
    dense = np.stack([vector(3), vector(7)])
    nothing = [LEXICAL.query("")] * 2
    found = await place.store.candidates(INDEX, place.collection, HybridQuery(dense, nothing, 9))
    assert len(found) == 9  # each once
    best = [max(found, key=lambda one: one.cosines[query]) for query in (0, 1)]
    assert [one.stored.chunk.number for one in best] == [3, 7]


async def test_neighbours_are_fetched_by_number_if_published(place: Place) -> None:
    await upload(place.store, make_document("whales", 5, place.collection))
    hidden = make_document("ships", 3, place.collection)
    await place.store.add(INDEX, hidden, [embedded(n) for n in range(3)])
    (found, *_) = await search(place.store, place.collection, vector(2), 1)
    wanted = [(found.stored, number) for number in (1, 3, 99)]
    near = await place.store.chunks(INDEX, place.collection, wanted)
    assert sorted(one.chunk.text for one in near) == ["passage 1", "passage 3"]
    of_hidden = replace(found.stored, document=hidden, edition="1.3")
    assert await place.store.chunks(INDEX, place.collection, [(of_hidden, 1)]) == []
    assert await place.store.chunks(INDEX, place.collection, []) == []
    assert await place.store.vectors(INDEX, place.collection, [(of_hidden, 1)]) == []
    embedded_near = await place.store.vectors(INDEX, place.collection, wanted)
    assert len(embedded_near) == 2
    for stored, dense in embedded_near:
        assert np.allclose(dense, vector(stored.chunk.number), atol=1e-6)


async def test_the_inventory_lists_every_point_once_in_pages(place: Place) -> None:
    store = place.store
    attributes: Attributes = {"year": 2024, "draft": True}
    shown = replace(make_document("whales", 5, place.collection), attributes=attributes)
    await upload(store, shown)
    hidden = replace(make_document("ships", 3, place.collection), version=2)
    await store.add(INDEX, hidden, [embedded(n) for n in range(2)])
    assert StoredIndex(INDEX.name) in await store.indexes()

    def mine(listed: Sequence[StoredPoint]) -> list[StoredPoint]:
        return [point for point in listed if point.collection == place.collection]

    listed: list[StoredPoint] = []
    while page := await store.inventory(INDEX.name, 3, listed[-1].id if listed else None):
        listed += page
    assert len({point.id for point in listed}) == len(listed)
    whales = [point for point in mine(listed) if point.document_id == "whales"]
    assert {(point.version, point.published) for point in whales} == {(1, True)}
    assert {point.attributes for point in whales} == {attributes_digest(attributes)}
    ships = [point for point in mine(listed) if point.document_id == "ships"]
    assert {(one.version, one.published, one.attributes) for one in ships} == {(2, False, "")}
    assert (len(whales), len(ships)) == (5, 2)

    of_ships = await store.inventory(INDEX.name, 9, None, (place.collection, "ships"))
    assert of_ships == ships
    if place.kind != "memory":  # which raises another error than a server
        assert await store.inventory("unknown", 9) == []
    # The last point of a page may be removed before the next one is asked for.
    await store.delete(place.collection, "ships")
    after = [one.id for one in whales if one.id > ships[0].id]
    left = mine(await store.inventory(INDEX.name, 9, ships[0].id))
    assert [one.id for one in left] == after


async def test_words_are_found_in_other_forms_and_unknown_ones_are_not(place: Place) -> None:
    chunks = [embedded(0, "The whale sings at night"), embedded(1, "A ship sails home")]
    await upload(place.store, make_document("sea", 2, place.collection), chunks)

    async def found(question: str) -> list[int]:
        nothing = np.zeros((0, DIMENSIONS), dtype=np.float32)
        query = HybridQuery(nothing, [LEXICAL.query(question)], 9)
        candidates = await place.store.candidates(INDEX, place.collection, query)
        return [one.stored.chunk.number for one in candidates]

    assert await found("singing whales") == [0]
    assert await found("volcano") == []


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
    await place.store.add(INDEX, document, [embedded(n) for n in range(4)])
    assert len(await texts(place)) == 4
    await place.store.publish(INDEX, document)
    assert len(await texts(place)) == 4
    assert await stored_points(place) == 4


async def test_two_uploads_of_one_file_at_once_make_one_document(place: Place) -> None:
    document = make_document("whales", 8, place.collection)
    other = replace(document, filename="copy.pdf")

    async def by_halves(one: Document) -> None:
        await place.store.add(INDEX, one, [embedded(n) for n in range(4)])
        await asyncio.sleep(0)
        await upload(place.store, one, [embedded(n) for n in range(4, 8)])

    await asyncio.gather(by_halves(document), by_halves(other))
    found = await search(place.store, place.collection, vector(0), 100)
    assert sorted(one.stored.chunk.number for one in found) == list(range(8))
    assert len({one.stored.document.filename for one in found}) == 1


async def test_what_a_failed_upload_left_behind_never_appears(place: Place) -> None:
    """A first attempt cut the document finer, and died half way."""
    finer = make_document("whales", 9, place.collection)
    await place.store.add(INDEX, finer, [embedded(n, f"leftover {n}") for n in range(7)])
    document = make_document("whales", 3, place.collection)
    await upload(place.store, document)
    assert sorted(await texts(place)) == ["passage 0", "passage 1", "passage 2"]
    assert await stored_points(place) == 3


async def test_a_published_document_cut_anew_stays_until_the_new_one_is_whole(
    place: Place,
) -> None:
    await upload(place.store, make_document("whales", 3, place.collection))
    anew = make_document("whales", 2, place.collection)
    chunks = [embedded(n, f"new {n}") for n in range(2)]
    await place.store.add(INDEX, anew, chunks[:1])
    assert sorted(await texts(place)) == ["passage 0", "passage 1", "passage 2"]
    await place.store.add(INDEX, anew, chunks[1:])
    await place.store.publish(INDEX, anew)
    assert sorted(await texts(place)) == ["new 0", "new 1"]
    assert (await published(place, "whales", 1)) == anew


async def test_a_version_is_shown_beside_the_one_before_until_that_is_discarded(
    place: Place,
) -> None:
    first = make_document("whales", 2, place.collection)
    second, third, fourth = (replace(first, version=number) for number in (2, 3, 4))
    await upload(place.store, first)
    for document in (third, second, fourth):
        chunks = [embedded(n, f"{document.version}: passage {n}") for n in range(2)]
        await place.store.add(INDEX, document, chunks[:1])
        await place.store.add(INDEX, document, chunks[1:])
    assert sorted(await texts(place)) == ["passage 0", "passage 1"]
    await place.store.publish(INDEX, second)
    found = await search(place.store, place.collection, vector(0), 9)
    assert {one.stored.document.version for one in found} == {1, 2}
    query = HybridQuery(
        vector(0)[np.newaxis], [], 9, frozenset({("whales", found[0].stored.edition)})
    )
    others = await place.store.candidates(INDEX, place.collection, query)
    assert len(others) == 2
    assert {one.stored.edition for one in found} - {found[0].stored.edition} == {
        one.stored.edition for one in others
    }
    await place.store.discard(place.collection, "whales", [1, 4])
    assert sorted(await texts(place)) == ["2: passage 0", "2: passage 1"]
    assert await place.store.published(INDEX, place.collection, "whales", 1) is None
    assert (await published(place, "whales", 2)) == second
    await place.store.publish(INDEX, third)
    await place.store.discard(place.collection, "whales", [2])
    assert sorted(await texts(place)) == ["3: passage 0", "3: passage 1"]
    assert await stored_points(place) == 2
    await place.store.discard(place.collection, "whales", [1])  # long gone
    with pytest.raises(InvalidRequest, match="0 of its 2 chunks"):
        await place.store.publish(INDEX, fourth)


async def test_deleting_removes_every_point_published_or_not(place: Place) -> None:
    await upload(place.store, make_document("whales", 3, place.collection))
    await upload(place.store, make_document("ships", 2, place.collection))
    await place.store.add(INDEX, make_document("half", 9, place.collection), [embedded(0)])

    assert await place.store.delete(place.collection, "whales")
    assert await place.store.delete(place.collection, "half")
    assert not await place.store.delete(place.collection, "whales")
    assert len(await texts(place)) == 2
    assert await stored_points(place) == 2
    with pytest.raises(InvalidRequest, match="0 of its 9 chunks"):
        await place.store.publish(INDEX, make_document("half", 9, place.collection))


async def test_collections_share_an_index_and_nothing_else(place: Place) -> None:
    """The same document, of the same content, in collections of two owners."""
    store, ours, theirs = place.store, f"us.{place.collection}", f"them.{place.collection}"
    for collection, words in ((ours, "our passage"), (theirs, "their passage")):
        document = make_document("whales", 2, collection)
        await upload(store, document, [embedded(n, f"{words} {n}") for n in range(2)])
    await store.add(INDEX, make_document("half", 9, theirs), [embedded(0)])
    (found, *others) = await search(store, ours, vector(0), 9, words="passage")
    assert {one.stored.chunk.text for one in (found, *others)} == {"our passage 0", "our passage 1"}
    assert found.stored.document == make_document("whales", 2, ours)
    near = await store.chunks(INDEX, ours, [(found.stored, number) for number in range(2)])
    assert {one.chunk.text for one in near} == {"our passage 0", "our passage 1"}
    of_theirs = replace(found.stored, document=make_document("whales", 2, theirs))
    assert await store.chunks(INDEX, ours, [(of_theirs, 0)]) == []

    await store.discard(ours, "whales", [1])
    assert await search(store, ours, vector(0), 9, words="passage") == []
    assert len(await search(store, theirs, vector(0), 9)) == 2
    await upload(store, make_document("ships", 1, ours))
    assert not await store.delete(ours, "half")
    assert await store.drop(ours)
    assert not await store.drop(ours)
    assert await search(store, ours, vector(0), 9) == []
    assert len(await search(store, theirs, vector(0), 9)) == 2
    assert await store.drop(theirs)
    assert await stored_points(place) == 0


async def test_a_small_collection_is_ranked_as_if_alone(place: Place, tmp_path: Path) -> None:
    """A large one in the same index, full of the words that are rare in the small one."""
    alone = make_store("edge" if place.kind == "edge" else "memory", tmp_path / "alone")
    draw = np.random.default_rng(7)
    words = [f"word{n}" for n in range(30)]
    for collection, count, weights in (
        ("large", 600, np.arange(1, 31)),
        ("small", 40, np.arange(30, 0, -1)),
    ):
        # Of different lengths, so that no two score the same.
        sizes = 5 + draw.permutation(count)
        texts = [draw.choice(words, size, p=weights / weights.sum()) for size in sizes]
        chunks = [embedded(n, " ".join(text), seed=n) for n, text in enumerate(texts)]
        document = make_document(collection, count, collection)
        await upload(place.store, document, chunks)
        if collection == "small":
            await upload(alone, document, chunks)
    try:
        for question in range(20):
            asked = " ".join(draw.choice(words, 3))
            dense = vector(question)
            found = await search(place.store, "small", dense, 9, words=asked)
            expected = await search(alone, "small", dense, 9, words=asked)
            scores = [
                {one.stored.chunk.number: pytest.approx(one.score) for one in each}
                for each in (found, expected)
            ]
            assert scores[0] == scores[1]
    finally:
        await alone.close()


async def test_an_index_of_another_model_is_apart(place: Place) -> None:
    """What is removed is removed from both."""
    other = VectorIndex(f"other{uuid.uuid4().hex}", 24)
    document = make_document("whales", 1, place.collection)
    await upload(place.store, document)
    wider = EmbeddedChunk(Chunk(0, "wider", 1), vector(0, 24), LEXICAL.passage("wider"))
    await place.store.add(other, document, [wider])
    await place.store.publish(other, document)
    query = HybridQuery(vector(0, 24)[np.newaxis], [], 9)
    (found,) = await place.store.candidates(other, place.collection, query)
    assert found.stored.chunk.text == "wider"
    assert await texts(place) == ["passage 0"]
    assert await place.store.delete(place.collection, "whales")
    assert await place.store.candidates(other, place.collection, query) == []
    assert await texts(place) == []
    if place.kind == "server":
        assert isinstance(place.store, ServerStore)
        await place.store._client.delete_collection(qdrant_name(other))


async def test_searching_goes_on_while_documents_are_added(place: Place) -> None:
    """Each search sees the second document whole or not at all, and in the end whole."""
    await upload(place.store, make_document("whales", 10, place.collection))
    ships = make_document("ships", 60, place.collection)

    async def add_slowly() -> None:
        for start in range(0, 60, 10):
            await place.store.add(INDEX, ships, [embedded(n) for n in range(start, start + 10)])
            await asyncio.sleep(0)
        await place.store.publish(INDEX, ships)

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
    await store.add(INDEX, make_document("half", 9, "sea"), [embedded(0)])
    await store.close()
    await store.close()
    with pytest.raises(Unavailable, match="closed"):
        await store.published(INDEX, "sea", "whales", 1)

    place = Place("edge", make_store("edge", tmp_path), "sea", tmp_path)
    assert (await published(place, "whales", 1)) == document
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
from deployments.retriever.vector_store import EmbeddedChunk, VectorIndex
from deployments.types import Chunk, Document

INDEX = VectorIndex("test", 16)

async def main():
    store = EdgeStore(Path(sys.argv[1]), chunker_version=1)
    whole, half = (Document(**each) for each in json.loads(sys.argv[2]))
    row = np.eye(16, dtype=np.float32)[0]
    chunks = [EmbeddedChunk(Chunk(n, "x", 1), row, SparseVector((), ())) for n in range(30)]
    await store.add(INDEX, whole, chunks)
    await store.publish(INDEX, whole)
    await store.add(INDEX, half, chunks[:1])
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
    assert len(await texts(place)) == 30
    assert await stored_points(place) == 31
    await place.store.close()


async def test_a_replacement_waits_until_the_old_owner_lets_go(tmp_path: Path) -> None:
    old = make_store("edge", tmp_path)
    await upload(old, make_document("whales", 2, "sea"))
    opening = asyncio.create_task(
        asyncio.to_thread(EdgeStore, tmp_path, chunker_version=1, lock_timeout_s=30)
    )
    await asyncio.sleep(0.1)
    assert not opening.done()
    await old.close()
    place = Place("edge", await opening, "sea", tmp_path)
    assert len(await texts(place)) == 2
    await place.store.close()


async def test_an_index_half_made_when_the_process_died_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "indexes" / INDEX.name / "1" / "segments").mkdir(parents=True)
    place = Place("edge", make_store("edge", tmp_path), "sea", tmp_path)
    await upload(place.store, make_document("whales", 2, "sea"))
    assert len(await texts(place)) == 2
    await place.store.close()


async def test_damaged_files_are_a_failure_of_that_index_only(tmp_path: Path) -> None:
    store, other = make_store("edge", tmp_path), VectorIndex("other", DIMENSIONS)
    await upload(store, make_document("whales", 2, "sea"))
    await store.add(other, make_document("oaks", 1, "sea"), [embedded(0)])
    await store.publish(other, make_document("oaks", 1, "sea"))
    await store.close()
    (tmp_path / "indexes" / "other" / "1" / "edge_config.json").write_text("{")

    place = Place("edge", make_store("edge", tmp_path), "sea", tmp_path)
    query = HybridQuery(vector(0)[np.newaxis], [], 9)
    with pytest.raises(Unavailable, match="cannot be opened") as failed:
        await place.store.candidates(other, "sea", query)
    assert str(tmp_path) not in failed.value.message
    with pytest.raises(Unavailable, match="cannot be opened"):
        await place.store.delete("sea", "whales")
    assert len(await texts(place)) == 2
    await place.store.close()


def bytes_found(folder: Path, marker: bytes) -> list[Path]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path for path in files if marker in path.read_bytes()]


async def test_compaction_removes_what_was_deleted_while_documents_change(tmp_path: Path) -> None:
    """No file has a deleted word any more, and no search misses anything meanwhile."""
    place = Place("edge", make_store("edge", tmp_path), "sea", tmp_path)
    store = place.store
    for name, count in (("whales", 700), ("ships", 500), ("boats", 3)):
        document = make_document(name, count, "sea")
        await upload(
            store, document, [embedded(n, f"{name}word {n}", seed=n) for n in range(count)]
        )
    assert await store.delete("sea", "whales")
    assert bytes_found(tmp_path, b"whalesword")
    hidden = make_document("late", 2, "sea")
    await store.add(INDEX, hidden, [embedded(0, "late 0")])
    compaction = asyncio.create_task(store.purge(0))
    changed = 0
    while not compaction.done():
        found = await search(store, "sea", vector(1), 2000, words="shipsword")
        names = [one.stored.document.id for one in found]
        assert names.count("ships") == 500
        assert "whales" not in names
        if changed == 0:
            await store.add(INDEX, hidden, [embedded(1, "late 1")])
        elif changed == 1:
            await store.publish(INDEX, hidden)
            await store.delete("sea", "boats")
        changed += 1
        await asyncio.sleep(0.01)
    await compaction
    assert changed > 2
    for _ in range(2):
        assert await stored_points(place) == 502
        assert sum("late" in one for one in await texts(place, limit=1000)) == 2
        assert not bytes_found(tmp_path, b"whalesword")
        await place.store.close()
        place = Place("edge", make_store("edge", tmp_path), "sea", tmp_path)
        assert len(await texts(place, limit=1000)) == 502
    await place.store.close()


async def test_a_large_collection_is_removed_while_others_are_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A removal and a compaction take turns, slice by slice; searches come between."""
    monkeypatch.setattr(index_module, "REMOVED_AT_ONCE", 50)
    monkeypatch.setattr(store_module, "REMOVED_AT_ONCE", 50)
    place = Place("edge", make_store("edge", tmp_path), "sea", tmp_path)
    store = place.store
    for name, count in (("boats", 3), ("ships", 600), ("whales", 500)):
        collection = "sea" if name == "ships" else "land"
        chunks = [embedded(n, f"{name}word {n}", seed=n) for n in range(count)]
        await upload(store, make_document(name, count, collection), chunks)
    await store.delete("land", "boats")
    compaction = asyncio.create_task(store.purge(0))
    removal = asyncio.create_task(store.drop("land"))
    searched = 0
    while not removal.done():
        assert len(await search(store, "sea", vector(1), 2000)) == 600
        searched += 1
    assert await removal
    assert searched >= 5
    await compaction
    await store.purge(0)
    assert not bytes_found(tmp_path, b"whalesword")
    assert await stored_points(place) == 600
    assert not await store.drop("land")
    await store.close()


async def test_a_compaction_that_was_interrupted_changes_nothing(tmp_path: Path) -> None:
    place = Place("edge", make_store("edge", tmp_path), "sea", tmp_path)
    await upload(place.store, make_document("ships", 500, "sea"))
    await upload(place.store, make_document("boats", 3, "sea"))
    await place.store.delete("sea", "boats")
    compaction = asyncio.create_task(place.store.purge(0))
    folder = tmp_path / "indexes" / INDEX.name
    while not (folder / "2").exists():
        await asyncio.sleep(0.001)
    compaction.cancel()
    await place.store.close()
    place = Place("edge", make_store("edge", tmp_path), "sea", tmp_path)
    assert len(await texts(place, limit=1000)) == 500
    assert not (folder / "2").exists()
    await place.store.purge(0)
    assert [path.name for path in folder.iterdir() if path.is_dir()] == ["2"]
    assert len(await texts(place, limit=1000)) == 500
    await place.store.close()


async def test_a_compaction_that_fails_loses_nothing_and_is_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full as the copy is about to take the place of the shard."""
    place = Place("edge", make_store("edge", tmp_path), "sea", tmp_path)
    for name in ("ships", "boats"):
        chunks = [embedded(n, f"{name}word {n}") for n in range(200)]
        await upload(place.store, make_document(name, 200, "sea"), chunks)
    await place.store.delete("sea", "boats")
    write = index_module.Manifest.write

    def full(manifest: index_module.Manifest, folder: Path) -> None:
        if manifest.generation > 1:
            raise OSError("no space left on device")
        write(manifest, folder)

    with monkeypatch.context() as patched:
        patched.setattr(index_module.Manifest, "write", full)
        with pytest.raises(Unavailable):
            await place.store.purge(0)
        await upload(place.store, make_document("late", 3, "sea"))
        await place.store.delete("sea", "ships")
    await place.store.close()
    place = Place("edge", make_store("edge", tmp_path), "sea", tmp_path)
    assert len(await texts(place, limit=1000)) == 3
    await place.store.purge(0)
    for word in (b"shipsword", b"boatsword"):
        assert not bytes_found(tmp_path, word)
    assert len(await texts(place, limit=1000)) == 3
    await place.store.close()


async def test_an_index_is_compacted_once_most_of_it_is_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_module, "_MIN_DELETED", 10)
    place = Place("edge", make_store("edge", tmp_path), "sea", tmp_path)
    for name in ("ships", "boats", "whales"):
        await upload(place.store, make_document(name, 20, "sea"))
    assert await place.store.delete("sea", "whales")
    folder = tmp_path / "indexes" / INDEX.name
    assert [path.name for path in folder.iterdir() if path.is_dir()] == ["1"]
    assert await place.store.delete("sea", "boats")
    async with asyncio.timeout(20):
        while not (folder / "2").exists() or (folder / "1").exists():
            await asyncio.sleep(0.01)
    assert len(await texts(place)) == 20
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
    return ServerStore(url, chunker_version=1, timeout_s=1)


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
    nothing = http("200 OK", '{"result":{"collections":[]},"status":"ok","time":0.0}')
    async with Loopback(nothing, drop=2) as server:
        store = remote(server.url)
        assert await store._indexes.names() == []
        assert server.requests == 3
        await store.close()


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    store = remote("http://127.0.0.1:9")
    with pytest.raises(Unavailable, match="cannot be reached"):
        await search(store, "sea", vector(0), 3)
    await store.close()
