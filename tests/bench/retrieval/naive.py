"""The naive baseline: slices of 512 characters, embedded one at a time, compared by cosine."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from serve_app.evaluation.data_sets import File, Question
from serve_app.evaluation.retrieval import Found, Search
from tests.support.articles import text_of

SLICE_CHARS = 512
THRESHOLD = 0.7


@dataclass(frozen=True)
class Ranked:
    """The slices nearest to a question, nearest first, and the seconds taken."""

    question: Question
    slices: Sequence[Found]
    similarity: Sequence[float]
    seconds: float

    def search(self, most: int, threshold: float | None) -> Search:
        """Return the first `most` of them with at least the similarity `threshold`."""
        found = [
            one
            for one, similarity in zip(self.slices[:most], self.similarity, strict=False)
            if threshold is None or similarity >= threshold
        ]
        return Search(self.question, found, self.seconds)


class Naive:
    """A pipeline in this process, with the embedding model of the service."""

    def __init__(self, model_folder: str, threads: int) -> None:
        import torch
        from sentence_transformers import SentenceTransformer

        torch.set_num_threads(threads)
        self._model = SentenceTransformer(model_folder, device="cpu")
        self._slices: list[Found] = []
        self._vectors = np.empty((0, self._model.get_embedding_dimension()), np.float32)

    def add(self, files: Sequence[File]) -> None:
        """Embed every slice by itself."""
        new = [Found(file.name, [text]) for file in files for text in slices(text_of(file))]
        vectors = [self._embedded(one.text) for one in new]
        self._slices += new
        self._vectors = np.vstack([self._vectors, *vectors])

    def search(self, question: Question, most: int) -> Ranked:
        """Find the nearest slices."""
        began = time.perf_counter()
        similarity = self._vectors @ self._embedded(question.text)
        nearest = np.argsort(-similarity, kind="stable")[:most]
        seconds = time.perf_counter() - began
        return Ranked(
            question,
            [self._slices[number] for number in nearest],
            [float(similarity[number]) for number in nearest],
            seconds,
        )

    def _embedded(self, text: str) -> NDArray[np.float32]:
        vector: NDArray[np.float32] = self._model.encode(
            text, normalize_embeddings=True, show_progress_bar=False
        )
        return vector


def slices(text: str) -> list[str]:
    """Cut a text every 512 characters, also inside words."""
    return [text[begin : begin + SLICE_CHARS] for begin in range(0, len(text), SLICE_CHARS)]
