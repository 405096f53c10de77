"""Chunks of OpenAI's form as events, and events as chunks."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.answer_events import (
    AnswerEvent,
    ChunkReader,
    Opening,
    Piece,
    TokenUsage,
    block_of,
    chunk_of,
)
from serve_app.http.chunk_writer import ChunkWriter

CHAT = {"id": "a", "object": "chat.completion.chunk", "created": 1, "model": "m"}
COMPLETION = CHAT | {"object": "text_completion"}


def choice(delta: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None} | more


CHUNKS = [
    CHAT | {"choices": [choice({"role": "assistant", "content": ""})]},
    CHAT | {"choices": [choice({"content": "snow"})]},
    CHAT | {"choices": [choice({"content": "snow"}, index=3, token_ids=[1, 2])]},
    CHAT | {"choices": [choice({"tool_calls": [{"index": 0, "id": "c"}]})]},
    CHAT | {"choices": [choice({"reasoning": "hm"}, logprobs={"content": []})]},
    CHAT | {"choices": [choice({}, finish_reason="stop", stop_reason="end")], "usage": {"n": 1}},
    CHAT | {"choices": [], "usage": {"total_tokens": 3}, "system_fingerprint": "f"},
    CHAT | {"choices": [], "prompt_filter_results": []},
    COMPLETION
    | {"choices": [{"index": 0, "text": "x", "logprobs": None, "finish_reason": "stop"}]},
]


@pytest.mark.parametrize("chunk", CHUNKS, ids=range(len(CHUNKS)))
def test_a_chunk_is_the_same_after_it_was_events(chunk: dict[str, Any]) -> None:
    opening, event = ChunkReader().events(chunk)
    assert isinstance(opening, Opening)
    assert not isinstance(event, Opening)
    assert chunk_of(event, opening) == chunk
    assert list(ChunkReader().events_in(block_of(chunk) + "data: [DONE]\n\n")) == [opening, event]


def test_an_opening_is_said_again_only_where_it_changes() -> None:
    reader = ChunkReader()
    chunk = CHAT | {"choices": [choice({"content": "a"})]}
    kinds = [
        type(event)
        for each in (chunk, chunk, chunk | {"model": "other"})
        for event in reader.events(each)
    ]
    assert kinds == [Opening, Piece, Piece, Opening, Piece]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=5))
def test_what_is_written_reads_as_it_was(texts: list[str]) -> None:
    events: list[AnswerEvent] = [Opening(CHAT | {"model": '"\ufffc"'}), *map(Piece, texts)]
    events += [Piece("", finish_reason="stop"), TokenUsage({"total_tokens": 3})]
    written = ChunkWriter().blocks(events)
    assert list(ChunkReader().events_in(written)) == events
    assert written.count("\n\n") == len(events) - 1


def test_a_text_with_every_end_of_a_line_is_read(  # as vLLM writes it
) -> None:
    text = "a\u2028b\u2029c\u0085d\x0b\x0c\x1c\r\n"
    block = block_of(CHAT | {"choices": [choice({"content": text})]})
    assert list(ChunkReader().events_in(block))[1:] == [Piece(text)]


def test_a_chunk_without_an_id_has_an_opening_too() -> None:
    assert next(ChunkReader().events({"choices": [choice({"content": "a"})]})) == Opening({})


def test_further_fields_go_onto_the_first_chunk_alone() -> None:
    writer = ChunkWriter()
    assert writer.blocks([Opening(CHAT)], {"sources": []}) == ""
    first, second = writer.blocks([Piece("a"), Piece("b")], {"sources": []}).strip().split("\n\n")
    assert "sources" in first
    assert "sources" not in second


def test_null_fields_of_an_engine_are_left_out() -> None:
    usage = {"total_tokens": 3, "prompt_tokens_details": None}
    said = choice({"content": "a", "reasoning": None}, token_ids=None, stop_reason=None)
    chunk = CHAT | {"choices": [said], "usage": usage, "prompt_token_ids": None}
    opening, piece = ChunkReader().events(chunk)
    assert (opening, piece) == (Opening(CHAT), Piece("a", chunk={"usage": {"total_tokens": 3}}))
    _, last = ChunkReader().events(CHAT | {"choices": [], "usage": usage})
    assert last == TokenUsage({"total_tokens": 3})
