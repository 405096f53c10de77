"""Stored responses, responses in the background and conversations, by OpenAI's own client."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import openai
import pytest
from openai.types.conversations import ConversationItem, ConversationItemList
from openai.types.responses import (
    Response,
    ResponseIncompleteEvent,
    ResponseItemList,
    ResponseStreamEvent,
)
from pydantic import TypeAdapter

from deployments.catalogue.catalogue import Catalogue
from deployments.catalogue.database import Database
from deployments.errors import NotFound, Overloaded, Unavailable
from deployments.types import JobKind, JobStatus
from serve_app.schemas.responses.request import ResponseRequest
from serve_app.testing import Fakes
from tests.support.openai_client import openai_client

pytestmark = pytest.mark.anyio

ALICE, BOB = "a" * 20, "b" * 20
NOBODYS = {"resp": "resp_" + "0" * 32, "conv": "conv_" + "0" * 32}
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
ITEM: TypeAdapter[Any] = TypeAdapter(ConversationItem)


@pytest.fixture
def fakes() -> Fakes:
    return Fakes(api_keys=f"alice:{ALICE},bob:{BOB}")


@contextlib.asynccontextmanager
async def client_of(fakes: Fakes, **changes: Any) -> AsyncIterator[Any]:
    async with openai_client(fakes.app(**changes)) as (client, _):
        yield client.with_options(api_key=ALICE)


def valid(response: Any) -> Any:
    """Check an answer by OpenAI's type, which the client itself does not."""
    return type(response).model_validate(response.model_dump(mode="json"))


def texts(fakes: Fakes) -> list[str]:
    """Return the conversation as the model was asked last."""
    return [message["content"] for message in fakes.llm.bodies[-1]["messages"]]


async def test_a_chain_of_responses_is_continued_listed_and_deleted(fakes: Fakes) -> None:
    async with client_of(fakes) as client:
        first = await client.responses.create(model="small", input="My name is Ada.")
        second = await client.responses.create(
            model="small", input="And my age is 36.", previous_response_id=first.id
        )
        assert texts(fakes) == ["My name is Ada.", "My name is Ada.", "And my age is 36."]
        counted = await client.responses.input_tokens.count(
            input="Who am I?", previous_response_id=second.id
        )
        assert counted.input_tokens == 4 + 4 + 5 + 5 + 3
        found = valid(
            await client.responses.retrieve(second.id, include=["reasoning.encrypted_content"])
        )
        assert (found.output_text, found.status) == ("And my age is 36.", "completed")
        assert found == valid(second)
        items = await client.responses.input_items.list(second.id, order="asc", limit=1)
        ResponseItemList.model_validate(items.model_dump(mode="json") | {"object": "list"})
        assert [item.content[0].text for item in items.data] == ["And my age is 36."]
        unkept = await client.responses.create(model="small", input="Forget this.", store=False)
        for gone in (unkept.id, NOBODYS["resp"]):
            with pytest.raises(openai.NotFoundError):
                await client.responses.retrieve(gone)
        await client.responses.delete(first.id)
        with pytest.raises(openai.NotFoundError) as raised:
            await client.responses.create(model="small", input="x", previous_response_id=first.id)
        assert raised.value.param == "previous_response_id"
        await client.responses.create(model="small", input="?", previous_response_id=second.id)
        assert texts(fakes) == ["And my age is 36.", "And my age is 36.", "?"]
        async with await client.responses.create(
            model="small", input="Streamed.", stream=True
        ) as stream:
            events = [event async for event in stream]
        kept = await client.responses.retrieve(events[-1].response.id)
        assert kept.output_text.strip() == "Streamed."
        with pytest.raises(openai.BadRequestError, match="background"):
            await client.responses.cancel(kept.id)


async def test_a_stream_whose_client_leaves_is_stored_as_cancelled(fakes: Fakes) -> None:
    fakes.llm.endless = True
    account = fakes.app().state.accounts["alice"]
    request = ResponseRequest.model_validate({"model": "small", "input": "word", "stream": True})
    turn = await account.responding.turn(request)
    stream = account.responding.stream(turn)
    async for events in stream:
        if events[-1]["type"] == "response.output_text.delta":
            break
    await stream.aclose()
    assert fakes.llm.closed.is_set()
    left = (await account.responses.get(turn.response["id"])).body
    Response.model_validate(left)
    assert (left["status"], left["output"][0]["status"]) == ("cancelled", "incomplete")
    assert left["output"][0]["content"][0]["text"] == "word "
    async with client_of(fakes) as client:
        fakes.llm.endless = False
        await client.responses.create(
            model="small", input="Go on.", previous_response_id=left["id"]
        )
    assert texts(fakes) == ["word", "word ", "Go on."]


