"""Stored responses and conversations in the catalogue, on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from deployments.catalogue.catalogue import Catalogue
from deployments.catalogue.clock import now_ms
from deployments.catalogue.conversations import ConversationEntry
from deployments.catalogue.database import Database
from deployments.catalogue.entries import PageQuery, Quotas
from deployments.catalogue.response_rows import MAX_RESPONSE_BYTES, StoredResponse
from deployments.errors import Conflict, InvalidRequest, NotFound, TooLarge

pytestmark = pytest.mark.anyio

QUOTAS = Quotas(9, 9, 9, 9, responses=20, conversations=2, responses_bytes=100_000)
DAY_MS = 86_400_000
CONVERSATION = ConversationEntry("conv_1", 1_700_000_000, {"topic": "snow"})


@pytest.fixture
def catalogue(database: Database) -> Catalogue:
    return Catalogue(database, QUOTAS)


def message(name: str, text: str) -> dict[str, Any]:
    return {"id": f"msg_{name}", "type": "message", "role": "user", "content": text}


def response(name: str, previous: str | None = None, **changes: Any) -> StoredResponse:
    stored = StoredResponse(
        f"resp_{name}",
        "completed",
        now_ms(),
        now_ms() + DAY_MS,
        {"id": f"resp_{name}", "status": "completed", "output": [message(f"out_{name}", "\0 é")]},
        [message(f"in_{name}", f"question {name}")],
        previous_id=previous and f"resp_{previous}",
    )
    return replace(stored, **changes)


def numbered(*numbers: int) -> list[dict[str, Any]]:
    return [{"type": "response.output_text.delta", "sequence_number": n} for n in numbers]


async def used(catalogue: Catalogue, owner: str) -> bool:
    return not await catalogue.inspection.usage_wrong(owner)


async def test_a_response_is_its_owners_until_it_is_deleted_or_expires(
    catalogue: Catalogue,
) -> None:
    kept, responses, background = response("1"), catalogue.responses, catalogue.background_responses
    assert await responses.add("alice", kept)
    assert not await responses.add("alice", kept)
    assert await responses.response("alice", "resp_1") == kept
    for call in (responses.response, background.cancel, responses.chain):
        with pytest.raises(NotFound):
            await call("bob", "resp_1", *([9] if call == responses.chain else []))
    assert not await responses.delete("bob", "resp_1")
    assert await background.begin_attempt("bob", "resp_1") is None
    assert await responses.delete("alice", "resp_1")
    with pytest.raises(NotFound):
        await responses.response("alice", "resp_1")
    await responses.add("alice", response("2", expires_ms=now_ms() - 1))
    with pytest.raises(NotFound):
        await responses.response("alice", "resp_2")
    # Its id can be used again at once, as that of an idempotency key is.
    assert await responses.add("alice", response("2", expires_ms=now_ms() - 1))
    assert (await responses.remove_expired(9), await responses.remove_expired(9)) == (1, 0)
    assert await used(catalogue, "alice")


async def test_a_chain_is_read_up_to_its_bounds(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    responses = catalogue.responses
    for number in range(1, 6):
        await responses.add("alice", response(str(number), str(number - 1)))
    chain = await responses.chain("alice", "resp_5", 5)
    assert [one.id for one in chain] == [f"resp_{n}" for n in range(1, 6)]
    with pytest.raises(InvalidRequest, match="longer than 4 responses"):
        await responses.chain("alice", "resp_5", 4)
    with pytest.raises(NotFound):
        await responses.chain("bob", "resp_5", 5)
    # What was deleted is no longer read, and neither is what came before it.
    await responses.delete("alice", "resp_2")
    assert [one.id for one in await responses.chain("alice", "resp_5", 3)] == [
        "resp_3",
        "resp_4",
        "resp_5",
    ]
    monkeypatch.setattr("deployments.catalogue.responses.MAX_CHAIN_BYTES", 300)
    with pytest.raises(InvalidRequest):
        await responses.chain("alice", "resp_5", 5)


async def test_events_of_a_later_attempt_follow_and_those_of_an_earlier_are_refused(
    catalogue: Catalogue,
) -> None:
    responses, background = catalogue.responses, catalogue.background_responses
    queued = response("1", status="queued", job_id="job_1", request={"model": "genserve"})
    await responses.add("alice", replace(queued, body={"id": "resp_1", "status": "queued"}))
    assert await background.append_events("alice", "resp_1", numbered(0))
    first = await background.begin_attempt("alice", "resp_1")
    assert first is not None
    assert (first.number, first.next_number, first.response.request) == (1, 1, queued.request)
    assert await background.append_events("alice", "resp_1", numbered(1, 2), attempt=1)
    page = await background.events("alice", "resp_1", 1, 9)
    assert ([one["sequence_number"] for one in page.events], page.ended) == ([2], False)
    second = await background.begin_attempt("alice", "resp_1")
    assert second is not None
    assert second.next_number == 3
    assert not await background.append_events("alice", "resp_1", numbered(3), attempt=1)
    ended = {"id": "resp_1", "status": "completed", "output": []}
    assert await background.append_events("alice", "resp_1", numbered(3), attempt=2, ended=ended)
    page = await background.events("alice", "resp_1", -1, 9)
    assert ([one["sequence_number"] for one in page.events], page.ended) == ([0, 1, 2, 3], True)
    with pytest.raises(NotFound):
        await background.events("bob", "resp_1", -1, 9)
    # What has ended stays as it is.
    assert (await background.cancel("alice", "resp_1")).status == "completed"
    assert await background.begin_attempt("alice", "resp_1") is None
    await background.fail("alice", "resp_1", "x", "x")
    assert (await responses.response("alice", "resp_1")).body == ended
    assert await used(catalogue, "alice")
    await responses.delete("alice", "resp_1")
    await responses.add("alice", replace(queued, body={"id": "resp_1", "status": "queued"}))
    assert (await background.events("alice", "resp_1", -1, 9)).events == []
    assert (await background.cancel("alice", "resp_1")).status == "cancelled"
    assert not await background.append_events("alice", "resp_1", numbered(0))


async def test_a_response_whose_job_was_lost_fails(catalogue: Catalogue) -> None:
    responses, background = catalogue.responses, catalogue.background_responses
    body = {"id": "resp_1", "status": "queued"}
    queued = response("1", status="queued", job_id="job_1", body=body)
    await responses.add("alice", replace(queued, created_ms=now_ms() - 61_000))
    await responses.add("alice", response("2"))
    (lost,) = await background.unfinished(60, 9)
    await background.fail(lost.owner, lost.id, "server_error", "gone")
    failed = await responses.response("alice", "resp_1")
    assert failed.body["error"] == {"code": "server_error", "message": "gone"}
    page = await background.events("alice", "resp_1", -1, 9)
    assert (page.events[-1]["type"], page.ended) == ("response.failed", True)
    assert await background.unfinished(60, 9) == []


async def test_a_conversation_has_its_items_in_order(catalogue: Catalogue) -> None:
    conversations, responses = catalogue.conversations, catalogue.responses
    await conversations.add("alice", CONVERSATION, [message("a", "first")])
    await conversations.append("alice", "conv_1", [message("b", "second")])
    await responses.add("alice", response("1", conversation_id="conv_1"))
    items = await conversations.items("alice", "conv_1")
    assert [one["id"] for one in items] == ["msg_a", "msg_b", "msg_in_1", "msg_out_1"]
    page = await conversations.page("alice", "conv_1", PageQuery(2, "msg_out_1", newest_first=True))
    assert [one["id"] for one in page.entries] == ["msg_in_1", "msg_b"]
    assert page.more
    changed = await conversations.set_metadata("alice", "conv_1", {"topic": "rain"})
    assert await conversations.get("alice", "conv_1") == changed
    await conversations.remove_item("alice", "conv_1", "msg_b")
    for item_id, owner in (("msg_b", "alice"), ("msg_a", "bob")):
        with pytest.raises(NotFound):
            await conversations.item(owner, "conv_1", item_id)
    assert set(await conversations.items_by_id("alice", ["msg_a", "msg_b"])) == {"msg_a"}
    assert await conversations.items_by_id("bob", ["msg_a"]) == {}
    for call in (conversations.get, conversations.items):
        with pytest.raises(NotFound):
            await call("bob", "conv_1")
    with pytest.raises(NotFound):
        await conversations.append("bob", "conv_1", [message("c", "theirs")])
    assert not await conversations.remove("bob", "conv_1")
    assert await used(catalogue, "alice")
    # Turns that end together each keep their items next to each other.
    await asyncio.gather(
        *(
            conversations.append_turn(
                "alice", "conv_1", [message(f"{n}i", ""), message(f"{n}o", "")]
            )
            for n in range(6)
        )
    )
    ids = [one["id"] for one in await conversations.items("alice", "conv_1")][3:]
    assert [one[:-1] for one in ids[::2]] == [one[:-1] for one in ids[1::2]]
    # An item that is referred to twice at the same moment is added once.
    await asyncio.gather(
        *(conversations.append("alice", "conv_1", [message("same", "")]) for _ in range(8))
    )
    ids = [one["id"] for one in await conversations.items("alice", "conv_1")]
    assert ids.count("msg_same") == 1
    assert await conversations.remove("alice", "conv_1")
    # A response whose conversation has been removed meanwhile is stored all the same.
    await responses.add("alice", response("2", conversation_id="conv_1"))
    with pytest.raises(NotFound):
        await conversations.items("alice", "conv_1")
    assert await used(catalogue, "alice")


async def test_bounds(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    responses, conversations = catalogue.responses, catalogue.conversations
    large = [message("x", "x" * MAX_RESPONSE_BYTES)]
    with pytest.raises(TooLarge):
        await responses.add("alice", response("large", input=large))
    for number in range(QUOTAS.responses):
        await responses.check_room("alice")
        await responses.add("alice", response(str(number)))
    for call in (responses.check_room("alice"), responses.add("alice", response("more"))):
        with pytest.raises(InvalidRequest, match="20 responses"):
            await call
    await responses.add("bob", response("bobs"))
    await responses.delete("alice", "resp_3")
    await responses.check_room("alice")
    with pytest.raises(InvalidRequest, match="in bytes"):
        await responses.add("alice", response("bytes", input=[message("x", "x" * 100_000)]))
    await conversations.add("alice", CONVERSATION, [])
    monkeypatch.setattr("deployments.catalogue.conversations.MAX_ITEMS", 3)
    with pytest.raises(InvalidRequest, match="may have 3 items"):
        await conversations.append("alice", "conv_1", [message(str(n), "") for n in range(4)])
    await conversations.append("alice", "conv_1", [message(str(n), "") for n in range(2)])
    with monkeypatch.context() as patched:
        patched.setattr("deployments.catalogue.conversations.MAX_REFERENCED_BYTES", 100)
        with pytest.raises(InvalidRequest, match="refer to fewer items"):
            await conversations.items_by_id("alice", ["msg_0", "msg_1"])
    # What a response adds is never lost; the next one is refused.
    await responses.add("alice", response("last", conversation_id="conv_1"))
    with pytest.raises(InvalidRequest, match="may have 3 items"):
        await conversations.items("alice", "conv_1")
    assert await used(catalogue, "alice")


async def test_an_erasure_removes_them_and_admits_none_meanwhile(catalogue: Catalogue) -> None:
    for owner in ("alice", "bob"):
        entry = replace(CONVERSATION, id=f"conv_{owner}")
        await catalogue.conversations.add(owner, entry, [message("a", "first")])
        for number in range(5):
            await catalogue.responses.add(owner, response(f"{owner}{number}"))
    erasure = await catalogue.erasures.request("alice")
    with pytest.raises(Conflict):
        await catalogue.responses.add("alice", response("late"))
    while await catalogue.erased_rows.remove_some(erasure, 3):
        pass
    await catalogue.erasures.finish(erasure)
    removed = (await catalogue.erasures.get("alice", erasure.id)).removed
    assert (removed.responses, removed.conversations) == (5, 1)
    assert len(await catalogue.responses.chain("bob", "resp_bob4", 9)) == 1
    await catalogue.conversations.get("bob", "conv_bob")
    assert await used(catalogue, "alice")
