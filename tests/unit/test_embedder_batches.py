from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from deployments.embedder.encoder import batches

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
