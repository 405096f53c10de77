"""`serve_app.testing`: its examples run, and its fakes behave as the capabilities do."""

from __future__ import annotations

import re
import textwrap
from dataclasses import replace
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from openai.types import Completion
from openai.types.chat import ChatCompletion

from deployments.errors import NotFound, Unprocessable
from deployments.types import Chunk, Document, ParseSpec
from serve_app import testing
from serve_app.testing import FakeRetriever, Fakes, fake_service

ALICE, BOB = ({"authorization": f"Bearer {letter * 20}"} for letter in "ab")
EXAMPLES = re.findall(r"(?m)(?:^ {4}.*\n|^\n(?= {4}))+", testing.__doc__ or "")
DOCUMENT = Document("doc_a", "reports", "a.txt", "A", "text/plain", 14, None, 1, 5.0)
CHUNK = Chunk(0, "Snow is white.", 3)


def test_the_examples_run() -> None:
    assert len(EXAMPLES) == 2
    for example in EXAMPLES:
        exec(textwrap.dedent(example), {})  # noqa: S102 - our own text


def test_answers_are_whole_for_clients_that_validate_them() -> None:
    http = TestClient(fake_service(), base_url="http://127.0.0.1", client=("127.0.0.1", 50000))
    body = {"model": testing.MODEL, "messages": [{"role": "user", "content": "Hello"}]}
    ChatCompletion.model_validate(http.post("/v1/chat/completions", json=body).json())
    body = {"model": testing.MODEL, "prompt": "Hello"}
    Completion.model_validate(http.post("/v1/completions", json=body).json())


def test_an_upload_is_found_by_its_words_in_its_collection_only() -> None:
    http = TestClient(fake_service(), base_url="http://127.0.0.1", client=("127.0.0.1", 50000))

    def search(collection: str, query: str) -> list[str]:
        path = f"/v1/vector_stores/{collection}/search"
        found = http.post(path, json={"query": query}).raise_for_status().json()["data"]
        return [one["text"] for each in found for one in each["content"]]

    content = b"Snow is white.\r\n\r\nGrass is green, and so is moss.\n\n\nCoal is black.\n"
    file = {"file": ("colours.txt", content)}
    http.post("/upload", files=file, data={"collection": "reports"}).raise_for_status()
    assert search("reports", "white or green moss") == [
        "Grass is green, and so is moss.",
        "Snow is white.",
    ]
    assert search("reports", "lava") == []
    assert search("default", "snow") == []
    unknown = http.post("/v1/vector_stores/papers/search", json={"query": "snow"})
    assert unknown.status_code == 404


@pytest.mark.anyio
async def test_owners_do_not_see_each_others_documents() -> None:
    fakes = Fakes(api_keys=f"alice:{'a' * 20},bob:{'b' * 20}")
    fakes.jobs.runs = True

    async def listed(http: httpx.AsyncClient, headers: dict[str, str]) -> list[str]:
        documents: list[dict[str, Any]] = (
            (await http.get("/v1/documents", headers=headers)).raise_for_status().json()["data"]
        )
        return [document["id"] for document in documents]

    async with fakes.client() as http:
        file = {"file": ("a.txt", b"Snow is white.")}
        uploaded = (await http.post("/upload", files=file, headers=ALICE)).json()["document_id"]
        assert (await listed(http, ALICE), await listed(http, BOB)) == ([uploaded], [])
        path = f"/v1/documents/{uploaded}"
        assert (await http.delete(path, headers=BOB)).status_code == 404
        other = (await http.post("/upload", files=file, headers=BOB)).json()["document_id"]
        path = f"/v1/documents/{other}"
        assert (await http.delete(path, headers=BOB)).status_code == 204
        assert (await listed(http, ALICE), await listed(http, BOB)) == ([uploaded], [])


@pytest.mark.anyio
async def test_a_dropped_collection_leaves_nothing_behind() -> None:
    retriever = FakeRetriever()
    for collection in ("reports", "papers"):
        document = replace(DOCUMENT, collection=collection)
        await retriever.add(document, [CHUNK])
        await retriever.publish(document)
    assert await retriever.collections() == ["papers", "reports"]
    assert await retriever.drop("reports")
    assert not await retriever.drop("reports")
    with pytest.raises(NotFound):
        await retriever.search(["snow"], "reports", 9, 99)
    (passage,) = await retriever.search(["snow"], "papers", 9, 4)
    assert passage.text == "Snow"


@pytest.mark.anyio
async def test_documents_are_listed_page_by_page() -> None:
    retriever = FakeRetriever()
    for letter in "cab":
        await retriever.publish(replace(DOCUMENT, id=f"doc_{letter}"))
    first = await retriever.documents("reports", 2, None)
    rest = await retriever.documents("reports", 2, first.next_after)
    assert [one.id for one in first.documents + rest.documents] == ["doc_a", "doc_b", "doc_c"]
    assert rest.next_after is None


@pytest.mark.anyio
async def test_the_parser_makes_as_many_chunks_as_the_test_wants() -> None:
    fakes = Fakes()
    await fakes.files.put("uploads/a", b"One.\n\nTwo\xff.")
    await fakes.files.put("uploads/blank", b" \n\n ")
    for wanted, made in ((None, 2), (1, 1), (5, 5)):
        fakes.parser.chunks = wanted
        parsed = await fakes.parser.parse(ParseSpec("uploads/a", "a.txt", "chunks/a"))
        assert (parsed.chunks, parsed.pages, parsed.media_type) == (made, None, "text/plain")
    with pytest.raises(Unprocessable, match="no text"):
        await fakes.parser.parse(ParseSpec("uploads/blank", "a.txt", "chunks/a"))
