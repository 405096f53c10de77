from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from deployments.embedder.batching import Piece, batches, pieces, run_together, total_tokens

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