@pytest.mark.parametrize("cancelled", [False, True])
async def test_a_stream_is_stored_although_the_server_cancels_its_request(
    fakes: Fakes, *, cancelled: bool
) -> None:
    """A server that hears of a disconnect cancels every further wait of the request."""
    fakes.llm.endless = True
    app = fakes.app()
    body = b'{"model": "small", "input": "word", "stream": true}'
    headers = {"content-type": "application/json", "host": "127.0.0.1"}
    scope = {
        "type": "http",
        "http_version": "1.1",
        "scheme": "http",
        "method": "POST",
        "path": "/v1/responses",
        "raw_path": b"/v1/responses",
        "query_string": b"",
        "headers": [
            (name.encode(), value.encode())
            for name, value in (headers | {"authorization": f"Bearer {ALICE}"}).items()
        ],
        "root_path": "",
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "state": {},
    }
    responses = app.state.accounts["alice"].responses
    for _ in range(5):
        requested: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        requested.put_nowait({"type": "http.request", "body": body, "more_body": False})
        sent: asyncio.Queue[str] = asyncio.Queue()

        async def send(message: Any, sent: asyncio.Queue[str] = sent) -> None:
            sent.put_nowait(message.get("body", b"").decode())

        request = asyncio.create_task(app(scope, requested.get, send))
        text = ""
        while "output_text.delta" not in text:
            text += await asyncio.wait_for(sent.get(), 5)
        if cancelled:
            request.cancel()
        else:
            requested.put_nowait({"type": "http.disconnect"})
        await asyncio.wait({request}, timeout=5)
        response_id = re.findall(r"resp_[0-9a-f]+", text)[0]
        async with asyncio.timeout(5):
            while True:
                with contextlib.suppress(NotFound):
                    assert (await responses.get(response_id)).status == "cancelled"
                    break
                await asyncio.sleep(0.01)


