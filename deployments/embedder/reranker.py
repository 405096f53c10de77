"""A cross-encoder behind one call: pairs of question and passage in, float32 scores out."""

from __future__ import annotations

import copy
import threading
from typing import TYPE_CHECKING

import numpy as np

from deployments.embedder.batching import run_in_batches

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from deployments.settings import EmbedderSettings

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
        self._max_length = int(self._model.max_seq_length or self._tokenizer.model_max_length)
        self._max_batch_tokens = settings.max_batch_tokens
        # A pass has room for one pair, however long; its batches keep to the setting.
        self.max_pass_tokens = max(settings.max_batch_tokens, self._max_length)
        self._lock = threading.Lock()

    def count_tokens(self, pairs: Sequence[Pair]) -> list[int]:
        """Count what the model will see of each pair: special tokens in, the cut-off part out."""
        if not pairs:
            return []
        with self._tokenizer_lock:
            encoded = self._tokenizer(list(pairs), truncation=True, max_length=self._max_length)
        return [len(ids) for ids in encoded["input_ids"]]

    def score(self, pairs: Sequence[Pair], tokens: Sequence[int]) -> NDArray[np.float32]:
        """Return shape (len(pairs),), more for a better answer; `tokens` are the pairs' counts."""
        scores = np.empty(len(pairs), dtype=np.float32)
        with self._lock:
            run_in_batches(self._model.predict, pairs, tokens, self._max_batch_tokens, scores)
        return scores
