"""A ZIP file is uploaded: each file in it becomes a document of its own, by one job."""

from __future__ import annotations

import asyncio
import contextlib
import io
import stat
import zipfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from reportlab.pdfgen.canvas import Canvas

from deployments.catalogue.catalogue import Catalogue
from deployments.catalogue.entries import PageQuery, Quotas
from deployments.catalogue.names import unique_names
from deployments.contents import content_path
from deployments.errors import InvalidRequest, TooLarge, Unprocessable
from deployments.file_store import FileStore
from deployments.jobs import engine
from deployments.jobs.records import fetch_job
from deployments.jobs.zip_files import job_id_of
from deployments.parser.file_parser import FileParser
from deployments.parser.reading import unpacking
from deployments.parser.reading.nested import MAX_FILES
from deployments.parser.reading.unpacking import unpack_some
from deployments.parser.sandbox import Sandbox
from deployments.types import Document, JobStatus, ParseSpec, UnpackPosition, ZipSpec
from tests.support import job_engine, office_files
from tests.support.api_keys import ALICE
from tests.support.archives import zip_file
from tests.support.collection_archives import begun
from tests.support.hostile_documents import FILES as HOSTILE
from tests.support.job_clients import ENDED
from tests.support.job_engine import Parts, Retriever, ended, running
from tests.support.whole_service import whole_service

pytestmark = pytest.mark.anyio


def _pdf(text: str) -> bytes:
    out = io.BytesIO()
    canvas = Canvas(out)
    canvas.drawString(72, 700, text)
    canvas.save()
    return out.getvalue()


MEBIBYTE = 1024**2
SAMPLES = {sample.name: sample.content for sample in office_files.samples()}
MEMBERS: dict[str, str | bytes] = {
    "reports/pumps.docx": SAMPLES["pumps.docx"],
    "reports/bridge.pdf": _pdf("The bridge of Gerlin is 340 metres long."),
    "people.csv": "Name,Town\nOstrander,Thornbury\n",
    "mails/lamps.eml": SAMPLES["lamps.eml"],
    "program.exe": b"\x7fELF" + bytes(100),
    "__MACOSX/._people.csv": b"\0\5\x16\7",
}
QUESTIONS = {
    "pumps Gerlin built 1931": "reports/pumps.docx",
    "bridge Gerlin 340 metres": "reports/bridge.pdf",
    "Ostrander Thornbury Name Town": "people.csv",
    "lamps need 47 watts": "mails/lamps.eml",
}


def reader(sandbox: Sandbox, files: FileStore) -> FileParser:
    return FileParser(sandbox, files, MEBIBYTE)


async def sent(http: httpx.AsyncClient, data: bytes, **form: str) -> dict[str, Any]:
    """Upload a ZIP file and wait for the end of its job."""
    answer = await http.post("/upload", files={"file": ("all.zip", data)}, data=form)
    assert answer.status_code == 202, answer.text
    body = answer.json()
    assert (body["document_id"], body["version"], body["filename"]) == (None, None, "all.zip")
    return await waited(http, body["job_id"])


async def waited(http: httpx.AsyncClient, job_id: str) -> dict[str, Any]:
    async with asyncio.timeout(60):
        while True:
            job: dict[str, Any] = (await http.get(f"/v1/jobs/{job_id}")).json()
            if job["status"] in ENDED:
                return job
            await asyncio.sleep(0.1)


async def listed(http: httpx.AsyncClient, collection: str = "default") -> dict[str, dict[str, Any]]:
    asked: dict[str, str | int] = {"limit": 100, "collection": collection}
    documents = (await http.get("/v1/documents", params=asked)).json()["data"]
    return {document["filename"]: document for document in documents}


def counts(job: dict[str, Any]) -> tuple[int, int, int]:
    return tuple(job["result"][name] for name in ("documents", "unchanged", "not_read"))