async def test_a_conversation_collects_the_items_of_its_responses(fakes: Fakes) -> None:
    async with client_of(fakes) as client:
        conversation = await client.conversations.create(
            metadata={"topic": "snow"}, items=[{"role": "user", "content": "Be short."}]
        )
        made = await client.responses.create(
            model="small", input="Is it cold?", conversation=conversation.id
        )
        valid(made)
        await client.responses.create(
            model="small", input="And now?", conversation=conversation.id, store=False
        )
        assert texts(fakes) == ["Be short.", "Is it cold?", "Is it cold?", "And now?"]
        other = await client.responses.create(model="small", input="Something else.")
        added = await client.conversations.items.create(
            conversation.id,
            items=[
                {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c", "output": "42"},
                {"type": "item_reference", "id": other.output[0].id},
            ],
        )
        await client.conversations.items.create(  # the conversation has it already
            conversation.id, items=[{"type": "item_reference", "id": made.output[0].id}]
        )
        ConversationItemList.model_validate(added.model_dump(mode="json"))
        listed = [one async for one in client.conversations.items.list(conversation.id, limit=3)]
        assert [one.id for one in listed[:3]] == [one.id for one in reversed(added.data)]
        assert len({one.id for one in listed}) == len(listed) == 8
        for one in listed:
            ITEM.validate_python(one.model_dump(mode="json"))
        item = await client.conversations.items.retrieve(
            listed[-1].id, conversation_id=conversation.id
        )
        assert item == listed[-1]
        left = await client.conversations.items.delete(item.id, conversation_id=conversation.id)
        assert valid(left).metadata == {"topic": "snow"}
        with pytest.raises(openai.NotFoundError):
            await client.conversations.items.retrieve(item.id, conversation_id=conversation.id)
        changed = await client.conversations.update(conversation.id, metadata={"topic": "rain"})
        assert await client.conversations.retrieve(conversation.id) == changed
        with pytest.raises(openai.BadRequestError, match="20"):
            await client.conversations.items.create(
                conversation.id, items=[{"role": "user", "content": "x"}] * 21
            )
        assert valid(await client.conversations.delete(conversation.id)).deleted
        with pytest.raises(openai.NotFoundError) as raised:
            await client.responses.create(model="small", input="x", conversation=conversation.id)
        assert raised.value.param == "conversation"
        assert (await client.responses.retrieve(made.id)).conversation.id == conversation.id


async def test_a_response_in_the_background_is_polled_and_streamed_from_a_cursor(
    fakes: Fakes,
) -> None:
    fakes.llm.usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    async with client_of(fakes) as client:
        queued = await client.responses.create(
            model="genserve", input="It is cold today.", background=True
        )
        assert valid(queued).status == "queued"
        with pytest.raises(openai.BadRequestError, match="not ended"):
            await client.responses.create(model="small", input="x", previous_response_id=queued.id)
        (job,) = fakes.jobs.known.values()
        assert (job.kind, job.spec.owner) == (JobKind.RESPONSE, "alice")

        async def streamed(after: int | None) -> list[Any]:
            more = {} if after is None else {"starting_after": after}
            async with await client.responses.retrieve(queued.id, stream=True, **more) as stream:
                return [EVENT.validate_python(one.model_dump(mode="json")) async for one in stream]

        watching = asyncio.create_task(streamed(None))
        await asyncio.sleep(0.1)
        await fakes.jobs.run(job.id)
        events = await watching
        assert [one.sequence_number for one in events] == list(range(len(events)))
        kinds = [one.type for one in events]
        assert kinds[:3] == ["response.created", "response.queued", "response.in_progress"]
        assert kinds[-1] == "response.completed"
        assert await streamed(5) == events[6:]
        assert await streamed(len(events)) == []
        done = valid(await client.responses.retrieve(queued.id))
        assert (done.status, done.output_text.strip()) == ("completed", "It is cold today.")
        assert done.usage.total_tokens == 3
        assert events[-1].response == done
        assert (done.background, done.created_at) == (True, queued.created_at)
        shown = await client.get("/jobs", cast_to=httpx2.Response)
        (listed,) = shown.json()["data"]
        assert listed["kind"] == "response"
        assert listed["input"] == {"response_id": queued.id, "model": "genserve"}
        assert listed["status"] == "succeeded"


async def last_event(client: Any, response_id: str) -> Any:
    """Return the last event of a stream, once it has ended."""
    return [event async for event in await client.responses.retrieve(response_id, stream=True)][-1]


async def test_a_response_in_the_background_is_cancelled_and_deleted_while_it_runs(
    fakes: Fakes,
) -> None:
    fakes.llm.endless = True
    async with client_of(fakes) as client:
        for end in ("cancel", "delete"):
            fakes.llm.closed.clear()
            queued = await client.responses.create(model="small", input="word", background=True)
            job = list(fakes.jobs.known.values())[-1]
            running = asyncio.create_task(fakes.jobs.run(job.id))
            while (await client.responses.retrieve(queued.id)).status != "in_progress":
                await asyncio.sleep(0.01)
            if end == "cancel":
                following = asyncio.create_task(last_event(client, queued.id))
                await asyncio.sleep(0)
                assert valid(await client.responses.cancel(queued.id)).status == "cancelled"
                assert (await client.responses.cancel(queued.id)).status == "cancelled"
                last = await asyncio.wait_for(following, 5)
                assert isinstance(last, ResponseIncompleteEvent)
                assert valid(last.response).status == "cancelled"
            else:
                await client.responses.delete(queued.id)
                with pytest.raises(openai.NotFoundError):
                    await client.responses.retrieve(queued.id)
            assert fakes.jobs.known[job.id].status is JobStatus.CANCELLED
            # The model stops, even if the cancellation of the job does not reach it.
            await asyncio.wait_for(fakes.llm.closed.wait(), 5)
            with contextlib.suppress(BaseException):
                await running


async def test_a_response_that_breaks_off_is_generated_again_and_numbered_on(
    fakes: Fakes,
) -> None:
    async with client_of(fakes) as client:
        queued = await client.responses.create(model="small", input="a b", background=True)
        # While the model's queue is full, nothing breaks off.
        fakes.llm.fail_at_start = Overloaded("the queue is full")
        for _ in range(3):
            with pytest.raises(Overloaded):
                await fakes.jobs.responder.respond("alice", queued.id)
        fakes.llm.fail_at_start = None
        fakes.llm.fail_midway = Unavailable("the replica died")
        for _ in range(2):
            with pytest.raises(Unavailable, match="broke off"):
                await fakes.jobs.responder.respond("alice", queued.id)
        assert (await client.responses.retrieve(queued.id)).status == "in_progress"
        assert await fakes.jobs.responder.respond("alice", queued.id) == "failed"
        failed = valid(await client.responses.retrieve(queued.id))
        assert failed.error.code == "server_error"
        async with await client.responses.retrieve(queued.id, stream=True) as stream:
            events = [event async for event in stream]
        assert [one.sequence_number for one in events] == list(range(len(events)))
        assert sum(one.type == "response.in_progress" for one in events) == 3
        assert events[-1].type == "response.failed"


async def test_the_queue_quotas_and_keys_for_repeating(fakes: Fakes) -> None:
    ask: dict[str, Any] = {"model": "small", "input": "hi", "background": True}
    limits = {"limits": {"max_documents": 2, "requests_per_minute": None}}
    async with client_of(fakes, **limits) as client:
        again = client.with_options(default_headers={"Idempotency-Key": "k"})
        fakes.jobs.submit_error = Overloaded("too many jobs are waiting")
        with pytest.raises(openai.RateLimitError):
            await again.responses.create(**ask)
        fakes.jobs.submit_error = None
        first = await again.responses.create(**ask)
        assert (await again.responses.create(**ask)).id == first.id
        assert len(fakes.jobs.known) == 1
        with pytest.raises(openai.ConflictError):
            await again.responses.create(**ask | {"input": "other"})
        bobs = again.with_options(api_key=BOB)
        assert (await bobs.responses.create(**ask)).id != first.id
        # A deleted response does not come back: the same key begins another one.
        fakes.jobs.runs = True
        await client.responses.delete(first.id)
        second = await again.responses.create(**ask)
        assert second.id != first.id
        assert (await client.responses.retrieve(second.id)).status == "completed"
        await client.responses.create(model="small", input="hi")
        with pytest.raises(openai.BadRequestError, match="2 responses"):
            await client.responses.create(model="small", input="hi")
        await client.responses.create(model="small", input="hi", store=False)


async def test_an_id_of_another_key_is_answered_as_one_that_nobody_has(fakes: Fakes) -> None:
    async with client_of(fakes) as client:
        conversation = await client.conversations.create(items=[{"role": "user", "content": "x"}])
        response = await client.responses.create(
            model="small", input="secret", conversation=conversation.id
        )
        queued = await client.responses.create(model="small", input="x", background=True)
        item = response.output[0].id
        ask = {"model": "small", "input": "x"}
        nobodys_item = f"msg_{'0' * 56}"
        reference = {"type": "item_reference"}
        calls: list[tuple[str, str, str, Any]] = [
            *(
                ("resp", "GET", f"/v1/responses/{{}}{more}", None)
                for more in ("", "?stream=true", "/input_items")
            ),
            ("resp", "DELETE", "/v1/responses/{}", None),
            ("resp", "POST", "/v1/responses/{}/cancel", None),
            ("resp", "POST", "/v1/responses", lambda i: ask | {"previous_response_id": i}),
            ("conv", "POST", "/v1/responses", lambda i: ask | {"conversation": i}),
            *(
                (kind, "POST", "/v1/responses/input_tokens", lambda i, name=name: ask | {name: i})
                for kind, name in (("resp", "previous_response_id"), ("conv", "conversation"))
            ),
            ("conv", "POST", "/v1/conversations/{}", lambda _: {"metadata": {}}),
            (
                "conv",
                "POST",
                "/v1/conversations/{}/items",
                lambda _: {"items": [{"role": "user", "content": "x"}]},
            ),
            *(
                ("conv", method, f"/v1/conversations/{{}}{more}", None)
                for method, more in (
                    ("GET", ""),
                    ("DELETE", ""),
                    ("GET", "/items"),
                    ("GET", f"/items/{item}"),
                    ("DELETE", f"/items/{item}"),
                    ("GET", f"/items?after={item}"),
                )
            ),
        ]
        http = client._client
        headers = {"authorization": f"Bearer {BOB}"}
        for kind, method, path, body in calls:
            ids = {"resp": (response.id, queued.id), "conv": (conversation.id,)}[kind]
            for theirs in ids:
                answers = [
                    await http.request(
                        method, path.format(each), json=body and body(each), headers=headers
                    )
                    for each in (theirs, NOBODYS[kind])
                ]
                assert answers[0].status_code == 404, (method, path)
                assert answers[0].content == answers[1].content
        for theirs in (item, nobodys_item):
            body = ask | {"input": [reference | {"id": theirs}]}
            for path in ("/v1/responses", "/v1/responses/input_tokens"):
                answer = await http.post(path, json=body, headers=headers)
                assert answer.status_code == 404
        assert valid(await client.responses.retrieve(response.id)).output_text == "secret"
        await client.conversations.retrieve(conversation.id)


async def test_an_id_of_no_known_form_is_not_found(fakes: Fakes, database: Database) -> None:
    fakes.catalogue = Catalogue(database)
    async with client_of(fakes) as client:
        items = f"/v1/conversations/{(await client.conversations.create()).id}/items"
        ask: dict[str, Any] = {"model": "small", "input": "x"}
        http, headers = client._client, {"authorization": f"Bearer {ALICE}"}
        for method, path, body in (
            ("GET", f"{items}/a%00b", None),
            ("DELETE", f"{items}/a%00b", None),
            ("GET", f"{items}?after=%00", None),
            ("POST", "/v1/responses", ask | {"previous_response_id": "\0"}),
            ("POST", "/v1/responses", ask | {"conversation": "\0"}),
            ("POST", "/v1/responses", ask | {"input": [{"type": "item_reference", "id": "\0"}]}),
        ):
            answer = await http.request(method, path, json=body, headers=headers)
            assert answer.status_code == 404, (method, path, body)


async def test_references_are_bounded(fakes: Fakes, monkeypatch: pytest.MonkeyPatch) -> None:
    async with client_of(fakes) as client:
        made = await client.responses.create(model="small", input="x")
        named = {"type": "item_reference", "id": made.output[0].id}
        for item_ids in ([named["id"]] * 2, [f"msg_{n:056x}" for n in range(101)]):
            references = [{"type": "item_reference", "id": each} for each in item_ids]
            with pytest.raises(openai.BadRequestError, match="each once"):
                await client.responses.create(model="small", input=references)
        with pytest.raises(openai.BadRequestError, match="each once") as raised:
            await client.conversations.create(items=[named, named])
        assert raised.value.param == "items"
        monkeypatch.setattr("deployments.catalogue.conversations.MAX_REFERENCED_BYTES", 100)
        with pytest.raises(openai.BadRequestError, match="fewer items"):
            await client.responses.create(model="small", input=[named])


async def test_what_is_too_large_to_be_stored_is_refused_before_it_is_generated(
    fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deployments.catalogue.response_rows.MAX_RESPONSE_BYTES", 3000)
    ask: dict[str, Any] = {"model": "small", "input": "word " * 600}
    async with client_of(fakes) as client:
        for more in ({}, {"stream": True}, {"background": True}):
            with pytest.raises(openai.APIStatusError, match="`store`") as raised:
                await client.responses.create(**ask, **more)
            assert raised.value.status_code == 413
        assert fakes.llm.bodies == []
        conversation = await client.conversations.create()
        await client.responses.create(**ask, store=False, conversation=conversation.id)


async def test_a_failed_turn_is_not_added_to_its_conversation(fakes: Fakes) -> None:
    fakes.llm.fail_midway = Unavailable("the replica died")
    async with client_of(fakes) as client:
        conversation = await client.conversations.create()
        queued = await client.responses.create(
            model="small", input="a b", conversation=conversation.id, background=True
        )
        for _ in range(3):
            with contextlib.suppress(Unavailable):
                await fakes.jobs.responder.respond("alice", queued.id)
        assert (await client.responses.retrieve(queued.id)).status == "failed"
        async with await client.responses.create(
            model="small", input="c d", conversation=conversation.id, stream=True
        ) as stream:
            assert [event async for event in stream][-1].type == "response.failed"
        assert (await client.conversations.items.list(conversation.id)).data == []
