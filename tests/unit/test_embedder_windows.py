"""Texts longer than the model reads: nothing of them is cut off."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from deployments.embedder.windows import Windows, cut_into_windows, means

MOST = 10


def measure(texts: Sequence[str]) -> list[int]:
    """Count the words and two special tokens."""
    return [len(text.split()) + 2 for text in texts]


@given(st.lists(st.lists(st.sampled_from(["snow", "is", "white"]), max_size=60), max_size=5))
def test_windows_fit_and_have_all_words_in_order(texts: list[list[str]]) -> None:
    windows = cut_into_windows([" ".join(words) for words in texts], measure, MOST, "read: ")
    assert all(tokens <= MOST for tokens in windows.tokens)
    assert windows.tokens == measure(windows.texts)
    for number, words in enumerate(texts):
        parts = [
            text.removeprefix("read:").split()
            for text, source in zip(windows.texts, windows.sources, strict=True)
            if source == number
        ]
        assert [word for part in parts for word in part] == words
        # Even parts: none is much shorter than half of the room.
        assert len(parts) == 1 or min(map(len, parts)) >= 3


def test_a_text_without_white_space_is_cut_too() -> None:
    windows = cut_into_windows(["x" * 100], lambda texts: list(map(len, texts)), 30)
    assert "".join(windows.texts) == "x" * 100
    assert max(windows.tokens) <= 30
    # A single character that has too many tokens is left to the model.
    assert cut_into_windows(["x"], lambda texts: [99] * len(texts), 30) == Windows(["x"], [30], [0])


def test_the_vector_of_a_text_is_the_weighted_mean_of_its_windows() -> None:
    vectors = np.array([[1, 0], [1, 0], [0, 1]], dtype=np.float32)
    windows = Windows(["a", "b", "c"], [5, 6, 8], [0, 1, 1])
    expected = np.array([[1, 0], [0.6, 0.8]], dtype=np.float32)
    np.testing.assert_allclose(means(vectors, windows, 2), expected, rtol=1e-6)
    alone = Windows(["a", "b", "c"], [5, 6, 8], [0, 1, 2])
    assert means(vectors, alone, 3) is vectors
