"""Sentence-transformers behind one call: texts in, unit-norm float32 vectors out."""

from __future__ import annotations

import copy
import threading
from typing import TYPE_CHECKING

import numpy as np

from deployments.embedder.batching import run_in_batches
from deployments.embedder.windows import beginnings
from deployments.model_source import revision_of
from deployments.text.scripts import known_scripts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from deployments.settings import EmbedderSettings

_CPU_PASS_TOKENS = 1024


class Encoder:
    """One model, used by one thread at a time.

    Padding is what makes batches slow: a batch costs its longest text times its size. Texts
    are therefore sorted by length and cut into batches of at most `max_batch_tokens` padded
    tokens, so that long texts run in small batches and short ones in large.
    """

    def __init__(self, model: str, settings: EmbedderSettings, *, threads: int = 1) -> None:
        import torch
        from sentence_transformers import SentenceTransformer

        torch.set_num_threads(threads)
        self._model = SentenceTransformer(
            model,
            device=None if settings.device == "auto" else settings.device,
            revision=revision_of(settings.model),
            trust_remote_code=settings.trust_remote_code,
            model_kwargs={"dtype": getattr(torch, settings.dtype)},
        )
        # A copy: tokenizing for the model and counting go on in different threads, and a fast
        # tokenizer changed by one of them while the other uses it raises "Already borrowed".
        self._tokenizer = copy.deepcopy(self._model.tokenizer)
        self._tokenizer_lock = threading.Lock()
        self.max_length = int(self._model.max_seq_length or self._tokenizer.model_max_length)
        self.min_length = int(self._tokenizer.num_special_tokens_to_add()) + 1
        self.max_batch_tokens = max(settings.max_batch_tokens, self.max_length)
        # Queries wait for the pass that runs. On a processor small ones are as fast as large ones.
        on_cpu = self._model.device.type == "cpu"
        wanted = min(_CPU_PASS_TOKENS, self.max_batch_tokens) if on_cpu else self.max_batch_tokens
        self.max_pass_tokens = max(wanted, self.max_length)
        self._lock = threading.Lock()
        dimensions = self._model.get_embedding_dimension()
        if dimensions is None:
            msg = "the embedding model does not say how long its vectors are"
            raise ValueError(msg)
        self.dimensions: int = dimensions
        self.scripts = known_scripts(self._tokenizer)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Count what the model will see of each text: special tokens in, the cut-off part out."""
        return [min(count, self.max_length) for count in self.measure(texts)]

    def measure(self, texts: Sequence[str]) -> list[int]:
        """Count all tokens, special ones in; the model sees at most `max_length` of them."""
        if not texts:
            return []
        with self._tokenizer_lock:
            encoded = self._tokenizer(list(texts), truncation=False, verbose=False)
        return [len(ids) for ids in encoded["input_ids"]]

    def shorten(self, texts: Sequence[str], most: int) -> tuple[list[str], tuple[int, ...]]:
        """Return the first `most` tokens of each text, and the numbers of the shortened texts."""
        with self._tokenizer_lock:
            return beginnings(texts, self._tokenizer, most)

    def beginnings(self, texts: Sequence[str], most: int) -> list[str]:
        """Return texts of at most `most` tokens, `min_length` or more, special ones included."""
        return self.shorten(texts, most - self.min_length + 1)[0]

    def encode(self, texts: Sequence[str], tokens: Sequence[int]) -> NDArray[np.float32]:
        """Return shape (len(texts), dimensions); `tokens` are the texts' counts."""
        vectors = np.empty((len(texts), self.dimensions), dtype=np.float32)
        with self._lock:
            run_in_batches(self._model.encode, texts, tokens, self.max_batch_tokens, vectors)
        # Here rather than by the model: at half precision it would be off by a thousandth.
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors
