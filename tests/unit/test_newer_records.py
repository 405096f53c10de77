"""Records that a newer version wrote, before a rollback or during a rolling update, are read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from deployments.file_store import FileStore
from deployments.retriever import points
from deployments.types import Chunk, Document
from serve_app.testing import Fakes
from tests.support.vector_stores import STORES, keep, make

pytestmark = pytest.mark.anyio
NEWER = {"tags": ["new"], "checksum": "5e"}
DOCUMENT = Document("doc_a", "default", "a.txt", "A", "text/plain", 1, None, 1, 1.0)


async def test_a_stored_document_and_chunk_with_unknown_fields_are_read() -> None:
    published = points.published_payload(DOCUMENT)
    published["document"] |= NEWER
    payload = points.chunk_payload("doc_a", "1.1", Chunk(0, "snow", 1)) | published | NEWER
    assert points.document_from(published) == DOCUMENT
    assert points.stored_from(payload).document == DOCUMENT
    assert points.summary_of("default", [published]).documents == 1


def the_file(root: Path, pattern: str) -> str:
    (path,) = root.glob(pattern)
    return str(path.relative_to(root))


async def add_unknown_fields(files: FileStore, name: str) -> None:
    head, brace, rest = (await files.get(name)).partition(b"}")
    newer = json.dumps(NEWER)[1:].encode()
    assert brace
    await files.put(name, head + b", " + newer + rest[len(newer) + 1 :])


async def test_a_kept_file_with_unknown_fields_is_listed_and_read(tmp_path: Path) -> None:
    fakes = Fakes(files=FileStore(str(tmp_path)))
    async with fakes.client() as http:
        file = await keep(http, "a.txt", b"Snow is white.")
        await add_unknown_fields(fakes.files, the_file(tmp_path, "kept/*/file-*"))
        assert (await http.get("/v1/files")).json()["data"] == [file]
        assert (await http.get(f"/v1/files/{file['id']}/content")).content == b"Snow is white."


async def test_an_attachment_with_unknown_fields_is_shown(tmp_path: Path) -> None:
    fakes = Fakes(files=FileStore(str(tmp_path)))
    async with fakes.client() as http:
        file = await keep(http, "a.txt", b"Snow is white.")
        store = await make(http, name="a", file_ids=[file["id"]])
        await add_unknown_fields(fakes.files, the_file(tmp_path, "vector_stores/*/*/files/file-*"))
        attached = (await http.get(f"{STORES}/{store['id']}/files")).json()["data"]
    assert [each["id"] for each in attached] == [file["id"]]


async def test_unknown_fields_of_a_vector_store_survive_a_change(tmp_path: Path) -> None:
    fakes = Fakes(files=FileStore(str(tmp_path)))
    async with fakes.client() as http:
        store = await make(http, name="a", metadata={})
        path = f"vector_stores/_/{store['id']}/about"
        note: dict[str, Any] = json.loads(await fakes.files.get(path))
        await fakes.files.put(path, json.dumps(note | NEWER).encode())
        assert (await http.get(f"{STORES}/{store['id']}")).json() == store
        await http.post(f"{STORES}/{store['id']}", json={"name": "b"})
    assert json.loads(await fakes.files.get(path)) == note | NEWER | {"name": "b"}
