"""A cross-encoder behind one call: pairs of question and passage in, float32 scores out."""

from __future__ import annotations

import copy
import threading
from typing import TYPE_CHECKING

import numpy as np

from deployments.embedder.batching import run_in_batches
from deployments.embedder.windows import beginnings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from deployments.settings import EmbedderSettings

_MAX_LOGIT = 80.0  # its exponential is a float32

Pair = tuple[str, str]
"""A question and a passage."""


class Reranker:
    """One model with one output, used by one thread at a time.

    It reads question and passage together, which ranks better than comparing their vectors and
    costs a pass through the model for every pair. The longer of the two is cut where they do not
    fit into its window together.
    """

    def __init__(
        self,
        model: str,
        settings: EmbedderSettings,
        *,
        revision: str | None = None,
        threads: int = 1,
    ) -> None:
        import torch
        from sentence_transformers import CrossEncoder

        torch.set_num_threads(threads)
        self._model = CrossEncoder(
            model,
            device=None if settings.device == "auto" else settings.device,
            revision=revision,
            model_kwargs={"dtype": getattr(torch, settings.dtype)},
        )
        if self._model.num_labels != 1:
            msg = f"the reranker gives {self._model.num_labels} figures for a pair: it must be one"
            raise ValueError(msg)
        # A copy, to count while the model's own is in use, as in `Encoder`.
        self._tokenizer = copy.deepcopy(self._model.tokenizer)
        self._tokenizer_lock = threading.Lock()
        self.max_length = int(self._model.max_seq_length or self._tokenizer.model_max_length)
        self._gives_logits = not isinstance(self._model.activation_fn, torch.nn.Sigmoid)
        self._max_batch_tokens = settings.max_batch_tokens
        # A pass has room for one pair, however long; its batches keep to the setting.
        self.max_pass_tokens = max(settings.max_batch_tokens, self.max_length)
        self._lock = threading.Lock()

    def count_tokens(self, pairs: Sequence[Pair]) -> list[int]:
        """Count what the model will see of each pair: special tokens in, the cut-off part out."""
        return [min(count, self.max_length) for count in self.measure(pairs)]

    def measure(self, pairs: Sequence[Pair]) -> list[int]:
        """Count all tokens, special ones in; the model sees at most `max_length` of them."""
        if not pairs:
            return []
        with self._tokenizer_lock:
            encoded = self._tokenizer(list(pairs), truncation=False, verbose=False)
        return [len(ids) for ids in encoded["input_ids"]]

    def shorten(self, texts: Sequence[str], most: int) -> tuple[list[str], tuple[int, ...]]:
        """Return the first `most` tokens of each text, and the numbers of the shortened texts."""
        with self._tokenizer_lock:
            return beginnings(texts, self._tokenizer, most)

    def score(self, pairs: Sequence[Pair], tokens: Sequence[int]) -> NDArray[np.float32]:
        """Return shape (len(pairs),), more for a better answer; `tokens` are the pairs' counts."""
        scores = np.empty(len(pairs), dtype=np.float32)
        with self._lock:
            run_in_batches(self._model.predict, pairs, tokens, self._max_batch_tokens, scores)
        return scores

    def probabilities(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map scores to 0..1, by the logistic function unless the model has applied it."""
        if self._gives_logits:
            bounded = np.clip(scores, -_MAX_LOGIT, _MAX_LOGIT)
            scores = (1 / (1 + np.exp(-bounded))).astype(np.float32)
        return np.nan_to_num(np.clip(scores, 0.0, 1.0), nan=0.0)