async def test_each_file_becomes_a_document_that_is_found_by_its_name(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    url = f"sqlite:///{tmp_path}/jobs.sqlite"
    parsing = partial(reader, sandbox)
    async with (
        whole_service(url, tmp_path, parsing=parsing, ingest_concurrency=2) as service,
        service.client(ALICE) as http,
    ):
        job = await sent(http, zip_file(MEMBERS), attributes='{"year": 2026}')
        assert (job["kind"], job["status"]) == ("zip", "succeeded")
        assert job["progress"] == {"done": 5, "total": 5}
        assert counts(job) == (4, 0, 1)
        (unread,) = job["result"]["unread_files"]
        assert (unread["filename"], unread["code"]) == ("program.exe", "unsupported_media_type")
        assert "looks like a program" in unread["message"]
        (attached,) = job["result"]["warnings"]
        assert attached["message"].startswith("mails/lamps.eml: 1 of 3 attachments")
        documents = await listed(http)
        assert sorted(documents) == sorted(QUESTIONS.values())
        assert {document["version"] for document in documents.values()} == {1}
        assert documents["people.csv"]["attributes"] == {"year": 2026}
        assert documents["people.csv"]["media_type"] == "text/csv"
        for question, name in QUESTIONS.items():
            body = {"query": question, "max_num_results": 1}
            found = await http.post("/v1/vector_stores/default/search", json=body)
            assert [one["filename"] for one in found.json()["data"]] == [name]
        # Each is kept by itself, and nothing else is.
        csv = documents["people.csv"]["id"]
        kept = await service.parts.files.get(content_path("alice.default", csv, 1))
        assert kept == b"Name,Town\nOstrander,Thornbury\n"
        assert await service.parts.files.stored("uploads") == []
        # The same ZIP file changes nothing; another content is a new version of its document.
        again = await sent(http, zip_file(MEMBERS), attributes='{"year": 2027}')
        assert counts(again) == (0, 4, 1)
        only = {"type": "eq", "key": "year", "value": 2027}
        body = {"query": "lamps need 47 watts", "max_num_results": 1, "filters": only}
        found = await http.post("/v1/vector_stores/default/search", json=body)
        assert [one["filename"] for one in found.json()["data"]] == ["mails/lamps.eml"]
        changed = MEMBERS | {"people.csv": "Name,Town\nBrunfeld,Alva\n"}
        assert counts(await sent(http, zip_file(changed))) == (1, 3, 1)
        after = await listed(http)
        assert {name: one["version"] for name, one in after.items()} == {
            name: 2 if name == "people.csv" else 1 for name in documents
        }
        assert {one["id"] for one in after.values()} == {one["id"] for one in documents.values()}
        refused = await sent(http, zip_file({"people.csv": "x,y\n1,2\n"}), on_conflict="reject")
        assert (refused["status"], refused["error"]["code"]) == ("failed", "name_taken")
        assert "people.csv" in refused["error"]["message"]
        assert [one["code"] for one in refused["result"]["unread_files"]] == ["name_taken"]
        assert await service.parts.files.stored("uploads") == []
        # Their names survive an export and an import.
        exported = (await http.get("/v1/vector_stores/default/export")).content
        imported = (await begun(http, exported)).json()
        assert (await waited(http, imported["job_id"]))["status"] == "succeeded"
        assert sorted(await listed(http, imported["vector_store_id"])) == sorted(documents)
        # An Office document is none, wherever the names are that tell it.
        late = zip_file({"media/a.bin": bytes(range(256)) * 999, **_members(SAMPLES["pumps.docx"])})
        answer = await http.post("/upload", files={"file": ("pumps", late)})
        job = await waited(http, answer.json()["job_id"])
        assert (job["kind"], job["status"]) == ("ingest", "succeeded")


def _members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


async def submitted(
    parts: Parts, members: Mapping[str, str | bytes], path: str = "uploads/_/zip"
) -> str:
    data = zip_file(members)
    spec = ZipSpec("default", "all.zip", len(data), path)
    await parts.files.put(spec.upload_path, data)
    return (await parts.submissions.zips(spec, None)).job.id


async def names(parts: Parts) -> dict[str, int]:
    page = await parts.catalogue.documents.page("default", PageQuery(1000))
    return {
        entry.document.filename: entry.document.version
        for entry in page.entries
        if entry.status.value == "completed"
    }


MANY = 12


async def test_a_restart_loses_and_repeats_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpacking, "_MAX_FILES_AT_ONCE", 7)
    url = f"sqlite:///{tmp_path}/jobs.sqlite"
    stored = Retriever()  # which outlives the jobs
    monkeypatch.setattr(job_engine, "Retriever", lambda: stored)
    members = {f"f/{n}.txt": b"bad" if n == 3 else f"text {n}" for n in range(MANY)}
    async with running(url, tmp_path, max_queued=32) as parts:
        stored.open.clear()
        job_id = await submitted(parts, members)
        await stored.reached.wait()
        await asyncio.sleep(0.5)
        waiting = await parts.catalogue.versions.in_progress("default")
        assert 0 < len(waiting) < MANY  # no more than the queue has room for
    async with running(url, tmp_path, max_queued=32) as parts:
        stored.open.set()
        job = await ended(parts, job_id)
        assert (job.status, job.done, job.total) == (JobStatus.SUCCEEDED, MANY, MANY)
        assert job.outcome is not None
        assert (job.outcome.documents, job.outcome.unchanged) == (MANY - 1, 0)
        assert [file.filename for file in job.outcome.unread] == ["f/3.txt"]
        assert await names(parts) == {name: 1 for name in members if name != "f/3.txt"}
        assert await parts.files.stored("uploads") == []


