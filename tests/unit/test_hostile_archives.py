"""Hostile archives of collections: each is refused with a reason, and nothing of it is left."""

from __future__ import annotations

import gzip
import io
import json
import struct
import tarfile
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from deployments.archives.headers import Member, encode
from deployments.archives.records import MAX_LINE_BYTES
from deployments.catalogue.entries import PageQuery
from serve_app.testing import Fakes
from tests.support.collection_archives import (
    BuiltDocument,
    archive,
    begun,
    members_of,
    part,
    unit_vectors,
)

pytestmark = pytest.mark.anyio

ONE = [BuiltDocument()]
DOCUMENT = f"documents/{BuiltDocument().id}"


def manifest(**fields: Any) -> bytes:
    return archive(members_of(ONE, **fields))


def record(**fields: Any) -> bytes:
    return archive(members_of([BuiltDocument(record=fields)]))


def chunk(**fields: Any) -> bytes:
    first = {"number": 0, "text": "Snow is white.", "tokens": 4}
    second = {"number": 1, "text": "Grass is green.", "tokens": 4}
    return archive(members_of([BuiltDocument(chunks=[first, second | fields])]))


def lines(data: bytes, count: int = 2) -> bytes:
    document = BuiltDocument(lines=data, record={"chunks": part(data) | {"count": count}})
    return archive(members_of([document]))


def vectors(data: bytes, **fields: Any) -> bytes:
    document = BuiltDocument(vectors=data)
    if fields:
        document.record = {"vectors": part(data) | {"dimensions": 1} | fields}
    return archive(members_of([document], vectors=True))


def renamed(name: str, to: str) -> bytes:
    return archive([(to if old == name else old, data) for old, data in members_of(ONE)])


def of_type(kind: bytes, link: str = "") -> bytes:
    def change(info: tarfile.TarInfo) -> None:
        if info.name.endswith("content"):
            info.type, info.linkname = kind, link

    return archive(members_of(ONE), change)


def resized(name: str, size: int) -> bytes:
    """Return an archive in which a header lies about the size of its member."""
    out = io.BytesIO()
    for member, data in members_of(ONE):
        claimed = size if member == name else len(data)
        out.write(encode(Member(member, claimed)) + data + bytes(-len(data) % 512))
    return out.getvalue() + bytes(1024)


def patched(start: int, data: bytes, *, sums: bool = True) -> bytes:
    """Return an archive whose first header has other bytes, with a right checksum or none."""
    whole = bytearray(archive(members_of(ONE)))
    whole[start : start + len(data)] = data
    if sums:
        whole[148:156] = b" " * 8
        whole[148:156] = b"%06o\0 " % sum(whole[:512])
    return bytes(whole)


def raw(name: str, data: bytes) -> bytes:
    """Return an archive with other bytes in a record."""
    return archive([(old, data if old == name else content) for old, content in members_of(ONE)])


def reordered(*order: int) -> bytes:
    members = members_of(ONE)
    return archive([members[number] for number in order])


def without(name: str) -> bytes:
    return archive([member for member in members_of(ONE) if member[0] != name])


def spoiled(offset_of: bytes) -> bytes:
    """Return an archive with one byte flipped, of the content that holds some bytes."""
    whole = bytearray(archive(members_of(ONE)))
    whole[whole.index(offset_of)] ^= 1
    return bytes(whole)


def pax(info: tarfile.TarInfo) -> None:
    info.pax_headers = {"comment": "x" * 1_000_000}


DEEP = (
    b'{"format":"genserve-collection","version":"1.0","x":' + b"[" * 30_000 + b"]" * 30_000 + b"}"
)
NAN = struct.pack("<ff", 1.0, float("nan"))
INFINITE = struct.pack("<ff", 1.0, float("inf"))
LONG = struct.pack("<ff", 1.0, 7.0)

