"""`POST /upload`: what is refused at once, what is stored, and which job it is given."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import httpx
import pytest

from deployments.errors import Overloaded, ServiceError, Unavailable, Unprocessable
from deployments.file_store import FileStore
from deployments.types import IngestSpec, JobStatus
from serve_app.testing import Fakes
from tests.support.archives import zip_file

pytestmark = pytest.mark.anyio
PDF = b"%PDF-1.7\n" + b"x" * 3_000_000  # more than is kept in memory, or read in one block
NAME = ("a.pdf", PDF)


def stored(root: Path) -> list[bytes]:
    return [path.read_bytes() for path in root.rglob("*") if path.is_file()]


@pytest.fixture
def fakes(tmp_path: Path) -> Fakes:
    return Fakes(files=FileStore(str(tmp_path)))


async def test_an_upload_is_stored_whole_before_its_job_is_named(fakes: Fakes) -> None:
    async with fakes.client() as http:
        answer = await http.post("/upload", files={"file": NAME}, data={"collection": "papers"})
        body = answer.json()
        job = (await http.get(answer.headers["location"])).json()
    digest = hashlib.sha256(PDF).hexdigest()
    assert (answer.status_code, body["status"], body["filename"]) == (202, "queued", "a.pdf")
    assert body["version"] == 1
    assert answer.headers["location"] == f"/v1/jobs/{body['job_id']}"
    assert job["input"] == {
        "document_id": body["document_id"],
        "collection": "papers",
        "filename": "a.pdf",
        "size_bytes": len(PDF),
    }
    spec = fakes.jobs.known[body["job_id"]].spec
    assert isinstance(spec, IngestSpec)
    assert spec.digest == digest
    assert await fakes.files.get(spec.upload_path) == PDF


async def test_a_vector_store_takes_uploads_and_is_not_made_by_one(fakes: Fakes) -> None:
    async with fakes.client() as http:
        store = (await http.post("/v1/vector_stores", json={"name": "a"})).json()["id"]
        for collection, status in ((store, 202), ("vs_nowhere", 404)):
            answer = await http.post(
                "/upload", files={"file": NAME}, data={"collection": collection}
            )
            assert answer.status_code == status
    assert len(fakes.jobs.known) == 1


async def test_the_fake_service_makes_a_document_of_each_file_of_a_zip_file(fakes: Fakes) -> None:
    fakes.jobs.runs = True
    data = zip_file({"a/b.txt": "One text.", "c.txt": "Another text.", "d.bin": b"\x7fELF"})
    async with fakes.client() as http:
        body = (await http.post("/upload", files={"file": ("all.zip", data)})).json()
        assert (body["document_id"], body["version"]) == (None, None)
        job = (await http.get(f"/v1/jobs/{body['job_id']}")).json()
        found = (await http.get("/v1/documents")).json()["data"]
    assert (job["status"], job["progress"]) == ("succeeded", {"done": 3, "total": 3})
    assert [file["filename"] for file in job["result"]["unread_files"]] == ["d.bin"]
    assert {document["filename"] for document in found} == {"a/b.txt", "c.txt"}


async def test_a_zip_file_does_not_recreate_a_deleted_collection(fakes: Fakes) -> None:
    data = zip_file({"a.txt": "One text."})
    async with fakes.client() as http:
        store = (await http.post("/v1/vector_stores", json={"name": "a"})).json()["id"]
        jobs = [
            (
                await http.post(
                    "/upload", files={"file": ("a.zip", data)}, data={"collection": collection}
                )
            ).json()["job_id"]
            for collection in (store, "other")
        ]
        assert (await http.delete(f"/v1/vector_stores/{store}")).status_code == 200
    assert [fakes.jobs.known[job].status for job in jobs] == [
        JobStatus.CANCELLED,
        JobStatus.QUEUED,
    ]


async def test_the_same_file_again_changes_nothing(fakes: Fakes, tmp_path: Path) -> None:
    async with fakes.client() as http:
        both = await asyncio.gather(*(http.post("/upload", files={"file": NAME}) for _ in "12"))
        first = both[0].json()
        # What its job does in the end.
        await fakes.files.delete("uploads")
        await fakes.jobs.change(first["job_id"], status=JobStatus.SUCCEEDED)
        again = await http.post("/upload", files={"file": NAME})
        elsewhere = await http.post("/upload", files={"file": NAME}, data={"collection": "other"})
    assert [answer.status_code for answer in both] == [202, 202]
    assert both[1].json() == first
    assert (again.status_code, again.json()) == (200, first | {"status": "succeeded"})
    assert again.headers["location"] == f"/v1/jobs/{first['job_id']}"
    assert elsewhere.status_code == 202
    assert elsewhere.json()["job_id"] != first["job_id"]
    # Of the second time nothing is kept.
    assert stored(tmp_path) == [PDF]


async def test_another_file_of_the_same_name_is_a_new_version(fakes: Fakes) -> None:
    fakes.jobs.runs = True
    async with fakes.client() as http:

        async def send(text: str, name: str = "a.txt", **form: str) -> httpx.Response:
            file = {"file": (name, text.encode())}
            return await http.post("/upload", files=file, data=form)

        async def found(question: str) -> list[str]:
            body = {"query": question}
            answer = await http.post("/v1/vector_stores/default/search", json=body)
            return [each["content"][0]["text"] for each in answer.json()["data"]]

        first = (await send("Snow is white.")).json()
        second = (await send("Snow is cold.")).json()
        assert (first["version"], second["version"]) == (1, 2)
        url = f"/v1/documents/{first['document_id']}"
        assert second["document_id"] == first["document_id"]
        assert await found("snow") == ["Snow is cold."]
        shown = (await http.get(url)).json()
        assert (shown["version"], shown["size_bytes"]) == (2, 13)
        history = (await http.get(f"{url}/versions")).json()
        assert [(each["id"], each["status"]) for each in history["data"]] == [
            ("2", "completed"),
            ("1", "superseded"),
        ]
        assert history["data"][0]["sha256"] == hashlib.sha256(b"Snow is cold.").hexdigest()
        refused = await send("Snow is soft.", on_conflict="reject")
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "name_taken")
        kept = (await send("Snow is soft.", on_conflict="keep")).json()
        assert (kept["filename"], kept["version"]) == ("a (2).txt", 1)
        same = await send("Snow is cold.", on_conflict="reject")
        assert (same.status_code, same.json()["document_id"]) == (200, first["document_id"])
        # The same content under another name is another document.
        copy = (await send("Snow is cold.", "b.txt")).json()
        assert copy["document_id"] != first["document_id"]
        assert len((await http.get("/v1/documents")).json()["data"]) == 3

        renamed = await http.post(url, json={"filename": "winter.txt"})
        assert renamed.json()["filename"] == "winter.txt"
        taken = await http.post(url, json={"filename": "b.txt"})
        assert (taken.status_code, taken.json()["error"]["code"]) == (409, "name_taken")
        anew = (await send("Snow is deep.")).json()
        assert (anew["version"], anew["document_id"] != first["document_id"]) == (1, True)
        assert (await http.delete(url)).status_code == 204
        for path in ("", "/versions"):
            assert (await http.get(url + path)).status_code == 404


async def test_uploads_have_attributes(fakes: Fakes) -> None:
    fakes.jobs.runs = True
    async with fakes.client() as http:

        async def send(text: str, **form: str) -> httpx.Response:
            return await http.post("/upload", files={"file": ("a.txt", text.encode())}, data=form)

        async def found(value: object) -> int:
            filters = {"type": "eq", "key": "year", "value": value}
            body = {"query": "snow", "filters": filters}
            answer = await http.post("/v1/vector_stores/default/search", json=body)
            return len(answer.json()["data"])

        first = (await send("snow is white", attributes='{"year": 2025, "draft": true}')).json()
        url = f"/v1/documents/{first['document_id']}"
        assert '"attributes":{"year":2025,"draft":true}' in (await http.get(url)).text
        assert await found(2025) == 1
        # A new version has the attributes of the document, which the same file can change.
        assert (await send("snow is cold")).json()["version"] == 2
        assert await found(2025) == 1
        same = await send("snow is cold", attributes='{"year": 2026}')
        assert (same.status_code, same.json()["version"]) == (200, 2)
        assert (await found(2025), await found(2026)) == (0, 1)
        assert fakes.retriever.applied == [("default", first["document_id"])]
        both = {"attributes": {"year": "MMXXVI"}, "filename": "b.txt"}
        changed = (await http.post(url, json=both)).json()
        assert (changed["filename"], changed["attributes"]) == ("b.txt", {"year": "MMXXVI"})
        assert await found("MMXXVI") == 1
        assert (await http.get("/v1/documents")).json()["data"][0] == changed
        assert await fakes.catalogue.attribute_changes.claim(0) is None
        for wrong in (
            "{",
            "[]",
            '{"a": NaN}',
            '{"a": 1e400}',
            '{"a": {}}',
            '{"a": 9007199254740993}',
            '{"\\ud800": 1}',
        ):
            answer = await send("x", attributes=wrong)
            assert (answer.status_code, answer.json()["error"]["param"][:10]) == (
                400,
                "attributes",
            ), wrong
        nothing = await http.post(url, json={})
        assert nothing.status_code == 400


async def test_the_version_before_is_restored_as_a_new_one(fakes: Fakes, tmp_path: Path) -> None:
    fakes.jobs.runs = True
    async with fakes.client() as http:

        async def send(text: str) -> dict[str, Any]:
            answer = await http.post("/upload", files={"file": ("a.txt", text.encode())})
            body: dict[str, Any] = answer.json()
            return body

        url = f"/v1/documents/{(await send('Snow is white.'))['document_id']}"
        none = await http.post(f"{url}/restore")
        assert (none.status_code, none.json()["error"]["param"]) == (404, "version")
        await send("Snow is cold.")
        answer = await http.post(f"{url}/restore")
        assert (answer.status_code, answer.json()["version"]) == (202, 3)
        body = {"query": "snow"}
        found = (await http.post("/v1/vector_stores/default/search", json=body)).json()["data"]
        assert [each["content"][0]["text"] for each in found] == ["Snow is white."]
        history = (await http.get(f"{url}/versions")).json()["data"]
        assert [(each["id"], each["status"], each["restored_from"]) for each in history] == [
            ("3", "completed", 1),
            ("2", "superseded", None),
            ("1", "superseded", None),
        ]
        assert history[0]["sha256"] == hashlib.sha256(b"Snow is white.").hexdigest()
        # Of the earlier versions only the last one's content is kept.
        assert sorted(stored(tmp_path / "contents")) == [b"Snow is cold.", b"Snow is white."]
        gone = await http.post(f"{url}/restore", json={"version": 1})
        assert (gone.status_code, gone.json()["error"]["code"]) == (409, "content_not_kept")
        again = await http.post(f"{url}/restore", json={"version": 2})
        assert again.json()["version"] == 4
        for number, status in ((3, 202), (9, 404), (0, 400)):
            answer = await http.post(f"{url}/restore", json={"version": number})
            assert answer.status_code == status
        missing = await http.post("/v1/documents/doc_" + "0" * 32 + "/restore")
        assert missing.status_code == 404
        assert (await http.delete(url)).status_code == 204
        assert stored(tmp_path / "contents") == []

        # With its vector store, the content of a document goes too.
        store = (await http.post("/v1/vector_stores", json={"name": "a"})).json()["id"]
        await http.post("/upload", files={"file": ("a.txt", b"Snow.")}, data={"collection": store})
        assert stored(tmp_path / "contents") == [b"Snow."]
        await http.delete(f"/v1/vector_stores/{store}")
        assert stored(tmp_path / "contents") == []


async def test_a_version_that_cannot_be_read_leaves_the_one_before(fakes: Fakes) -> None:
    fakes.jobs.runs = True
    async with fakes.client() as http:
        first = (await http.post("/upload", files={"file": ("a.txt", b"Snow.")})).json()
        fakes.parser.error = Unprocessable("There is no text in this file.", code="no_text")
        await http.post("/upload", files={"file": ("a.txt", b"Ice.")})
        url = f"/v1/documents/{first['document_id']}"
        assert (await http.get(url)).json()["version"] == 1
        newest = (await http.get(f"{url}/versions")).json()["data"][0]
    assert (newest["id"], newest["status"]) == ("2", "failed")
    assert newest["error"] == {"code": "no_text", "message": "There is no text in this file."}


async def test_a_key_gives_the_first_job_and_refuses_another_file(
    fakes: Fakes, tmp_path: Path
) -> None:
    key = {"idempotency-key": "k-1"}
    async with fakes.client() as http:
        first = await http.post("/upload", files={"file": NAME}, headers=key)
        again = await http.post("/upload", files={"file": NAME}, headers=key)
        other = await http.post("/upload", files={"file": ("b.txt", b"text")}, headers=key)
        long = await http.post(
            "/upload", files={"file": NAME}, headers={"idempotency-key": "k" * 201}
        )
        odd = await http.post("/upload", files={"file": NAME}, headers={"idempotency-key": "k\tk"})
    assert first.json()["job_id"] == again.json()["job_id"]
    assert (other.status_code, other.json()["error"]["code"]) == (409, "conflict")
    assert long.status_code == odd.status_code == 400
    assert long.json()["error"]["param"] == "Idempotency-Key"
    assert stored(tmp_path) == [PDF]


@pytest.mark.parametrize(
    ("name", "data", "status", "code", "word"),
    [
        ("a.pdf", b"", 422, "empty_file", "empty"),
        ("a.txt", b" \n" * 1_000_000, 422, "no_text", "text"),
        ("a.pdf", b"these are words", 415, "unsupported_media_type", "not a PDF"),
        ("a.7z", b"7z\xbc\xaf" + b"x" * 100, 415, "unsupported_media_type", "PDF"),
        ("a.txt", b"\x00\x01\x02 binary" * 9_000, 415, "unsupported_media_type", "not a text file"),
        ("a.md", bytes(range(1, 32)) * 40, 415, "unsupported_media_type", "not a text file"),
        ("a.html", b"<html>\x00\xff</html>", 415, "unsupported_media_type", "not a text file"),
        (
            "a.txt",
            "text".encode("utf-32-le") * 9,
            415,
            "unsupported_media_type",
            "encoding is unknown",
        ),
        ("a.txt", "\u200b \n".encode("utf-16"), 422, "no_text", "no text"),
        ("noname", b"MZ\x90\x00\x03" + bytes(400), 415, "unsupported_media_type", "a program"),
        ("a.pdf", b"%PDF-" + b"x" * 5_000_000, 413, "too_large", "larger than 4.8 MB"),
        ("a.pdf", b"%PDF-" + b"x" * 6_000_000, 413, "too_large", "larger than 4.8 MB"),
    ],
)
async def test_what_cannot_be_read_is_refused_at_once(  # noqa: PLR0917
    fakes: Fakes, tmp_path: Path, name: str, data: bytes, status: int, code: str, word: str
) -> None:
    async with fakes.client(limits={"max_upload_bytes": 5_000_000}) as http:
        answer = await http.post("/upload", files={"file": (name, data)})
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert word in answer.json()["error"]["message"]
    assert fakes.jobs.known == {}
    assert stored(tmp_path) == []


@pytest.mark.parametrize(
    "data",
    [
        "Grüße aus Köln".encode("utf-16-le"),
        "Grüße aus Köln".encode("utf-16"),
        "Grüße aus Köln".encode("utf-8-sig"),
        "Grüße aus Köln".encode("cp1252"),
        "ü".encode() * 40_000,  # of which the examined beginning ends within a character
        b"x" + "ü".encode() * 40_000,
        b"a page\n\f" * 20,
    ],
)
async def test_texts_in_the_encodings_that_are_read_are_accepted(fakes: Fakes, data: bytes) -> None:
    async with fakes.client() as http:
        assert (await http.post("/upload", files={"file": ("a.txt", data)})).status_code == 202


async def test_a_kept_file_that_is_binary_fails_at_once_in_a_vector_store(fakes: Fakes) -> None:
    binary = {"file": ("a.txt", b"\x00\x01\x02 binary" * 9)}
    async with fakes.client() as http:
        kept = await http.post("/v1/files", files=binary, data={"purpose": "assistants"})
        store = (await http.post("/v1/vector_stores", json={"name": "a"})).json()["id"]
        answer = await http.post(
            f"/v1/vector_stores/{store}/files", json={"file_id": kept.json()["id"]}
        )
    assert (kept.status_code, answer.json()["status"]) == (200, "failed")  # as OpenAI's
    assert "not a text file" in answer.json()["last_error"]["message"]
    assert fakes.jobs.known == {}


LOCKED = b"%PDF-1.7\n" + b"x" * 100_000 + b"trailer << /Encrypt 3 0 R >>"


async def test_an_encrypted_file_is_refused_if_it_cannot_be_opened(fakes: Fakes) -> None:
    async with fakes.client() as http:
        for outcome, status in (
            ({"status": JobStatus.FAILED, "error_message": "It needs a password."}, 422),
            ({"status": JobStatus.RUNNING, "total": 3}, 202),
        ):
            asking = asyncio.ensure_future(http.post("/upload", files={"file": ("a.pdf", LOCKED)}))
            await fakes.jobs.watched.wait()
            assert not asking.done()
            (job_id,) = [job.id for job in fakes.jobs.known.values() if not job.ended]
            await fakes.jobs.change(job_id, **outcome)
            answer = await asking
            assert answer.status_code == status
            fakes.jobs.watched.clear()
            if status == 422:
                assert "password" in answer.json()["error"]["message"]


async def test_the_form_is_checked(fakes: Fakes) -> None:
    async with fakes.client() as http:
        wrong = await http.post("/upload", files={"document": NAME})
        no_form = await http.post("/upload", content=b"x")
        misspelt = await http.post("/upload", files={"file": NAME}, data={"colection": "x"})
        outside = await http.post("/upload", files={"file": NAME}, data={"collection": "../x"})
        no_file = await http.post("/upload", data={"file": "words"})
    statuses = {answer.status_code for answer in (wrong, no_form, misspelt, outside, no_file)}
    assert statuses == {400}
    assert wrong.json()["error"]["param"] == "document"
    assert "`file`" in wrong.json()["error"]["message"]
    assert "did you mean `collection`?" in misspelt.json()["error"]["message"]
    assert misspelt.json()["error"]["param"] == "colection"
    assert outside.json()["error"]["param"] == "collection"
    assert no_file.json()["error"]["param"] == "file"


async def test_a_file_name_is_shown_without_its_folders(fakes: Fakes) -> None:
    async with fakes.client() as http:
        answer = await http.post("/upload", files={"file": ("..\\../etc/pass\nwd.txt", b"x")})
    assert answer.status_code == 202
    assert not set("/\\\n") & set(answer.json()["filename"])


@pytest.mark.parametrize(
    ("error", "status", "kept"), [(Overloaded("full"), 429, 0), (Unavailable("gone"), 503, 1)]
)
async def test_a_job_that_is_refused_leaves_nothing_and_one_in_doubt_keeps_its_file(
    fakes: Fakes, tmp_path: Path, error: ServiceError, status: int, kept: int
) -> None:
    fakes.jobs.submit_error = error
    async with fakes.client() as http:
        answer = await http.post("/upload", files={"file": NAME})
        assert (answer.status_code, len(stored(tmp_path))) == (status, kept)
        assert int(answer.headers["retry-after"]) >= 1
        # A file that another job needs stays, whatever becomes of this one.
        fakes.jobs.submit_error = None
        needed = (await http.post("/upload", files={"file": NAME})).json()["job_id"]
        fakes.jobs.submit_error = error
        assert (await http.post("/upload", files={"file": NAME})).status_code == status
    spec = fakes.jobs.known[needed].spec
    assert isinstance(spec, IngestSpec)
    assert await fakes.files.get(spec.upload_path) == PDF
    assert len(stored(tmp_path)) == 1 + 2 * kept


async def test_only_so_many_are_taken_in_at_once_from_their_first_byte(
    fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve_app.access.admission._MAX_UPLOADS", 1)
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> Any:
        yield b'--b\r\ncontent-disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'
        begun.set()
        await go_on.wait()
        yield b"text\r\n--b--\r\n"

    form = {"content-type": "multipart/form-data; boundary=b"}
    async with fakes.client() as http:
        first = asyncio.ensure_future(http.post("/upload", content=slow(), headers=form))
        await begun.wait()
        second = asyncio.ensure_future(http.post("/upload", files={"file": NAME}))
        done, _ = await asyncio.wait({second}, timeout=0.2)
        assert not done
        go_on.set()
        assert ((await first).status_code, (await second).status_code) == (202, 202)


async def test_a_client_that_leaves_once_its_file_is_here_has_begun_a_job(
    fakes: Fakes, tmp_path: Path
) -> None:
    fakes.jobs.submit_gate = asyncio.Event()
    async with fakes.client() as http:
        leaving = asyncio.ensure_future(http.post("/upload", files={"file": NAME}))
        async with asyncio.timeout(5):
            while not stored(tmp_path):
                await asyncio.sleep(0.01)
        leaving.cancel()
        asyncio.get_running_loop().call_later(0.05, fakes.jobs.submit_gate.set)
        with pytest.raises(asyncio.CancelledError):
            await leaving
    assert len(fakes.jobs.known) == len(stored(tmp_path)) == 1


@pytest.mark.parametrize(
    ("parameters", "filename"),
    [
        ("filename*=UTF-8''na%C3%AFve%20plan.txt", "naïve plan.txt"),
        ("filename*=iso-8859-1'en'%A3.txt", "£.txt"),
        ("filename*=utf-8''..%2F%22a%22.txt", '"a".txt'),
        ("filename=\"plain.txt\"; filename*=UTF-8''other.txt", "plain.txt"),
    ],
)
async def test_extended_file_names_are_read(fakes: Fakes, parameters: str, filename: str) -> None:
    part = f'--b\r\ncontent-disposition: form-data; name="file"; {parameters}\r\n\r\ntext\r\n'
    purpose = '--b\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nassistants\r\n'
    form = {"content-type": "multipart/form-data; boundary=b"}
    async with fakes.client() as http:
        answer = await http.post("/upload", content=part + "--b--", headers=form)
        kept = await http.post("/v1/files", content=part + purpose + "--b--", headers=form)
    assert (answer.status_code, kept.status_code) == (202, 200)
    assert answer.json()["filename"] == kept.json()["filename"] == filename
