"""The catalogue has what version 0.1 kept in the file store and in the vector store."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deployments.catalogue.entries import DocumentStatus
from deployments.catalogue.import_0_1 import SOURCE, ImportOf01
from deployments.errors import NotFound
from deployments.file_store import FileStore
from deployments.types import Chunk, Document
from serve_app.testing import Fakes
from tests.support.api_keys import ALICE, KEYS, bearer
from tests.support.vector_stores import STORES

pytestmark = pytest.mark.anyio

FILE, FAILED, PENDING = ("file-" + digit * 32 for digit in "123")
STORE = "vs_0190000000000abcdef12345"
NEWER = {"of a newer version": True}
DOCUMENT = Document(
    f"doc_{'1' * 32}", f"alice.{STORE}", "a.txt", "Snow", "text/plain", 14, None, 1, 70.5, "job_1"
)


@pytest.fixture
def fakes(tmp_path: Path) -> Fakes:
    return Fakes(files=FileStore(str(tmp_path)), api_keys=KEYS)


async def note(files: FileStore, path: str, **fields: Any) -> None:
    await files.put(path, json.dumps(fields | NEWER).encode())


async def write_as_0_1(fakes: Fakes) -> None:
    for number, file_id in enumerate((FILE, FAILED, PENDING)):
        card = {
            "id": file_id,
            "filename": f"{'abc'[number]}.txt",
            "purpose": "assistants",
            "size_bytes": 14,
            "created_at": 60,
        }
        head = json.dumps(card | NEWER).encode().ljust(4096)
        await fakes.files.put(f"kept/alice/{file_id}", b"Snow is white.", head)
    root = f"vector_stores/alice/{STORE}"
    about = {"name": "Winter", "created_at": 50, "metadata": {"team": "north"}}
    await note(fakes.files, f"{root}/about", **about)
    attached = {"created_at": 60, "size_bytes": 14, "status": "in_progress", "error_code": None}
    await note(fakes.files, f"{root}/files/{FILE}", file_id=FILE, job_id="job_1", **attached)
    await note(fakes.files, f"{root}/files/{PENDING}", file_id=PENDING, job_id="job_3", **attached)
    failed = attached | {"status": "failed", "error_code": "no_text", "error_message": "No text."}
    await note(fakes.files, f"{root}/files/{FAILED}", file_id=FAILED, **failed)
    # An attachment of a vector store that was deleted in the same moment.
    await note(fakes.files, f"vector_stores/alice/vs_gone/files/{FILE}", file_id=FILE, **attached)
    await fakes.retriever.create(f"alice.{STORE}")
    await fakes.retriever.create("bob.empty")
    uploads = [
        replace(DOCUMENT, id=f"doc_{n:032x}", collection=collection, created_at=80.0 + n)
        for collection in ("default", "alice.papers")
        for n in range(150)
    ]
    for document in (DOCUMENT, *uploads):
        await fakes.retriever.publish(document, [Chunk(0, "Snow is white.", 3)])


async def test_everything_is_there_after_the_import(fakes: Fakes) -> None:
    await write_as_0_1(fakes)
    catalogue = fakes.catalogue
    for _ in range(2):  # it may be repeated
        await ImportOf01(catalogue, fakes.files, fakes.retriever).run()
    assert await catalogue.imported_ms(SOURCE) is not None
    store = await catalogue.collections.get(f"alice.{STORE}")
    assert (store.name, store.metadata, store.created_at) == ("Winter", {"team": "north"}, 50)
    assert (store.completed, store.failed, store.in_progress) == (1, 1, 1)
    entry = await catalogue.documents.get(f"alice.{STORE}", DOCUMENT.id)
    imported = replace(DOCUMENT, created_at=60)
    assert (entry.document, entry.status) == (imported, DocumentStatus.COMPLETED)
    for collection, count in (("default", 150), ("alice.papers", 150), ("bob.empty", 0)):
        found = await catalogue.collections.get(collection)
        assert (found.completed, found.created_at >= 80) == (count, True)
    with pytest.raises(NotFound):
        await catalogue.collections.get("alice.vs_gone")
    async with fakes.client() as http:
        http.headers.update(bearer(ALICE))
        kept = (await http.get("/v1/files", params={"order": "asc"})).json()["data"]
        assert [(file["id"], file["created_at"]) for file in kept] == [
            (file_id, 60) for file_id in (FILE, FAILED, PENDING)
        ]
        assert (await http.get(f"/v1/files/{FILE}/content")).content == b"Snow is white."
        files = (await http.get(f"{STORES}/{STORE}/files", params={"order": "asc"})).json()
        assert [file["status"] for file in files["data"]] == [
            *("completed", "failed", "in_progress")
        ]
        assert files["data"][1]["last_error"]["message"] == "No text."
        stores = (await http.get(STORES)).json()["data"]
        assert [each["id"] for each in stores] == [STORE, "papers", "default"]


async def test_it_is_imported_once(fakes: Fakes) -> None:
    await write_as_0_1(fakes)
    first = ImportOf01(fakes.catalogue, fakes.files, fakes.retriever)
    await first.run_if_needed()
    async with fakes.client() as http:
        http.headers.update(bearer(ALICE))
        for path in (
            f"/v1/files/{FILE}",
            f"{STORES}/{STORE}",
            f"/v1/documents/doc_{1:032x}?collection=papers",
        ):
            assert (await http.delete(path)).is_success
        await first.run_if_needed()
        kept = (await http.get("/v1/files")).json()["data"]
        assert FILE not in [file["id"] for file in kept]
        assert (await http.get(f"{STORES}/{STORE}")).status_code == 404
        assert (await http.get(f"{STORES}/papers")).json()["file_counts"]["total"] == 149


async def test_what_cannot_be_read_does_not_stop_the_import(fakes: Fakes) -> None:
    await write_as_0_1(fakes)
    for number, content in enumerate((b"{", b"[]", b"{}", b'{"file_id": 1, "metadata": 5}')):
        for path in (
            f"kept/alice/file-{number:032}",
            f"vector_stores/alice/{STORE}/files/file-{number:032}",
            f"vector_stores/alice/vs_broken{number}/about",
            f"vector_stores/alice/Not a name {number}/about",
        ):
            await fakes.files.put(path, content)
    await ImportOf01(fakes.catalogue, fakes.files, fakes.retriever).run()
    assert (await fakes.catalogue.collections.get(f"alice.{STORE}")).completed == 1


async def test_uploads_of_0_1_are_known_by_their_names_and_contents(fakes: Fakes) -> None:
    content = b"Snow is white."
    digest = hashlib.sha256(content).hexdigest()
    uploaded = replace(DOCUMENT, id=f"doc_{digest[:32]}", collection="alice.papers")
    await fakes.retriever.publish(uploaded, [Chunk(0, "Snow is white.", 3)])
    await ImportOf01(fakes.catalogue, fakes.files, fakes.retriever).run()
    form = {"collection": "papers"}
    async with fakes.client() as http:
        http.headers.update(bearer(ALICE))
        same = await http.post("/upload", files={"file": ("a.txt", content)}, data=form)
        assert (same.status_code, same.json()["version"]) == (200, 1)
        other = await http.post("/upload", files={"file": ("a.txt", b"Snow.")}, data=form)
    assert (other.json()["document_id"], other.json()["version"]) == (uploaded.id, 2)
