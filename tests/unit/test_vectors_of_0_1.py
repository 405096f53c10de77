"""Collections that version 0.1 stored are moved into the index, on both stores."""

from __future__ import annotations

import uuid
import zlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from qdrant_client import models
from qdrant_edge import (
    Distance,
    EdgeConfig,
    EdgeShard,
    EdgeSparseVectorParams,
    EdgeVectorParams,
    Modifier,
    PayloadSchemaType,
    Point,
    SparseVector,
    UpdateOperation,
)

from deployments.catalogue.catalogue import Catalogue
from deployments.catalogue.entries import CollectionEntry
from deployments.catalogue.import_0_1 import SOURCE, ImportOf01
from deployments.errors import NotFound, Unavailable
from deployments.file_store import FileStore
from deployments.retriever.bm25 import LexicalEncoder
from deployments.retriever.document_retriever import DocumentRetriever
from deployments.retriever.edge.store import EdgeStore
from deployments.retriever.qdrant.store import ServerStore
from deployments.settings import RetrieverSettings
from deployments.types import Chunk, Document
from serve_app.testing.service import new_catalogue
from tests.support.made_up_documents import DIMENSIONS, RandomVectors

pytestmark = pytest.mark.anyio

LEXICAL = LexicalEncoder()
NAMESPACE = uuid.UUID("5d0c2a83-5f0e-4d0b-9a52-1f3f0e5b7c94")
CHUNKS = 150  # more than are moved at once


class Retriever(DocumentRetriever):
    async def check_health(self) -> None: ...


class TextVectors(RandomVectors):
    """An embedder whose vectors depend on the texts."""

    async def embed(
        self, texts: Sequence[str], kind: str, fingerprint: str = ""
    ) -> NDArray[np.float32]:
        del kind, fingerprint
        return np.array([vector(text, DIMENSIONS) for text in texts], dtype=np.float32)


def points_of(document: Document, *, published: bool) -> list[tuple[str, dict[str, Any], Any]]:
    """Return ids, payloads and texts of a document as version 0.1 stored them."""
    described = {name: value for name, value in asdict(document).items() if name != "version"}
    common: dict[str, Any] = {
        "document_id": document.id,
        "state": "published" if published else "hidden",
    }
    if published:
        common |= {"document": described}
    edition = f"1.{document.chunks}"
    made = []
    for number in range(document.chunks):
        text = f"{document.collection} snow {number}"
        payload = {"kind": "chunk", "edition": edition, **common}
        payload |= asdict(Chunk(number, text, 3))
        name = f"{document.id}\n{edition}\n{number}"
        made.append((str(uuid.uuid5(NAMESPACE, name)), payload, f"{document.title}\n{text}"))
    record = {"kind": "document", **common}
    return [*made, (str(uuid.uuid5(NAMESPACE, document.id)), record, None)]


def vector(text: str, dimensions: int) -> list[float]:
    draw = np.random.default_rng(zlib.crc32(text.encode()))
    drawn = draw.standard_normal(dimensions)
    row: list[float] = (drawn / np.linalg.norm(drawn)).tolist()
    return row


def write_edge(root: Path, document: Document, dimensions: int, *, published: bool) -> None:
    folder = root / f"{document.collection}.{dimensions}"
    config = EdgeConfig(
        vectors={"dense": EdgeVectorParams(dimensions, Distance.Cosine)},
        sparse_vectors={"bm25": EdgeSparseVectorParams(modifier=Modifier.Idf)},
    )
    if folder.exists():
        shard = EdgeShard.load(str(folder), config)
    else:
        folder.mkdir(parents=True)
        shard = EdgeShard.create(str(folder), config)
        for field in ("document_id", "state", "kind"):
            shard.update(UpdateOperation.create_field_index(field, PayloadSchemaType.Keyword))
    made = []
    for id_, payload, text in points_of(document, published=published):
        vectors: dict[str, Any] = {}
        if text is not None:
            words = LEXICAL.passage(text)
            sparse = SparseVector(list(words.indices), list(words.values))
            vectors = {"dense": vector(text, dimensions), "bm25": sparse}
        made.append(Point(id_, vectors, payload))
    shard.update(UpdateOperation.upsert_points(made))
    shard.close()


