"""Archives in pieces: of any length, in parts, and after an interruption."""

from __future__ import annotations

from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import pytest

from deployments.archives.headers import END, Member, decode, encode
from deployments.archives.scanner import Scanner
from deployments.errors import Unprocessable
from deployments.file_store import FileStore
from serve_app.testing import Fakes
from tests.support.collection_archives import (
    BuiltDocument,
    archive,
    begun,
    members_of,
    sent,
    unit_vectors,
)

DOCUMENTS = [BuiltDocument(number, vectors=unit_vectors()) for number in range(1, 8)]
WHOLE = archive(members_of(DOCUMENTS, vectors=True))
MORE = archive(members_of([BuiltDocument(content=bytes(200_000))]))


def test_a_header_is_read_as_it_was_written() -> None:
    member = Member("documents/doc_" + "0" * 32 + "/content", 8**11 - 1)
    assert decode(encode(member)) == member
    assert decode(END[:512]) is None
    with pytest.raises(ValueError, match="does not fit"):
        encode(Member("content", 8**11))


@hypothesis.given(st.lists(st.integers(1, 5000), min_size=1), st.integers(0, len(WHOLE) - 1))
@hypothesis.settings(max_examples=60)
def test_a_scanner_reads_pieces_and_goes_on_after_a_cut(sizes: list[int], cut: int) -> None:
    scanner, start = Scanner(), 0
    for size in sizes:
        scanner.feed(WHOLE[start : min(start + size, cut)])
        start = min(start + size, cut)
    assert scanner.whole_bytes <= start
    if start:
        with pytest.raises(Unprocessable, match="not whole"):
            scanner.go_on().finish()
    rest = scanner.go_on() if scanner.whole_documents else Scanner()
    assert rest.whole_documents == scanner.whole_documents
    rest.feed(WHOLE[rest.whole_bytes :])
    rest.finish()
    assert rest.layout.documents == len(DOCUMENTS)


@pytest.mark.anyio
@pytest.mark.parametrize("part_bytes", [512, 1000, 4096])
@pytest.mark.parametrize("in_memory", [True, False])
async def test_an_archive_is_imported_from_many_parts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, part_bytes: int, *, in_memory: bool
) -> None:
    for module in (
        "deployments.archives.tape",
        "serve_app.documents.imports",
        "tests.support.collection_archives",
    ):
        monkeypatch.setattr(f"{module}.PART_BYTES", part_bytes)
    if not in_memory:
        monkeypatch.setattr("deployments.jobs.imports._IN_MEMORY_BYTES", 0)
    fakes = Fakes(files=FileStore(str(tmp_path)))  # in memory, readers of a file share a position
    fakes.jobs.runs = True
    async with fakes.client() as http:
        job = (await begun(http, WHOLE)).json()["job_id"]
        shown = (await http.get(f"/v1/jobs/{job}")).json()
        assert shown["status"] == "succeeded", shown
        assert shown["progress"] == {"done": 7, "total": 7}
        store = shown["result"]["vector_store_id"]
        found = await http.post(f"/v1/vector_stores/{store}/search", json={"query": "snow"})
        assert len(found.json()["data"]) == len(DOCUMENTS)

        # Parts that are missing or too short are noticed.
        other = "imp_" + "b" * 32
        body = {"import_id": other, "size_bytes": len(WHOLE)}
        assert (await http.post("/v1/imports", json=body)).status_code == 404
        await sent(http, other, WHOLE[: 3 * part_bytes])
        missing = await http.post("/v1/imports", json=body)
        assert missing.status_code == 400
        assert "part 3 of" in missing.json()["error"]["message"]
        await sent(http, other, WHOLE)
        short = await http.put(f"/v1/imports/{other}/parts/2", content=WHOLE[: part_bytes - 1])
        assert short.status_code == 200
        answer = (await http.post("/v1/imports", json=body)).json()
        failed = (await http.get(f"/v1/jobs/{answer['job_id']}")).json()
        assert failed["error"]["code"] == "bad_archive"


@pytest.mark.anyio
async def test_parts_and_archives_are_bounded() -> None:
    fakes = Fakes()
    limits = {"max_stored_bytes": 100_000}
    async with fakes.client(limits=limits) as http:
        url = "/v1/imports/imp_{}/parts/{}"
        assert (await http.put(url.format("0" * 32, 2), content=b"x")).status_code == 413
        large = await http.put(url.format("0" * 32, 0), content=bytes(16 * 2**20 + 1))
        assert large.status_code == 413
        over = await http.put(url.format("0" * 32, 0), content=MORE)
        assert over.json()["error"]["code"] == "quota_exceeded"
        empty = await http.put(url.format("0" * 32, 0), content=b"")
        assert empty.status_code == 400
        for digit in range(2):
            assert (await http.put(url.format(f"{digit}" * 32, 0), content=WHOLE)).is_success
        assert (await http.put(url.format("9" * 32, 0), content=WHOLE)).status_code == 429
        assert (await http.delete("/v1/imports/imp_" + "0" * 32)).status_code == 200
        assert (await http.put(url.format("9" * 32, 0), content=WHOLE)).is_success
        assert (await http.put(url.format("x" * 32, 0), content=WHOLE)).status_code == 404
