from __future__ import annotations

import asyncio
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from deployments.embedder.batching import Piece, batches, pieces, run_together, total_tokens
from deployments.embedder.passes import Passes

COUNTS = st.lists(st.integers(1, 300), max_size=60)


@given(COUNTS, st.integers(1, 2000))
def test_every_text_is_in_one_batch_and_no_batch_passes_the_bound(
    tokens: list[int], bound: int
) -> None:
    groups = batches(tokens, bound)
    assert sorted(index for group in groups for index in group) == list(range(len(tokens)))
    for group in groups:
        padded = len(group) * max(tokens[index] for index in group)
        assert padded <= bound or len(group) == 1


def test_texts_of_like_length_share_a_batch_so_that_little_is_padding() -> None:
    tokens = [10, 200] * 8
    groups = batches(tokens, 800)
    padded = sum(len(group) * max(tokens[i] for i in group) for group in groups)
    assert padded < 1.2 * sum(tokens)


@given(COUNTS, st.integers(300, 2000))
def test_a_call_is_cut_in_order_into_pieces_that_serve_takes(tokens: list[int], bound: int) -> None:
    items = [str(number) for number in range(len(tokens))]
    cut = list(pieces(items, tokens, bound))
    assert [item for piece in cut for item in piece.items] == items
    assert [count for piece in cut for count in piece.tokens] == tokens
    assert all(piece.items and total_tokens([piece]) <= bound for piece in cut)
    # None that would have gone with its neighbour.
    assert all(total_tokens([one]) + other.tokens[0] > bound for one, other in pairwise(cut))


@given(st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=5), min_size=1, max_size=6))
def test_callers_who_share_a_pass_each_get_their_own(calls: list[list[int]]) -> None:
    passes: list[int] = []

    def score(items: list[str], tokens: list[int]) -> NDArray[np.float32]:
        passes.append(sum(tokens))
        return np.array([float(item) for item in items], dtype=np.float32)

    together = [
        Piece([f"{caller}.{number}" for number in range(len(tokens))], tokens)
        for caller, tokens in enumerate(calls)
    ]
    shares = run_together(score, together)

    assert passes == [total_tokens(together)]
    for piece, share in zip(together, shares, strict=True):
        assert np.allclose(share, [float(item) for item in piece.items])


class Model:
    """Records the items of each pass; an item is its own row."""

    def __init__(self) -> None:
        self.passes: list[list[int]] = []

    def run(self, items: list[int], tokens: list[int]) -> NDArray[np.float32]:
        assert len(items) == len(tokens)
        self.passes.append(items)
        if 0 in items:
            raise ZeroDivisionError
        return np.array(items, dtype=np.float32)


@pytest.mark.anyio
async def test_queries_come_first_and_long_calls_take_turns() -> None:
    model = Model()
    passes = Passes(model.run, 10)
    long, other, query = await asyncio.gather(
        passes.rows([1, 2, 3, 4], [10, 10, 10, 10]),
        passes.rows([11, 12], [10, 10]),
        passes.rows([21], [3], urgent=True),
    )
    assert model.passes == [[21], [1], [11], [2], [12], [3], [4]]
    assert [float(part[0]) for part in long] == [1, 2, 3, 4]
    assert [float(part[0]) for part in (*other, *query)] == [11, 12, 21]


@pytest.mark.anyio
async def test_many_queries_do_not_keep_passages_out() -> None:
    model = Model()
    passes = Passes(model.run, 10)
    queries = [passes.rows([number], [10], urgent=True) for number in range(21, 25)]
    await asyncio.gather(passes.rows([1], [10]), *queries)
    assert model.passes == [[21], [1], [22], [23], [24]]


@pytest.mark.anyio
async def test_a_cancelled_call_is_not_continued_and_an_error_is_its_callers_own() -> None:
    model = Model()
    passes = Passes(model.run, 10)
    left = asyncio.create_task(passes.rows([1, 2, 3], [10, 10, 10]))
    await asyncio.sleep(0)
    left.cancel()
    failed, fine = await asyncio.gather(
        passes.rows([0, 5], [10, 10]), passes.rows([6], [10]), return_exceptions=True
    )
    assert isinstance(failed, ZeroDivisionError)
    assert isinstance(fine, list)
    assert model.passes == [[0], [6]]
