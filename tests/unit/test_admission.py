"""Admission: a reserve for health checks, and a share of the ingress for each key."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from deployments.serving.capacity import answer_places
from deployments.types import TextKind
from serve_app.http import body_limit
from serve_app.testing import MODEL, FakeEmbedder, Fakes
from tests.support.api_keys import ALICE, BOB, KEYS, bearer

pytestmark = pytest.mark.anyio
CHAT: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "one two"}]}
LONG = CHAT | {"stream": True}
FORM = {"content-type": "multipart/form-data; boundary=b"}


async def unfinished(path: str) -> AsyncIterator[bytes]:
    yield b'--b\r\ncontent-disposition: form-data; name="f' if path == "/upload" else b'{"model": '
    await asyncio.Event().wait()


def posts(
    http: httpx.AsyncClient, key: str, count: int, path: str = "/v1/chat/completions"
) -> list[asyncio.Task[httpx.Response]]:
    """Send requests whose bodies do not end."""
    headers = bearer(key) | (FORM if path == "/upload" else {})
    return [
        asyncio.create_task(http.post(path, content=unfinished(path), headers=headers))
        for _ in range(count)
    ]


async def answered(tasks: list[asyncio.Task[httpx.Response]], count: int) -> Counter[int]:
    """Wait until so many have been answered; return the statuses."""
    async with asyncio.timeout(60):
        while sum(task.done() for task in tasks) < count:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)  # no more are
    return Counter(task.result().status_code for task in tasks if task.done())


async def stop(tasks: list[asyncio.Task[httpx.Response]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


@contextlib.asynccontextmanager
async def flooded(
    http: httpx.AsyncClient, path: str = "/v1/chat/completions", *, refused: int = 300 - 96
) -> AsyncIterator[None]:
    tasks = posts(http, ALICE, 300, path)
    assert await answered(tasks, refused) == Counter({429: refused})
    yield
    await stop(tasks)


async def test_unfinished_bodies_of_one_key_leave_health_and_the_other_key_alone() -> None:
    async with Fakes(api_keys=KEYS).client(limits={"requests_per_minute": None}) as http:
        async with flooded(http):
            for path in ("/healthz", "/readyz", "/"):
                assert (await http.get(path)).status_code == 200, path
            chat = await http.post("/v1/chat/completions", json=CHAT, headers=bearer(BOB))
            assert chat.status_code == 200
            over = await http.post("/v1/chat/completions", json=CHAT, headers=bearer(ALICE))
            assert over.status_code == 429
            assert "its share" in over.json()["error"]["message"]
            assert over.headers["retry-after"]
        again = await http.post("/v1/chat/completions", json=CHAT, headers=bearer(ALICE))
        assert again.status_code == 200


async def test_a_key_with_more_weight_has_a_larger_share() -> None:
    limits = {"requests_per_minute": None, "shares": {"alice": 3}}
    async with Fakes(api_keys=KEYS).client(limits=limits) as http, flooded(http, refused=300 - 144):
        pass


async def test_uploads_that_do_not_end_leave_the_other_key_alone() -> None:
    client = Fakes(api_keys=KEYS).client(limits={"requests_per_minute": None})
    async with client as http, flooded(http, "/upload"):
        files = {"file": ("a.txt", b"snow is white")}
        assert (await http.post("/upload", files=files, headers=bearer(BOB))).status_code == 202


async def test_uploads_of_a_key_wait_for_each_other() -> None:
    async with Fakes(api_keys=KEYS).client() as http:
        slow = posts(http, ALICE, 32, "/upload")  # all places
        files = [{"file": (f"{number}.txt", f"text {number}".encode())} for number in range(60)]
        headers = bearer(ALICE)
        uploads = [
            asyncio.create_task(http.post("/upload", files=file, headers=headers)) for file in files
        ]
        # So do attachments, which are not counted by the minute either.
        path, body = "/v1/vector_stores/vs_0/files", {"file_id": "file-" + "0" * 32}
        attaches = [
            asyncio.create_task(http.post(path, json=body, headers=headers)) for _ in range(4)
        ]
        assert await answered([*uploads, *attaches], 0) == {}
        await stop(slow)
        assert await answered(uploads, 60) == Counter({202: 60})
        assert await answered(attaches, 4) == Counter({404: 4})


async def test_pages_without_a_key_have_places_of_their_own() -> None:
    client = Fakes(api_keys=KEYS).client(limits={"requests_per_minute": None})
    async with client as http, flooded(http):
        assert (await http.get("/page/main.js")).status_code == 200


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/upload"])
async def test_a_body_that_does_not_arrive_is_answered_408(
    monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(body_limit, "_STALL_S", 0.05)
    async with Fakes(api_keys=KEYS).client() as http:
        (task,) = posts(http, ALICE, 1, path)
        answer = await task
    assert (answer.status_code, answer.json()["error"]["code"]) == (408, "request_timeout")
    assert "nothing came for 0.05 s" in answer.json()["error"]["message"]
    assert answer.headers["connection"] == "close"


async def test_a_body_that_trickles_is_answered_408(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body_limit, "_START_S", 0.1)

    async def trickle() -> AsyncIterator[bytes]:
        while True:
            yield b" "
            await asyncio.sleep(0.01)

    async with Fakes(api_keys=KEYS).client() as http:
        answer = await http.post("/v1/chat/completions", content=trickle(), headers=bearer(ALICE))
    assert answer.status_code == 408
    assert "16 KB/s" in answer.json()["error"]["message"]


async def test_long_answers_of_one_key_leave_a_place_for_the_other() -> None:
    fakes = Fakes(api_keys=KEYS)
    fakes.llm.endless = True
    async with fakes.client(limits={"requests_per_minute": None}) as http:
        streams = [
            asyncio.create_task(http.post("/v1/chat/completions", json=LONG, headers=bearer(ALICE)))
            for _ in range(80)
        ]
        assert await answered(streams, 80 - 16 - 48) == Counter({429: 80 - 16 - 48})
        assert len(fakes.llm.bodies) == 16, "half of the places; the others wait"
        answer = await http.post("/v1/chat/completions", json=CHAT, headers=bearer(BOB))
        assert answer.status_code == 200
        await stop(streams)


async def test_a_large_embedding_is_cut_and_other_keys_come_in_between() -> None:
    class SlowEmbedder(FakeEmbedder):
        async def embed(
            self, texts: Sequence[str], kind: TextKind, _fingerprint: str = ""
        ) -> NDArray[np.float32]:
            await asyncio.sleep(0.01)
            return await super().embed(texts, kind)

    fakes = Fakes(api_keys=KEYS, embedder=SlowEmbedder())
    texts = [f"{number} " + "x" * 990 for number in range(200)]
    order: list[str] = []

    async def ask(key: str, given: list[str]) -> dict[str, Any]:
        body = {"model": "d", "input": given}
        answer = await http.post("/v1/embeddings", json=body, headers=bearer(key))
        order.append(key)
        return dict(answer.json())

    async with fakes.client() as http, asyncio.TaskGroup() as group:
        large = group.create_task(ask(ALICE, texts))
        small = group.create_task(ask(BOB, ["snow"]))
    assert order == [BOB, ALICE]
    assert len(large.result()["data"]) == 200
    assert large.result()["usage"]["total_tokens"] == 400
    assert len(small.result()["data"]) == 1
    assert sorted(fakes.embedder.embedded) == sorted([*texts, "snow"])


def test_the_answers_at_once_are_those_of_the_running_replicas() -> None:
    config = {"max_ongoing_requests": 36}
    for states, places in (([], 32), (["STARTING"], 32), (["RUNNING", "RUNNING"], 64)):
        replicas = [{"state": state} for state in states]
        assert answer_places({"deployment_config": config, "replicas": replicas}) == places