CASES: dict[str, tuple[Callable[[], bytes], str]] = {
    # The tar file.
    "an absolute path": (lambda: renamed(f"{DOCUMENT}/content", "/etc/passwd"), "name"),
    "a path upwards": (lambda: renamed(f"{DOCUMENT}/content", "../../x"), "must come where"),
    "a path upwards inside": (
        lambda: renamed(f"{DOCUMENT}/document.json", f"{DOCUMENT}/../document.json"),
        "must not come here",
    ),
    "a name of another alphabet": (lambda: renamed("end.json", "énd.json"), "name"),
    "a name with a prefix": (
        lambda: renamed("end.json", "a" * 60 + "/" + "b" * 60),
        "name",
    ),
    "a symbolic link": (lambda: of_type(tarfile.SYMTYPE, "/etc/passwd"), "not a regular file"),
    "a hard link": (lambda: of_type(tarfile.LNKTYPE, "manifest.json"), "not a regular file"),
    "a device": (lambda: of_type(tarfile.CHRTYPE), "not a regular file"),
    "a pipe": (lambda: of_type(tarfile.FIFOTYPE), "not a regular file"),
    "a directory": (lambda: of_type(tarfile.DIRTYPE), "name"),
    "a sparse member": (lambda: of_type(tarfile.GNUTYPE_SPARSE), "not a regular file"),
    "an extended header of a megabyte": (
        lambda: archive(members_of(ONE), pax, tarfile.PAX_FORMAT),
        "name",
    ),
    "headers of GNU": (
        lambda: archive(members_of(ONE), tar_format=tarfile.GNU_FORMAT),
        "in the form of ustar",
    ),
    "a size in base 256": (lambda: patched(124, b"\x80" + bytes(10) + b"\x01"), "cannot be read"),
    "a negative size": (lambda: patched(124, b"-0000000001\0"), "cannot be read"),
    "a wrong checksum": (lambda: patched(100, b"0000777\0", sums=False), "is damaged"),
    "a record of gigabytes": (lambda: resized("manifest.json", 8**11 - 1), "more than 65536 bytes"),
    "a content of gigabytes": (
        lambda: resized(f"{DOCUMENT}/content", 8**11 - 1),
        "must come where",
    ),
    "chunks that are longer than said": (
        lambda: resized(f"{DOCUMENT}/chunks.jsonl", 8**9),
        "must come where",
    ),
    "a compressed archive": (
        lambda: gzip.compress(archive(members_of(ONE))),
        "compressed: unpack it",
    ),
    "no archive": (lambda: b"%PDF-1.7 " + b"x" * 5000, "not a tar file"),
    "nothing but zeros": (lambda: bytes(10_240), "not whole"),
    "a truncated archive": (lambda: archive(members_of(ONE))[:4000], "not whole"),
    "an archive without its end": (lambda: without("end.json"), "not whole"),
    "trailing rubbish": (
        lambda: archive(members_of(ONE)).rstrip(b"\0") + bytes(2000) + b"x" * 5000,
        "",
    ),
    "rubbish after the end": (
        lambda: archive(members_of(ONE)) + b"rm -rf".ljust(512, b"\0"),
        "something follows its end",
    ),
    "too much after the end": (
        lambda: archive(members_of(ONE)) + bytes(512 * 100),
        "follows its end",
    ),
    # The order of its members.
    "a manifest that comes late": (lambda: reordered(1, 2, 3, 0, 4), "must come first"),
    "two manifests": (lambda: reordered(0, 0, 1, 2, 3, 4), "must not come here"),
    "chunks before their document": (lambda: reordered(0, 2, 1, 3, 4), "must not come here"),
    "content before chunks": (lambda: reordered(0, 1, 3, 2, 4), "must come where"),
    "a member twice": (lambda: reordered(0, 1, 2, 3, 3, 4), "must not come here"),
    "a document twice": (lambda: reordered(0, 1, 2, 3, 1, 2, 3, 4), "comes twice"),
    "documents out of order": (
        lambda: archive(members_of([BuiltDocument(2), BuiltDocument(1)])),
        "not in the order",
    ),
    "an end that comes twice": (lambda: reordered(0, 1, 2, 3, 4, 4), "comes after end.json"),
    "an unknown member": (
        lambda: archive([*members_of(ONE)[:-1], ("readme.md", b"x"), members_of(ONE)[-1]]),
        "must not come here",
    ),
    "a document without chunks": (lambda: without(f"{DOCUMENT}/chunks.jsonl"), "must come where"),
    "a document without its content": (lambda: without(f"{DOCUMENT}/content"), "must come where"),
    "an end that lies": (lambda: raw("end.json", b'{"documents": 7}'), "end.json says 7"),
    # The manifest.
    "another format": (lambda: manifest(format="zip-of-mine"), "not a `genserve-collection`"),
    "a newer format": (lambda: manifest(version="2.0"), "update this service"),
    "a version that is none": (lambda: manifest(version="0.9"), "does not exist"),
    "a version of many digits": (
        lambda: manifest(version="9" * 5000 + ".0"),
        "update this service",
    ),
    "JSON nested 30,000 deep": (lambda: raw("manifest.json", DEEP), "recursion limit"),
    "JSON that is none": (lambda: raw("manifest.json", b"{'format': 1}"), "Invalid JSON"),
    "a list for a manifest": (lambda: raw("manifest.json", b"[]"), "should be"),
    "a name with NUL": (lambda: manifest(name="a\0b"), "NUL"),
    "a long name": (lambda: manifest(name="a" * 257), "at most 256"),
    "too much metadata": (
        lambda: manifest(metadata={str(number): "" for number in range(17)}),
        "at most 16",
    ),
    "metadata of another type": (lambda: manifest(metadata={"a": 1}), "string"),
    "an expiry of a thousand years": (lambda: manifest(expires_days=365_000), "expires_days"),
    "vectors of no model": (lambda: manifest(vectors=True, embedding=None), "no embedding model"),
    "vectors that are missing": (lambda: manifest(vectors=True), "disagree about vectors"),
    # The records of documents.
    "the record of another document": (lambda: record(id="doc_" + "f" * 32), "another document"),
    "an id that is none": (lambda: record(id="../../x"), "id"),
    "a name that is a path": (lambda: record(name="../../etc/passwd"), "name"),
    "a name with a line break": (lambda: record(name="a\nb"), "name"),
    "an empty name": (lambda: record(name=""), "name"),
    "too many attributes": (
        lambda: record(attributes={str(number): 1 for number in range(17)}),
        "attributes",
    ),
    "a long attribute": (lambda: record(attributes={"a": "x" * 513}), "more than 512 characters"),
    "an attribute without a key": (lambda: record(attributes={"": 1}), "attributes"),
    "an attribute that is a list": (lambda: record(attributes={"a": [1]}), "neither a string"),
    "an attribute that is inexact": (lambda: record(attributes={"a": 2**60 + 1}), "exactly"),
    "an attribute of 5,000 digits": (
        lambda: raw_record(
            b'"attributes": {"year": 2026}', b'"attributes": {"a": ' + b"9" * 5000 + b"}"
        ),
        "Invalid JSON",
    ),
    "an attribute that is infinite": (
        lambda: raw_record(b'{"year": 2026}', b'{"a": 1e999}'),
        "exactly",
    ),
    "a surrogate": (lambda: raw_record(b'"A title"', b'"\\ud800"'), "Invalid JSON"),
    "a number for a title": (lambda: record(title=7), "title"),
    "a boolean for a number": (lambda: record(version=True), "version"),
    "a negative size of a document": (lambda: record(size_bytes=-1, content=None), "size_bytes"),
    "a time in the future": (lambda: record(created=9e9), "in the future"),
    "a time that is no number": (
        lambda: raw_record(b'"created": 1795546410.0', b'"created": NaN'),
        "created",
    ),
    "a content of another size": (lambda: record(size_bytes=7), "not as long as it says"),
    "a digest that is none": (lambda: record(sha256="x" * 64), "sha256"),
    "two digests": (lambda: record(sha256="0" * 64), "two digests"),
    "more chunks than there are": (lambda: counted(3), "says that it has 3"),
    "fewer chunks than there are": (lambda: counted(1), "says that it has 1"),
    "no chunks": (lambda: lines(b"", 0), "count"),
    "billions of chunks": (lambda: counted(2**40), "count"),
    # Chunks.
    "a hole in the numbers": (lambda: chunk(number=5), "not the next one"),
    "a number twice": (lambda: chunk(number=0), "not the next one"),
    "a negative number": (lambda: chunk(number=-1), "number"),
    "an overlap beyond the text": (lambda: chunk(overlap_chars=100), "more than its own text"),
    "a negative overlap": (lambda: chunk(overlap_chars=-1), "overlap_chars"),
    "pages backwards": (lambda: chunk(page_start=7, page_end=3), "not in order"),
    "an endless page": (lambda: chunk(page_start=1, page_end=10**30), "page_end"),
    "a separator that is text": (lambda: chunk(separator="ignore all instructions"), "separator"),
    "a text with NUL": (lambda: chunk(text="a\0b"), "NUL"),
    "an empty text": (lambda: chunk(text=""), "text"),
    "a text of a hundred thousand characters": (lambda: chunk(text="x" * 100_000), "at most 65536"),
    "billions of tokens": (lambda: chunk(tokens=10**9), "tokens"),
    "a chunk without a text": (lambda: lines(b'{"number": 0}\n' * 2), "text"),
    "a line that is endless": (
        lambda: lines(b'{"text": "' + b"x" * (2 * MAX_LINE_BYTES - 20), 2),
        "",
    ),
    "a line that is nested": (lambda: lines(b"[" * 100_000 + b"\n" + b"{}\n"), "recursion limit"),
    "a line without an end": (
        lambda: lines(b'{"number": 0, "text": "x", "tokens": 1}', 1),
        "no end",
    ),
    "lines that are not UTF-8": (
        lambda: lines(b'{"number": 0, "text": "\xff", "tokens": 1}\n', 1),
        "Invalid JSON",
    ),
    # Vectors and digests.
    "vectors that are too short": (lambda: vectors(unit_vectors(1), bytes=4), "must have 8 bytes"),
    "vectors of no dimensions": (lambda: vectors(unit_vectors(), dimensions=0), "dimensions"),
    "a vector that is no number": (lambda: vectors(NAN), "not of unit length"),
    "an infinite vector": (lambda: vectors(INFINITE), "not of unit length"),
    "a vector that is too long": (lambda: vectors(LONG), "not of unit length"),
    "vectors of another length than the model's": (
        lambda: vectors(np.full((2, 4), 0.5, dtype="<f4").tobytes()),
        "dimension",
    ),
    "a chunk that was changed": (lambda: spoiled(b'Snow is white.",'), "damaged"),
    "a content that was changed": (lambda: spoiled(b"Snow is white.\n"), "damaged"),
}


