"""Damage of every kind that the doctor knows, done to the stores behind the service's back."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import sqlalchemy as sa

from deployments.databases import create_engine
from deployments.jobs.doctor.doctor import Doctor
from deployments.jobs.doctor.documents import Grace
from deployments.jobs.doctor.report import Report
from deployments.retriever.bm25 import LexicalEncoder
from deployments.retriever.edge.store import EdgeStore
from deployments.retriever.embedding import index_of
from deployments.retriever.qdrant.store import ServerStore
from deployments.retriever.vector_store import EmbeddedChunk, VectorIndex
from deployments.types import Chunk, DamageKind, Document
from tests.support.job_clients import ENDED
from tests.support.whole_service import WholeService, WordEmbedder, vector_of

ALWAYS = Grace(pause_s=0.0, look_s=0.0, version_s=-1.0, file_s=3600.0, waiting_s=3600.0)
MISSING_COLLECTION = "alice.gone"  # a collection that does not exist
UNKNOWN = "doc_" + "0" * 32
COLLECTION = "alice.default"

_TIMEOUT_S = 60.0
_OLD_S = 2 * 3600.0


@dataclass
class Furnished:
    """A service in which the key `alice` has something of everything; `words` find a document."""

    service: WholeService
    http: httpx.AsyncClient
    url: str
    documents: dict[str, str] = field(default_factory=dict)  # by their words
    file: str = ""
    store: str = ""
    picture: str = ""

    async def furnish(self) -> None:
        """Store documents, one in three versions, an attached file and a picture."""
        for words in ("red zebra", "green okapi", "blue tapir"):
            await self.upload(f"{words}.md", words)
        for number in (2, 3):
            await self.upload("red zebra.md", f"red zebra {number}")
        kept = await self.http.post(
            "/v1/files", files={"file": ("kept.txt", "kept gnu")}, data={"purpose": "user_data"}
        )
        self.file = kept.json()["id"]
        store = await self.http.post("/v1/vector_stores", json={"file_ids": [self.file]})
        self.store = store.json()["id"]
        await self.attached()
        picture = await self.http.post(
            "/generate/image/background", json={"prompt": "a circle", "seed": 3, "steps": 2}
        )
        self.picture = picture.json()["job_id"]
        await self.ended(self.picture)

    async def upload(self, name: str, content: str) -> None:
        """Upload a file and wait until it is found."""
        answer = await self.http.post("/upload", files={"file": (name, content)})
        assert answer.status_code in {200, 202}, answer.text
        words = " ".join(content.split()[:2])
        self.documents[words] = answer.json()["document_id"]
        await self.ended(answer.json()["job_id"])

    async def ended(self, job_id: str) -> None:
        """Wait for a job that must succeed."""
        async with asyncio.timeout(_TIMEOUT_S):
            while (job := (await self.http.get(f"/v1/jobs/{job_id}")).json())["status"] not in (
                ENDED
            ):
                await asyncio.sleep(0.02)
        assert job["status"] == "succeeded", job
        await asyncio.sleep(0.05)

    async def attached(self) -> None:
        """Wait until the attached file is found."""
        url = f"/v1/vector_stores/{self.store}/files/{self.file}"
        async with asyncio.timeout(_TIMEOUT_S):
            while (await self.http.get(url)).json()["status"] != "completed":
                await asyncio.sleep(0.05)

    async def idle(self) -> None:
        """Wait until no job is under way."""
        async with asyncio.timeout(_TIMEOUT_S):
            while any(
                job["status"] not in ENDED
                for job in (await self.http.get("/v1/jobs?limit=100")).json()["data"]
            ):
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.05)

    async def check_answers(self) -> None:
        """Check that everything of `furnish` answers."""
        for words in ("red zebra 3", "green okapi", "blue tapir"):
            assert words in await self.found("default", words)
        assert "kept gnu" in await self.found(self.store, "kept gnu")

    async def found(self, collection: str, words: str) -> str:
        """Return what a search finds."""
        answer = await self.http.post(
            f"/v1/vector_stores/{collection}/search", json={"query": words}
        )
        assert answer.status_code == 200, answer.text
        return answer.text

    async def examine(self, *, mend: bool = False, grace: Grace = ALWAYS) -> Report:
        """Run the doctor as a running service does."""
        parts = self.service.parts
        doctor = Doctor(
            parts.catalogue,
            self.service.retriever,
            parts.files,
            self.url,
            submit=parts.submissions.ingest,
            grace=grace,
        )
        return await doctor.run(mend=mend, thorough=True)

    def path(self, name: str) -> Path:
        """Return a path of the file store on the disk."""
        return self.service.folder / "files" / name

    def content(self, words: str) -> Path:
        """Return the newest content of a document."""
        folder = self.path(f"contents/{COLLECTION}/{self.documents[words]}")
        return max(folder.iterdir(), key=lambda path: int(path.name))

    def kept(self) -> Path:
        """Return the kept file."""
        return self.path(f"kept/alice/{self.file}")

    def change(self, statement: str, **values: Any) -> None:
        """Change the database."""
        engine = create_engine(self.url, connections=1, sqlite_timeout_s=5)
        with engine.begin() as connection:
            assert connection.execute(sa.text(statement), values).rowcount == 1
        engine.dispose()

    async def index(self) -> VectorIndex:
        """Return the index of all collections."""
        return index_of(await WordEmbedder().model())

    async def add(
        self, collection: str, document_id: str, version: int, *, published: bool
    ) -> None:
        """Store a chunk of anything."""
        document = Document(
            *(document_id, collection, "a.md", "A", "text/markdown", 1, None, 1, 0.0),
            job_id="job_gone",
            version=version,
        )
        words = LexicalEncoder().passage("left behind")
        chunk = EmbeddedChunk(Chunk(0, "left behind", 2), vector_of("left behind"), words)
        await self.service.store.add(await self.index(), document, [chunk])
        if published:
            await self.service.store.publish(await self.index(), document)

    def write_old(self, name: str) -> None:
        """Write a file that looks as if it were some hours old."""
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"left")
        then = time.time() - _OLD_S
        os.utime(path, (then, then))


Plant = Callable[[Furnished], Awaitable[object]]


async def no_vectors(at: Furnished) -> None:
    await at.service.store.delete(COLLECTION, at.documents["green okapi"])


async def no_vectors_of_attached(at: Furnished) -> None:
    document = f"doc_{at.file.removeprefix('file-')}"
    await at.service.store.delete(f"alice.{at.store}", document)


async def chunks_missing(at: Furnished) -> None:
    index, document = await at.index(), at.documents["blue tapir"]
    points = await at.service.store.inventory(index.name, 3, None, (COLLECTION, document))
    ids = [point.id for point in points]
    if isinstance(at.service.store, EdgeStore):
        at.service.store._indexes[index.name].shard.remove(list(ids))
    else:
        from deployments.retriever.qdrant.indexes import qdrant_name

        assert isinstance(at.service.store, ServerStore)
        await at.service.store._client.delete(qdrant_name(index), list(ids))


async def hidden_chunks(at: Furnished) -> None:
    await at.add(COLLECTION, at.documents["red zebra"], 77, published=False)


async def hidden_chunks_of_current(at: Furnished) -> None:
    await at.add(COLLECTION, at.documents["blue tapir"], await version_of(at), published=False)


async def version_of(at: Furnished) -> int:
    document = at.documents["blue tapir"]
    entry = await at.service.parts.catalogue.documents.get(COLLECTION, document)
    return entry.document.version


async def old_vectors(at: Furnished) -> None:
    await at.add(COLLECTION, at.documents["red zebra"], 1, published=True)


async def unknown_document(at: Furnished) -> None:
    await at.add(COLLECTION, UNKNOWN, 1, published=True)


async def unknown_collection(at: Furnished) -> None:
    await at.add(MISSING_COLLECTION, UNKNOWN, 1, published=True)


async def attributes(at: Furnished) -> None:
    wrong = {"colour": "wrong"}
    await at.service.store.set_attributes(COLLECTION, at.documents["red zebra"], wrong)


async def version_lost(at: Furnished) -> None:
    at.change(
        "INSERT INTO genserve_versions (collection, document_id, number, status, digest, author,"
        " filename, title, media_type, size_bytes, chunks, created_ms, job_id) VALUES (:collection,"
        " :document, 50, 'in_progress', 'x', 'alice', 'a', '', '', 1, 0, 1000, 'job_gone')",
        collection=COLLECTION,
        document=at.documents["red zebra"],
    )


async def content_missing(at: Furnished) -> None:
    at.content("green okapi").unlink()


async def content_differs(at: Furnished) -> None:
    content = at.content("green okapi")
    content.write_bytes(content.read_bytes()[::-1])


async def content_cut(at: Furnished) -> None:
    content = at.content("green okapi")
    content.write_bytes(content.read_bytes()[:-1])


async def file_missing(at: Furnished) -> None:
    at.kept().unlink()


async def file_differs(at: Furnished) -> None:
    kept = at.kept().read_bytes()
    at.kept().write_bytes(kept[:-1] + b"?")


async def pictures_missing(at: Furnished) -> None:
    at.path(f"images/{at.picture}/0.png").unlink()


async def counts_wrong(at: Furnished) -> None:
    at.change("UPDATE genserve_collections SET completed = 9 WHERE id = :id", id=COLLECTION)


async def usage_wrong(at: Furnished) -> None:
    at.change("UPDATE genserve_usage SET size_bytes = size_bytes + 7 WHERE owner = 'alice'")


async def left_waiting(at: Furnished) -> None:
    at.change(
        "INSERT INTO genserve_removals (collection, document_id, created_ms)"
        " VALUES (:collection, :document, 1000)",
        collection=COLLECTION,
        document="doc_removed",
    )


def unknown_file(name: str) -> Plant:
    """Return the damage that leaves a file."""

    async def plant(at: Furnished) -> None:
        at.write_old(name)

    return plant


MENDABLE: dict[str, tuple[DamageKind, Plant]] = {
    "no vectors": (DamageKind.NO_VECTORS, no_vectors),
    "no vectors of an attached file": (DamageKind.NO_VECTORS, no_vectors_of_attached),
    "chunks missing": (DamageKind.CHUNKS_MISSING, chunks_missing),
    "hidden chunks": (DamageKind.HIDDEN_CHUNKS, hidden_chunks),
    "hidden chunks of a current version": (DamageKind.HIDDEN_CHUNKS, hidden_chunks_of_current),
    "old vectors": (DamageKind.OLD_VECTORS, old_vectors),
    "unknown document": (DamageKind.UNKNOWN_DOCUMENT, unknown_document),
    "unknown collection": (DamageKind.UNKNOWN_COLLECTION, unknown_collection),
    "attributes": (DamageKind.ATTRIBUTES_DIFFER, attributes),
    "version lost": (DamageKind.VERSION_LOST, version_lost),
    "counts": (DamageKind.COUNTS_WRONG, counts_wrong),
    "usage": (DamageKind.USAGE_WRONG, usage_wrong),
    "left waiting": (DamageKind.LEFT_WAITING, left_waiting),
    **{
        f"file {name}": (DamageKind.UNKNOWN_FILE, unknown_file(name))
        for name in (
            f"contents/{COLLECTION}/{UNKNOWN}/1",
            f"contents/{MISSING_COLLECTION}/{UNKNOWN}/1",
            "kept/alice/file-" + "0" * 32,
            "images/job_gone/0.png",
            "uploads/alice/0123",
            "chunks/job_gone/0.json",
        )
    },
}
"""What the doctor mends."""

LASTING: dict[str, tuple[DamageKind, Plant, Callable[[Furnished], Path]]] = {
    "content missing": (
        DamageKind.CONTENT_MISSING,
        content_missing,
        lambda at: at.content("green okapi"),
    ),
    "content differs": (
        DamageKind.CONTENT_DIFFERS,
        content_differs,
        lambda at: at.content("green okapi"),
    ),
    "content cut": (DamageKind.CONTENT_DIFFERS, content_cut, lambda at: at.content("green okapi")),
    "file missing": (DamageKind.FILE_MISSING, file_missing, Furnished.kept),
    "file differs": (DamageKind.FILE_DIFFERS, file_differs, Furnished.kept),
    "pictures missing": (
        DamageKind.PICTURES_MISSING,
        pictures_missing,
        lambda at: at.path(f"images/{at.picture}/0.png"),
    ),
}
"""What only a backup mends, with the file that is damaged."""