async def test_a_cancelled_zip_file_stops_the_jobs_of_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path}/jobs.sqlite"
    async with running(url, tmp_path, ingest_concurrency=2) as parts:
        parts.retriever.open.clear()
        job_id = await submitted(parts, {f"{n}.txt": f"text {n}" for n in range(8)})
        await parts.retriever.reached.wait()
        monkeypatch.setattr(engine, "_ORPHANED_S", -1.0)  # the sweep leaves what is needed
        needed = await parts.files.stored("uploads")
        await parts.engine._sweep(parts.files)
        assert await parts.files.stored("uploads") == needed
        assert len(needed) > 1
        await parts.canceller.cancel(job_id)  # does not wait for long
        assert (await ended(parts, job_id)).status is JobStatus.CANCELLED
        assert await parts.catalogue.versions.in_progress("default") == []
        assert await names(parts) == {}
        assert await parts.files.stored("uploads") == []
        first = await fetch_job(job_id_of(ZipSpec("default", "", 0, "uploads/_/zip"), 0))
        assert first.status is JobStatus.CANCELLED


async def test_a_cancelled_zip_file_takes_no_files_from_another_one(tmp_path: Path) -> None:
    members = {f"{n}.txt": f"text {n}" for n in range(3)}
    async with running(f"sqlite:///{tmp_path}/jobs.sqlite", tmp_path) as parts:
        parts.retriever.open.clear()
        first = await submitted(parts, members)
        assert await submitted(parts, members) == first  # a call that was repeated
        await parts.retriever.reached.wait()
        second = await submitted(parts, members, "uploads/_/again")
        while not await parts.files.names("uploads/_/again.files"):
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.3)  # it waits for the jobs of the first now
        await parts.canceller.cancel(first)
        parts.retriever.open.set()
        job = await ended(parts, second)
        assert job.status is JobStatus.SUCCEEDED
        assert job.outcome is not None
        assert (job.outcome.documents, job.outcome.unread) == (3, ())
        assert set(await names(parts)) == set(members)
        assert await parts.files.stored("uploads") == []


async def test_a_full_quota_takes_some_files_and_names_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quotas = Quotas(collections=9, documents=2, files=9, size_bytes=10**9)
    monkeypatch.setattr(
        job_engine, "Catalogue", lambda database: Catalogue(database, quotas=quotas)
    )
    async with running(f"sqlite:///{tmp_path}/jobs.sqlite", tmp_path) as parts:
        job = await ended(parts, await submitted(parts, {f"{n}.txt": f"{n}" for n in range(4)}))
        assert job.status is JobStatus.SUCCEEDED
        assert job.outcome is not None
        assert (job.outcome.documents, job.outcome.not_read) == (2, 2)
        assert all("documents" in file.message for file in job.outcome.unread)


def unpacked(data: bytes, max_file_bytes: int = MEBIBYTE) -> dict[str, str | bytes]:
    """Return the content of each file, or the code that says why there is none."""
    position: UnpackPosition | None = UnpackPosition()
    found: dict[str, str | bytes] = {}
    while position is not None:
        done = unpack_some(data, position, max_file_bytes)
        contents = iter(done.contents)
        for file in done.files:
            assert file.name not in found
            found[file.name] = file.code or next(contents)
        position = done.next
    return found


