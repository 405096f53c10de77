"""Sources say what they are, and lead to the original, which can never act as a page of ours."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from deployments.media_types import Format
from deployments.types import Passage
from serve_app.testing import Fakes
from tests.support.api_keys import ALICE, BOB, KEYS, bearer

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("below_a_path")]
SCRIPT = "<script>document.title='owned'</script>"
ORIGINALS: dict[str, tuple[bytes, str]] = {
    "report.pdf": (b"%PDF-1.4 snow is white", "application/pdf"),
    "notes.txt": ("Schnee ist weiß. ".encode() * 9000, "text/plain; charset=utf-8"),
    "old.txt": ("Снег бел, и лёд прозрачен.".encode("cp1251"), "text/plain"),
    "table.csv": (b"a,b\n1,2\n3,4\n", "text/plain; charset=utf-8"),
    "page.txt": (f"<!doctype html><html>{SCRIPT}</html>".encode(), ""),
    "page.html": (f"<!doctype html><html>{SCRIPT}<p>Snow</p></html>".encode(), ""),
    "drawing.svg": (f"<svg xmlns='http://www.w3.org/2000/svg'>{SCRIPT}</svg>".encode(), ""),
    "data.xml": (f"<?xml version='1.0'?><x>{SCRIPT} snow</x>".encode(), ""),
    'we"ird;\u202e лёд.md': (f"# Snow\n\n{SCRIPT}".encode(), "text/plain; charset=utf-8"),
}
HARMLESS = ("application/pdf", "application/octet-stream", "image/png", "image/jpeg", "image/webp")


def ready() -> Fakes:
    fakes = Fakes(api_keys=KEYS)
    fakes.jobs.runs = True
    return fakes


async def uploaded(http: httpx.AsyncClient, name: str, data: bytes, **form: str) -> dict[str, Any]:
    answer = await http.post("/upload", files={"file": (name, data)}, data=form)
    assert answer.status_code in {200, 202}, answer.text
    return dict(answer.json())


@pytest.mark.parametrize("name", ORIGINALS)
async def test_originals_are_unchanged_and_run_no_scripts(name: str) -> None:
    data, media_type = ORIGINALS[name]
    async with ready().client() as http:
        http.headers.update(bearer(ALICE))
        document = await uploaded(http, name, data)
        url = f"/v1/documents/{document['document_id']}/content"
        answer = await http.get(url)
        http.headers.update(bearer(BOB))
        assert (await http.get(url)).status_code == 404
        del http.headers["authorization"]
        assert (await http.get(url)).status_code == 401
    assert answer.content == data
    shown = answer.headers["content-type"]
    if media_type:
        assert shown == media_type
    assert shown in HARMLESS or shown.split(";")[0] == "text/plain"
    assert answer.headers["x-content-type-options"] == "nosniff"
    policy = answer.headers["content-security-policy"].split("; ")
    assert {"default-src 'none'", "sandbox"} <= set(policy)
    assert not any(part.startswith(("script-src", "sandbox ")) for part in policy)
    how, _, rest = answer.headers["content-disposition"].partition(";")
    assert how == ("attachment" if shown == "application/octet-stream" else "inline")
    assert rest.isascii()
    assert rest.strip().startswith("filename*=UTF-8''")
    assert not set(rest) & set('"\\<>')


async def test_originals_of_two_versions_are_kept() -> None:
    async with ready().client() as http:
        http.headers.update(bearer(ALICE))
        for number in (1, 2, 3):
            document = await uploaded(http, "a.txt", f"text {number}".encode())
        url = f"/v1/documents/{document['document_id']}/content"
        assert [(await http.get(url)).text] == ["text 3"]
        found = [await http.get(url, params={"version": number}) for number in (1, 2, 3, 4)]
        wrong = [
            (await http.get(url, params={"version": value})).status_code for value in (0, "x", -1)
        ]
    assert [answer.status_code for answer in found] == [404, 200, 200, 404]
    assert [answer.text for answer in found[1:3]] == ["text 2", "text 3"]
    assert found[0].json()["error"]["code"] == "content_not_kept"
    assert wrong == [400] * 3


async def test_an_attached_file_is_the_original() -> None:
    async with ready().client() as http:
        http.headers.update(bearer(ALICE))
        kept = await http.post(
            "/v1/files", files={"file": ("a.md", b"# Snow is white")}, data={"purpose": "user_data"}
        )
        file_id = kept.json()["id"]
        store = (await http.post("/v1/vector_stores", json={"file_ids": [file_id]})).json()["id"]
        (found,) = (
            await http.post(f"/v1/vector_stores/{store}/search", json={"query": "snow"})
        ).json()["data"]
        answer = await http.get(found["attributes"]["content_uri"])
    assert answer.content == b"# Snow is white"
    assert f"collection={store}" in str(answer.url)


async def test_a_source_of_an_answer_leads_to_the_version_that_was_read() -> None:
    fakes = ready()
    async with fakes.client() as http:
        http.headers.update(bearer(ALICE))
        await uploaded(http, "snow.pdf", b"%PDF-1.4 snow is black")
        document = await uploaded(
            http, "snow.pdf", b"%PDF-1.4 snow is white", attributes='{"team": "ice"}'
        )
        prompt = {"prompt": "is snow white"}
        (source,) = (await http.post("/generate/text", json=prompt)).json()["sources"]
        path = f"/v1/documents/{document['document_id']}"
        original = await http.get(source["content_uri"])
    assert original.content == b"%PDF-1.4 snow is white"
    assert source["content_uri"] == f"{path}/content?version=2#page=1"
    assert (source["uri"], source["filename"], source["version"]) == (path, "snow.pdf", 2)
    assert (source["place"], source["page"]) == ("page", 1)
    assert source["attributes"] == {"team": "ice"}


@pytest.mark.parametrize(
    ("media_type", "fields", "expected"),
    [
        (Format.PPTX, {"page_start": 3, "page_end": 3}, {"place": "slide", "page": 3}),
        (Format.ODP, {"page_start": 3}, {"place": "slide"}),
        (Format.XLSX, {"section": "Costs"}, {"place": "sheet", "section": "Costs", "page": None}),
        (Format.MARKDOWN, {"section": "Costs"}, {"place": None, "section": "Costs"}),
        (Format.PDF, {"page_start": 2, "title": "Report"}, {"place": "page", "title": "Report"}),
        (Format.PDF, {"title": "costs 2025"}, {"title": None, "filename": "costs 2025.bin"}),
        (Format.PDF, {"title": "costs 2025.bin"}, {"title": None}),
    ],
)
async def test_places_are_named_and_a_file_name_is_not_a_title(
    media_type: str, fields: dict[str, Any], expected: dict[str, Any]
) -> None:
    given: dict[str, Any] = {
        "document_id": "doc_" + "7c" * 16,
        "filename": "costs 2025.bin",
        "title": "",
        "section": "",
        "first": 0,
        "last": 0,
        "text": "Costs fell.",
        "page_start": None,
        "page_end": None,
        "score": 0.5,
        "media_type": media_type,
    }
    fakes = Fakes()
    fakes.retriever.passages = [Passage(**given | fields)]
    async with fakes.client() as http:
        answer = await http.post("/generate/text", json={"prompt": "costs"})
        found = await http.post("/v1/vector_stores/default/search", json={"query": "costs"})
    (source,), (result,) = answer.json()["sources"], found.json()["data"]
    assert {name: source[name] for name in expected} == expected
    named = {key: value for key, value in expected.items() if key != "filename"}
    assert {key: result["attributes"].get(key) for key in named} == named
    assert f'title="{expected.get("title") or "costs 2025.bin"}"' in str(fakes.llm.bodies[0])