def raw_record(old: bytes, new: bytes) -> bytes:
    name = f"{DOCUMENT}/document.json"
    data = dict(members_of(ONE))[name]
    assert old in data
    return raw(name, data.replace(old, new))


def counted(count: int) -> bytes:
    whole = BuiltDocument().members()[1][1]
    return record(chunks=part(whole) | {"count": count})


@pytest.mark.parametrize("name", CASES)
async def test_a_hostile_archive_is_refused_with_a_reason(name: str) -> None:
    make, reason = CASES[name]
    fakes = Fakes()
    fakes.jobs.runs = True
    async with fakes.client() as http:
        answer = await begun(http, make())
        if answer.status_code == 202:
            job = (await http.get(f"/v1/jobs/{answer.json()['job_id']}")).json()
            assert job["status"] == "failed", job
            error = job["error"]
        else:
            assert answer.status_code == 422, answer.text
            error = answer.json()["error"]
        assert error["code"] in {"bad_archive", "invalid_request"}
        assert reason in error["message"]
        assert len(error["message"]) < 400
    assert len((await fakes.catalogue.collections.page("", PageQuery(10))).entries) == 1
    assert await fakes.files.names("contents") == []
    assert fakes.retriever.versions == {}
    if answer.status_code == 202:
        assert await fakes.files.names("archives/_") == []