@pytest.mark.parametrize("at_once", [1, 2, 3, 256])
def test_files_are_unpacked_in_any_portions(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(unpacking, "_MAX_FILES_AT_ONCE", at_once)
    inner = zip_file({"b.txt": "b", "c/d.txt": "d", "deep.zip": zip_file({"e.txt": "e"})})
    data = zip_file({"a.txt": "a", "in.zip": inner, "f.txt": "f", "empty.txt": "", "g/": ""})
    assert unpacked(data) == {
        "a.txt": b"a",
        "in.zip/b.txt": b"b",
        "in.zip/c/d.txt": b"d",
        "in.zip/deep.zip": "nested_too_deep",
        "f.txt": b"f",
        "empty.txt": "empty_file",
    }


def test_hostile_names_links_and_sizes_are_harmless(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../etc/passwd", "a")
        archive.writestr("/root/b.txt", "b")
        archive.writestr("win\\c.txt", "c")
        archive.writestr("d\u202etxt.exe.txt", "d")
        archive.writestr("large.txt", "x" * (MEBIBYTE + 1))
        link = zipfile.ZipInfo("link.txt")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    assert unpacked(out.getvalue()) == {
        "etc/passwd": b"a",
        "root/b.txt": b"b",
        "win/c.txt": b"c",
        "dtxt.exe.txt": b"d",
        "large.txt": "too_large",
        "link.txt": "link",
    }
    monkeypatch.setattr(unpacking, "MAX_FILES", 5)
    with pytest.raises(TooLarge, match="more than 5 files"):
        unpacked(out.getvalue())


def test_names_are_unique_and_not_longer_than_an_export_takes() -> None:
    assert unique_names(["a.txt", "a (2).txt", "a.txt", "a.txt", "a (2).txt"]) == [
        *("a.txt", "a (2).txt", "a (3).txt", "a (4).txt", "a (2) (2).txt"),
    ]
    assert len(set(unique_names(["a.txt"] * MAX_FILES))) == MAX_FILES  # at once
    folder = "f" * 120
    inner = zip_file({f"{folder}/{folder}.txt": "a", f"b/{'c' * 199}": "b"})
    assert unpacked(zip_file({f"{folder}/{folder}.zip": inner})) == {
        f"{folder}.txt": b"a",
        "c" * 199: b"b",
    }


def test_a_bomb_is_refused_and_a_damaged_file_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployments.parser.reading.zip_members.MAX_UNPACKED_BYTES", 3 * MEBIBYTE)
    monkeypatch.setattr(unpacking, "_MAX_FILES_AT_ONCE", 1)
    inner = {f"{n}.txt": "x" * MEBIBYTE for n in range(3)}
    assert len(unpacked(zip_file(inner))) == 3
    for bomb in (
        inner | {"3.txt": "x" * MEBIBYTE},
        {"a.zip": zip_file(inner), "b.zip": zip_file(inner)},
    ):
        with pytest.raises(TooLarge, match="unpacks to more than"):
            unpacked(zip_file(bomb))
    data = bytearray(zip_file({"a.txt": "the first file", "b.txt": "the second file"}))
    data[data.index(b"a.txt") + len("a.txt") + 2] ^= 0xFF
    damaged = {"a.txt": "damaged_document", "b.txt": b"the second file"}
    assert unpacked(bytes(data)) == damaged
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a.txt", "the first file")
        archive.writestr("b.txt", "the second file")
    lzma = bytearray(out.getvalue())
    lzma[lzma.index(b"a.txt") + len("a.txt") + 4] ^= 0xFF  # its properties
    assert unpacked(bytes(lzma)) == damaged
    with pytest.raises(InvalidRequest, match="damaged or incomplete"):
        unpacked(bytes(data[:-30]))


@pytest.mark.parametrize("name", [name for name in HOSTILE if name.endswith(".zip")])
def test_nothing_of_a_hostile_zip_file_is_unpacked(name: str) -> None:
    data = HOSTILE[name]()
    position: UnpackPosition | None = UnpackPosition()
    with contextlib.suppress(TooLarge, Unprocessable):
        while position is not None:
            done = unpack_some(data, position, MEBIBYTE)
            assert done.contents == []
            position = done.next


@pytest.mark.parametrize(
    ("encoding", "name"),
    [
        ("utf-8", "Übersicht der Straßen.txt"),
        ("cp437", "Übersicht der Straßen.txt".replace("ß", "ss")),
        ("cp866", "Отчёт о работе насосной станции за год.txt"),
        ("gb18030", "关于城市供水系统的年度报告和说明.txt"),
    ],
)
def test_names_in_any_encoding_are_read(encoding: str, name: str) -> None:
    raw = name.encode(encoding)
    placed = zip_file({"x" * len(raw): "words"})
    assert list(unpacked(placed.replace(b"x" * len(raw), raw))) == [name]


async def test_old_documents_of_zip_files_are_read_as_before(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    """What an earlier version has stored as one document is rechunked by the same reader."""
    files = FileStore(str(tmp_path))
    await files.put("contents/a/doc_1/1", zip_file(MEMBERS))
    parsed = await reader(sandbox, files).parse(
        ParseSpec("contents/a/doc_1/1", "all.zip", "chunks/a", inline=True)
    )
    assert parsed.media_type == "application/zip"
    text = "\n".join(chunk.text for chunk in parsed.inline)
    for fact in ("built in 1931", "340 metres", "Ostrander; Town: Thornbury", "need 47 watts"):
        assert fact in text


async def test_an_old_document_of_a_zip_file_is_mentioned(tmp_path: Path) -> None:
    async with running(f"sqlite:///{tmp_path}/jobs.sqlite", tmp_path) as parts:
        old = Document(
            *("doc_old", "default", "all.zip", "all", "application/zip", 9, None, 1, 1.0),
        )
        await parts.catalogue.versions.import_completed([old])
        job = await ended(parts, await submitted(parts, {"a.txt": "a text"}))
        assert [warning.code for warning in job.warnings] == ["zip_document"]
