"""`/v1/files`: what is kept comes back byte for byte, in order, and only to its owner."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployments.file_store import FileStore
from serve_app.testing import Fakes
from tests.support.api_keys import ALICE, BOB, KEYS, bearer
from tests.support.vector_stores import keep

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("below_a_path")]
NOWHERE = "file-" + "0" * 32


@pytest.fixture
def fakes(tmp_path: Path) -> Fakes:
    return Fakes(files=FileStore(str(tmp_path)))


async def test_a_file_comes_back_byte_for_byte_and_is_never_shown_as_a_page(fakes: Fakes) -> None:
    content = bytes(range(256)) * 5000
    async with fakes.client() as http:
        file = await keep(http, "../../a \u202e<b>.html", content)
        assert file["bytes"] == len(content)
        assert file["filename"] == "a <b>.html"
        assert (await http.get(f"/v1/files/{file['id']}")).json() == file
        answer = await http.get(f"/v1/files/{file['id']}/content")
        assert answer.content == content
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["content-disposition"].startswith("attachment;")
        assert answer.headers["x-content-type-options"] == "nosniff"
        gone = await http.delete(f"/v1/files/{file['id']}")
        assert gone.json() == {"id": file["id"], "object": "file", "deleted": True}
        for path in ("", "/content"):
            assert (await http.get(f"/v1/files/{file['id']}{path}")).status_code == 404
        assert (await http.delete(f"/v1/files/{file['id']}")).status_code == 404


async def test_files_are_listed_by_age_a_page_at_a_time(fakes: Fakes) -> None:
    async with fakes.client() as http:
        kept = []
        for number in range(5):
            purpose = "vision" if number == 2 else "user_data"
            kept.append((await keep(http, f"{number}.txt", b"x", purpose))["id"])
        order = sorted(kept)  # the same millisecond may give them in any order
        page = (await http.get("/v1/files", params={"limit": 2})).json()
        assert [file["id"] for file in page["data"]] == order[:2:-1]
        assert (page["has_more"], page["first_id"], page["last_id"]) == (True, order[4], order[3])
        rest = (await http.get("/v1/files", params={"after": order[3], "limit": 9})).json()
        assert [file["id"] for file in rest["data"]] == order[2::-1]
        assert not rest["has_more"]
        oldest = (await http.get("/v1/files", params={"order": "asc", "limit": 1})).json()
        assert [file["id"] for file in oldest["data"]] == order[:1]
        seen = (await http.get("/v1/files", params={"purpose": "vision"})).json()
        assert [file["id"] for file in seen["data"]] == [kept[2]]
        none = (await http.get("/v1/files", params={"after": order[0]})).json()
        assert (none["data"], none["first_id"], none["has_more"]) == ([], None, False)


@pytest.mark.parametrize(
    ("content", "data", "status", "param"),
    [
        (b"", {"purpose": "user_data"}, 422, "file"),
        (b"x", {"purpose": "anything"}, 400, "purpose"),
        (b"x", {}, 400, "purpose"),
        (b"x" * 2000, {"purpose": "user_data"}, 413, "file"),
    ],
)
async def test_what_cannot_be_kept_is_refused(
    fakes: Fakes, content: bytes, data: dict[str, str], status: int, param: str
) -> None:
    async with fakes.client(limits={"max_upload_bytes": 1000}) as http:
        answer = await http.post("/v1/files", files={"file": ("a.txt", content)}, data=data)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)
    assert await fakes.files.names("kept") == []


async def test_there_are_at_most_so_many_files(fakes: Fakes) -> None:
    async with fakes.client(limits={"max_documents": 1}) as http:
        file = await keep(http, "a.txt", b"x")
        full = await http.post(
            "/v1/files", files={"file": ("b.txt", b"y")}, data={"purpose": "user_data"}
        )
        assert (full.status_code, full.json()["error"]["code"]) == (400, "quota_exceeded")
        await http.delete(f"/v1/files/{file['id']}")
        await keep(http, "b.txt", b"y")


@pytest.mark.parametrize("file_id", [NOWHERE, "x", "..", "file-" + "0" * 31, "file-" + "A" * 32])
async def test_an_id_that_is_not_there_is_404_whatever_it_looks_like(
    fakes: Fakes, file_id: str
) -> None:
    async with fakes.client() as http:
        for method, path in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
            answer = await http.request(method, f"/v1/files/{file_id}{path}")
            assert answer.status_code in {404, 405}, path


async def test_anothers_file_is_as_one_that_nobody_has(tmp_path: Path) -> None:
    fakes = Fakes(files=FileStore(str(tmp_path)), api_keys=KEYS)
    theirs = bearer(BOB)
    async with fakes.client() as http:
        file = await keep(http, "a.txt", b"x", headers=bearer(ALICE))
        assert (await http.get("/v1/files", headers=theirs)).json()["data"] == []
        for method, path in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
            there, nowhere = [
                await http.request(method, f"/v1/files/{each}{path}", headers=theirs)
                for each in (file["id"], NOWHERE)
            ]
            assert (there.status_code, there.content) == (404, nowhere.content)