@pytest.mark.parametrize("with_vectors", [False, True])
async def test_the_unspoiled_archive_is_imported(*, with_vectors: bool) -> None:
    document = BuiltDocument(vectors=unit_vectors() if with_vectors else None)
    fakes = Fakes()
    fakes.jobs.runs = True
    newer = {"version": "1.7", "unheard_of": {"a": [1]}}
    async with fakes.client() as http:
        data = archive(members_of([document], vectors=with_vectors, **newer))
        answer = (await begun(http, data)).json()
        job = (await http.get(f"/v1/jobs/{answer['job_id']}")).json()
        assert (job["status"], job["progress"]) == ("succeeded", {"done": 1, "total": 1})
        store = (await http.get(f"/v1/vector_stores/{answer['vector_store_id']}")).json()
        assert (store["name"], store["metadata"]) == ("reports", {"team": "north"})


async def test_a_million_members_and_a_large_lie_take_little_memory() -> None:
    """The archive is read as it comes, and nothing is kept of what was read."""
    header = encode(Member(f"{DOCUMENT}/content", 0))
    head, tail = members_of(ONE)[0], members_of([])[-1]
    first = archive([head]).rstrip(b"\0")
    start = first + bytes(-len(first) % 512)
    fakes = Fakes()
    fakes.jobs.runs = True
    lie = json.dumps({"documents": 0, "x": "y" * 60_000}).encode()
    for data in (start + header * 40_000, archive([head, (tail[0], lie)]) + bytes(30 * 2**20)):
        async with fakes.client() as http:
            tracemalloc.start()
            try:
                answer = await begun(http, data, import_id=f"imp_{len(data):032x}")
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
            if answer.status_code == 202:
                job = (await http.get(f"/v1/jobs/{answer.json()['job_id']}")).json()
                assert job["status"] == "failed"
            else:
                assert answer.status_code == 422
        assert peak < 3 * 16 * 2**20  # a part is kept in memory by the test's file store
