"""Long texts are reduced to what a question is about, within bounds."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from deployments.types import TextKind
from serve_app.answering.excerpts import GAP, Excerpts, cut_at_top, share
from serve_app.testing import FakeEmbedder

pytestmark = pytest.mark.anyio

FILLER = "Weather reports of the northern coast were kept by hand for many years. "


@dataclass
class WordEmbedder(FakeEmbedder):
    """Texts are alike that have words in common."""

    seen: list[tuple[str, list[str]]] = field(default_factory=list)

    async def embed(
        self, texts: Sequence[str], kind: TextKind, _fingerprint: str = ""
    ) -> NDArray[np.float32]:
        self.seen.append((kind, list(texts)))
        vectors = np.full((len(texts), 512), 1e-6, dtype=np.float32)
        for vector, text in zip(vectors, texts, strict=True):
            for word in text.lower().split():
                vector[zlib.crc32(word.strip(".?,").encode()) % 512] += 1
        unit: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit


def page(sections: int, answer_at: int, answer: str) -> str:
    parts = ["# Report", FILLER * 6]
    for n in range(sections):
        parts += [f"## Section {n}", FILLER * 6]
        if n == answer_at:
            parts.append(answer)
    return "\n\n".join(parts)


ANSWER = "The lighthouse keeper earned nine crowns a month and free oil."
QUESTION = "How many crowns did the lighthouse keeper earn?"


async def test_what_answers_is_found_far_down_with_its_heading() -> None:
    text = page(150, 120, ANSWER)
    embedder = WordEmbedder()
    (excerpt,) = await Excerpts(embedder).reduce(QUESTION, [text], 2000)
    assert ANSWER in excerpt
    assert "## Section 120" in excerpt
    assert GAP in excerpt
    assert len(excerpt) <= 2000
    kept = [part for part in excerpt.split(GAP) if ANSWER not in part]
    assert sorted(kept, key=text.find) == kept


async def test_no_more_is_embedded_than_allowed_and_the_beginning_is_among_it() -> None:
    embedder = WordEmbedder()
    texts = [page(150, 100, ANSWER), page(150, 20, "Nothing."), page(30, 7, ANSWER)]
    await Excerpts(embedder).reduce(QUESTION, texts, 3000)
    shown = dict(embedder.seen)
    assert shown["query"] == [QUESTION]
    assert len(shown["passage"]) <= 24
    assert sum(text.startswith("# Report") for text in shown["passage"]) == 3
    assert sum(ANSWER in text for text in shown["passage"]) == 2


async def test_short_texts_stay_and_leave_the_rest_to_the_long() -> None:
    embedder = WordEmbedder()
    short, long = "A short page.", page(40, 30, ANSWER)
    kept, excerpt = await Excerpts(embedder).reduce(QUESTION, [short, long], 1500)
    assert kept == short
    assert ANSWER in excerpt
    assert 900 < len(excerpt) <= 1500 - len(short)
    embedder.seen.clear()
    assert await Excerpts(embedder).reduce(QUESTION, [short, short], 1500) == [short, short]
    assert not embedder.seen


async def test_neighbouring_pieces_are_joined_as_they_stood() -> None:
    text = "\n\n".join(f"Crowns of year {n}: {FILLER * 5}".strip() for n in range(10))
    (excerpt,) = await Excerpts(WordEmbedder()).reduce("weather", [text], len(text) - 1)
    assert all(part in text for part in excerpt.split(GAP))
    assert len(excerpt) > len(text) * 0.8


LONG_TEXTS = st.text("ab .\n#\u4e2d\u0301\U0001f469\u200d`|<", max_size=80).map(lambda t: t * 40)


@settings(max_examples=30)
@given(st.lists(LONG_TEXTS, max_size=4), st.integers(0, 4000))
def test_excerpts_never_pass_their_bound(texts: list[str], max_chars: int) -> None:
    excerpts = Excerpts(WordEmbedder(), piece_chars=100)
    reduced = asyncio.run(excerpts.reduce("ab?", texts, max_chars))
    assert len(reduced) == len(texts)
    assert sum(map(len, reduced)) <= max_chars


def test_a_text_is_cut_at_a_sentences_end_where_there_is_one() -> None:
    assert cut_at_top("One is. Two is 3.14 here. Three", 28) == "One is. Two is 3.14 here."
    assert cut_at_top("One is. Two is 3.14 here. Three", 18) == "One is. Two is"
    assert cut_at_top("One is here. Two", 12) == "One is here."
    assert cut_at_top("word " * 9, 12) == "word word"
    assert cut_at_top("x" * 30, 12) == "x" * 12
    assert cut_at_top("whole", 12) == "whole"


@given(st.text(max_size=200), st.integers(0, 200))
def test_a_cut_is_a_beginning_within_its_bound(text: str, max_chars: int) -> None:
    cut = cut_at_top(text, max_chars)
    assert len(cut) <= max_chars
    assert text.startswith(cut)


@given(st.lists(st.integers(0, 5000), max_size=12), st.integers(0, 3000), st.integers(0, 60))
def test_shares_never_pass_the_budget_nor_the_wish(
    wants: list[int], budget: int, least: int
) -> None:
    shares = share(wants, budget, least)
    assert sum(shares) <= budget
    assert all(0 <= s <= w for s, w in zip(shares, wants, strict=True))
    assert not [s for s, w in zip(shares, wants, strict=True) if 0 < s < min(w, least)]
