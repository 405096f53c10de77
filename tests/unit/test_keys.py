"""API keys: how they are written, whose they are, and what passes the door without one."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from serve_app.access.keys import NOBODY, Keys
from serve_app.testing import Fakes
from tests.support.api_keys import ALICE, BOB, KEYS, PUBLIC, bearer

pytestmark = pytest.mark.anyio


def read(text: str) -> Keys:
    return Keys.read(SecretStr(text))


def test_keys_have_owners_and_an_owner_may_change_keys_without_a_gap() -> None:
    keys = read(f"{KEYS},alice:{'c' * 16}")
    assert keys
    assert keys.owners() == ["alice", "bob"]
    assert [keys.owner_of(key) for key in (ALICE, BOB, "c" * 16)] == ["alice", "bob", "alice"]
    assert [keys.owner_of(key) for key in ("", ALICE[:-1], ALICE + "a", "\udcff")] == [None] * 4


def test_without_keys_there_is_nobody_in_particular() -> None:
    assert not Keys.read(None)
    assert not read(" , ")
    assert Keys.read(None).owners() == [NOBODY]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("a-secret-key-alone-here", "entry 1 is not NAME:KEY"),
        (f"alice:{ALICE},Bob:{BOB}", "entry 2 is not NAME:KEY"),
        (f"al.ice:{ALICE}", "entry 1"),
        (f"alice:{ALICE} x", "entry 1"),
        ("alice:short", "the key of `alice` has less than 16 characters"),
        (f"alice:{ALICE},bob:{ALICE}", "`bob` has the same key as somebody else"),
    ],
)
def test_what_is_wrong_with_keys_is_said_without_a_key(text: str, word: str) -> None:
    with pytest.raises(ValueError, match="GENSERVE_API_KEYS") as refused:
        read(text)
    assert word in str(refused.value)
    assert not any(key in str(refused.value) for key in (ALICE, BOB, "secret", "short"))


async def test_every_route_is_closed_but_a_short_list() -> None:
    fakes = Fakes(api_keys=KEYS)
    app = fakes.app()
    async with fakes.client() as http:
        for path in PUBLIC:
            assert (await http.get(path)).status_code == 200, path
        schema = app.openapi()["paths"]
        for path, methods in schema.items():
            if path in PUBLIC:
                continue
            for method in methods:
                answer = await http.request(method, path)
                assert answer.status_code == 401, (method, path)
                error = answer.json()["error"]
                assert error.get("details", {}).get("error_code", error.get("code")) == (
                    "invalid_api_key"
                )
                assert answer.headers["www-authenticate"] == "Bearer"
        assert (await http.get("/nowhere")).status_code == 401
        assert (await http.get("/v1/models/../../healthz/x")).status_code == 401


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", f"Basic {ALICE}", f"Bearer {ALICE}x", f"Bearer {ALICE} x", ALICE],
)
async def test_what_is_not_a_key_does_not_open(header: str) -> None:
    async with Fakes(api_keys=KEYS).client() as http:
        answer = await http.get("/v1/models", headers={"authorization": header})
        assert answer.status_code == 401
        assert ALICE not in answer.text
        assert (await http.get("/v1/models", headers=bearer(ALICE))).status_code == 200
        lower = {"authorization": f"bearer {ALICE}"}
        assert (await http.get("/v1/models", headers=lower)).status_code == 200


async def test_a_closed_door_does_not_read_what_is_sent() -> None:
    async def body() -> Any:
        pytest.fail("the body was read")
        yield b""

    async with Fakes(api_keys=KEYS).client() as http:
        answer = await http.post("/upload", content=body())
    assert answer.status_code == 401


@pytest.mark.parametrize(
    ("client", "headers", "status"),
    [
        ("127.0.0.1", {}, 200),
        ("::1", {"host": "[::1]:8000"}, 200),
        ("127.0.0.1", {"host": "localhost:8000"}, 200),
        ("127.0.0.1", {"host": "localhost:8000", "origin": "http://localhost:8000"}, 200),
        ("192.168.1.7", {}, 403),
        ("127.0.0.1", {"host": "rebound.example"}, 403),
        ("127.0.0.1", {"host": ""}, 403),
        ("127.0.0.1", {"host": "[bad"}, 403),
        ("127.0.0.1", {"origin": "https://elsewhere.example"}, 403),
        ("127.0.0.1", {"origin": "null"}, 403),
        ("127.0.0.1", {"x-forwarded-for": "8.8.8.8"}, 403),
        ("127.0.0.1", {"forwarded": "for=8.8.8.8"}, 403),
    ],
)
async def test_without_keys_only_this_machine_and_our_own_page_are_answered(
    client: str, headers: dict[str, str], status: int
) -> None:
    transport = httpx.ASGITransport(Fakes().app(), client=(client, 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as http:
        answer = await http.get("/v1/models", headers=headers)
    assert answer.status_code == status
    if status == 403:
        assert "GENSERVE_API_KEYS" in answer.json()["error"]["message"]


async def test_two_hosts_are_none() -> None:
    async with Fakes().client() as http:
        headers = [("host", "evil.example"), ("host", "localhost")]
        assert (await http.get("/v1/models", headers=headers)).status_code == 403


async def test_how_busy_the_service_is_is_told_to_who_has_a_key() -> None:
    fakes = Fakes(api_keys=KEYS)
    async with fakes.client() as http:
        answers = [await http.get("/readyz", headers=bearer(key)) for key in ("x" * 20, ALICE)]
    states = [answer.json()["deployments"]["llm"] for answer in answers]
    assert [state["running_requests"] for state in states] == [None, 1]
    assert all(answer.json()["ready"] for answer in answers)


async def test_readiness_is_looked_into_once_a_second_for_everybody() -> None:
    fakes, asked = Fakes(api_keys=KEYS), []

    async def counted() -> None:
        asked.append(1)

    fakes.scraper.check_health = counted  # type: ignore[method-assign]
    began = time.monotonic()
    async with fakes.client() as http:
        await asyncio.gather(*(http.get("/readyz") for _ in range(20)))
    assert 1 <= len(asked) <= 1 + (time.monotonic() - began)


async def test_with_keys_anybody_may_call_from_anywhere() -> None:
    transport = httpx.ASGITransport(Fakes(api_keys=KEYS).app(), client=("192.168.1.7", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://genserve.lan") as http:
        headers = bearer(ALICE) | {"origin": "https://elsewhere.example"}
        assert (await http.get("/v1/models", headers=headers)).status_code == 200