async def write_server(
    client: Any, document: Document, dimensions: int, *, published: bool
) -> None:
    name = f"genserve_{document.collection}"
    if not await client.collection_exists(name):
        await client.create_collection(
            name,
            vectors_config={
                "dense": models.VectorParams(size=dimensions, distance=models.Distance.COSINE)
            },
            sparse_vectors_config={"bm25": models.SparseVectorParams(modifier=models.Modifier.IDF)},
        )
    made = []
    for id_, payload, text in points_of(document, published=published):
        vectors: dict[str, Any] = {}
        if text is not None:
            words = LEXICAL.passage(text)
            sparse = models.SparseVector(indices=list(words.indices), values=list(words.values))
            vectors = {"dense": vector(text, dimensions), "bm25": sparse}
        made.append(models.PointStruct(id=id_, vector=vectors, payload=payload))
    await client.upsert(name, made)


@pytest.fixture(params=["edge", "server"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Any]:
    """A store with two documents in two collections of two owners, and one of another model."""
    sea = Document(
        "doc_a", "alice.sea", "a.txt", "Sea", "text/plain", 9, None, CHUNKS, 70.5, "job_1"
    )
    written = [
        (sea, DIMENSIONS, True),
        (replace(sea, collection="bob.default", chunks=2, title="Land"), DIMENSIONS, True),
        (replace(sea, id="doc_half", collection="bob.default", chunks=9), DIMENSIONS, False),
        (replace(sea, collection="bob.old", chunks=1), DIMENSIONS + 1, True),
    ]
    opened: EdgeStore | ServerStore
    if request.param == "edge":
        for document, dimensions, published in written:
            write_edge(tmp_path / "vectors", document, dimensions, published=published)
        opened = EdgeStore(tmp_path / "vectors", chunker_version=1)
    else:
        opened = ServerStore(":memory:", chunker_version=1)
        await opened._client.create_collection("genserve_foreign", vectors_config={})
        for document, dimensions, published in written:
            await write_server(opened._client, document, dimensions, published=published)
    yield opened
    await opened.close()


async def imported(
    store: Any, tmp_path: Path, catalogue: Catalogue | None = None, *, embedder: Any = None
) -> tuple[Retriever, Catalogue]:
    catalogue = catalogue or new_catalogue()
    retriever = Retriever(
        store,
        embedder or TextVectors(),  # type: ignore[arg-type]  # only what a search needs
        RetrieverSettings(candidates=200, min_relevance=None),
        versions=catalogue.documents.current,
        collections=catalogue.collections,
    )
    await ImportOf01(catalogue, FileStore(str(tmp_path / "files")), retriever).run_if_needed()
    return retriever, catalogue


async def texts(retriever: Retriever, collection: str) -> list[str]:
    found = await retriever.search(["snow"], collection, 20, 1_000_000)
    return sorted(line for passage in found for line in passage.text.split("\n\n"))


async def test_documents_are_found_as_before(store: Any, tmp_path: Path) -> None:
    retriever, catalogue = await imported(store, tmp_path)
    assert await texts(retriever, "alice.sea") == sorted(
        f"alice.sea snow {number}" for number in range(CHUNKS)
    )
    assert await texts(retriever, "bob.default") == [f"bob.default snow {n}" for n in range(2)]
    assert (await catalogue.collections.get("alice.sea")).completed == 1
    (found, *_) = await retriever.search(["snow"], "bob.default", 20, 1_000_000)
    assert (found.title, found.filename) == ("Land", "a.txt")
    assert await retriever.unmoved_collections() == ["bob.old"]  # the others are not stored twice
    assert await catalogue.imported_ms(SOURCE) is not None


async def test_vectors_of_another_length_are_refused_and_kept(store: Any, tmp_path: Path) -> None:
    retriever, catalogue = await imported(store, tmp_path)
    with pytest.raises(Unavailable, match=r"stored by version 0\.1, with another embedding model"):
        await texts(retriever, "bob.old")
    new = Document("doc_b", "bob.old", "b.txt", "New", "text/plain", 9, None, 1, 80.0, "job_2")
    with pytest.raises(Unavailable, match=r"stored by version 0\.1, with another embedding model"):
        await retriever.publish(new, [Chunk(0, "snow", 1)])
    assert (await catalogue.collections.get("bob.old")).completed == 1
    assert await retriever.move_collections() == 0


async def test_vectors_of_another_model_of_the_same_length_are_not_mixed(
    store: Any, tmp_path: Path
) -> None:
    retriever, catalogue = await imported(store, tmp_path, embedder=RandomVectors())
    with pytest.raises(Unavailable, match="another embedding model"):
        await texts(retriever, "alice.sea")
    # With the model that has made them, they are moved at the next start.
    again, _ = await imported(store, tmp_path, catalogue)
    assert len(await texts(again, "alice.sea")) == CHUNKS


async def test_a_document_being_ingested_by_0_1_is_completed(store: Any, tmp_path: Path) -> None:
    retriever, _ = await imported(store, tmp_path)
    half = Document(
        "doc_half", "bob.default", "h.txt", "Half", "text/plain", 9, None, 9, 70.5, "job_1"
    )
    await retriever.publish(half)
    assert await retriever.document("bob.default", "doc_half", 1) == half


async def test_documents_are_deleted_with_all_their_chunks(store: Any, tmp_path: Path) -> None:
    retriever, _ = await imported(store, tmp_path)
    assert await retriever.delete("alice.sea", "doc_a")
    assert not await retriever.drop("alice.sea")
    assert await texts(retriever, "bob.default") == [f"bob.default snow {n}" for n in range(2)]
    await retriever.discard("bob.default", "doc_a", [1])
    assert await texts(retriever, "bob.default") == []


@pytest.mark.parametrize("recorded", [False, True])
async def test_a_move_that_was_interrupted_is_repeated(
    store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, recorded: bool
) -> None:
    """The copy is whole and the old collection still exists, recorded as moved or not."""

    async def killed(*_: object, **__: object) -> None:
        msg = "killed"
        raise Unavailable(msg)

    catalogue = new_catalogue()
    with monkeypatch.context() as patched:
        if recorded:
            patched.setattr(store.collections_of_0_1, "delete", killed)
        else:
            patched.setattr(catalogue.collections, "claim_index", killed)
        with pytest.raises(Unavailable, match="killed"):
            await imported(store, tmp_path, catalogue)
    retriever, _ = await imported(store, tmp_path, catalogue)
    assert len(await texts(retriever, "alice.sea")) == CHUNKS
    assert await retriever.unmoved_collections() == ["bob.old"]


async def test_folders_that_cannot_be_opened_are_left_out(tmp_path: Path) -> None:
    root = tmp_path / "vectors"
    document = Document("doc_a", "sea", "a.txt", "Sea", "text/plain", 9, None, 2, 70.5, "job_1")
    write_edge(root, document, DIMENSIONS, published=True)
    for name in (f"broken.{DIMENSIONS}", ".dropped-half", ".unfinished"):
        (root / name / "segments").mkdir(parents=True)
    (root / f"broken.{DIMENSIONS}" / "edge_config.json").write_text("{")
    store = EdgeStore(root, chunker_version=1)
    retriever, _ = await imported(store, tmp_path)
    assert len(await texts(retriever, "sea")) == 2
    left = sorted(path.name for path in root.iterdir() if path.is_dir())
    assert left == [f"broken.{DIMENSIONS}", "indexes"]
    await store.close()


async def test_an_empty_collection_exists_and_an_unknown_one_does_not(
    store: Any, tmp_path: Path
) -> None:
    retriever, catalogue = await imported(store, tmp_path)
    await catalogue.collections.add(CollectionEntry("carol.empty", "empty", 0))
    assert await retriever.search(["snow"], "carol.empty", 9, 99) == []
    with pytest.raises(NotFound):
        await retriever.search(["snow"], "carol.unknown", 9, 99)
