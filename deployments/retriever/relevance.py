"""How alike a question and a text are, on a scale that means the same for every model.

Cosine similarities of unrelated texts lie near 0 for one embedding model and near 0.7 for
another, so that no bound on them can be carried from one to the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from deployments.retriever.embedding import replaced_is_unavailable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from deployments.retriever.embedding import LoadedModel

_QUESTIONS = (
    "How long must the dough rest before it is baked?",
    "Which treaty ended the war between the two kingdoms?",
    "What is the boiling point of mercury?",
    "Who composed the music of the opera?",
    "How do I reset the password of my account?",
    "Why do swallows fly south in autumn?",
    "What does the contract say about late payment?",
    "How many players are there in a volleyball team?",
)
_TEXTS = (
    "The bridge was closed for repairs after cracks were found in two of its pillars.",
    "A compiler turns the source of a program into instructions for a processor.",
    "Her grandmother kept bees and sold the honey at the market on Saturdays.",
    "Glaciers carve valleys with a flat floor and steep sides.",
    "The patient should take one tablet with water after each meal.",
    "Shares of the shipping company fell by four per cent on Tuesday.",
    "The novel is set in a small harbour town in the nineteenth century.",
    "Turn left at the church and follow the lane to the edge of the wood.",
)


class Relevance:
    """0 for what an unrelated text comes to, 1 for the question itself."""

    def __init__(self) -> None:
        self._unrelated: dict[str, float] = {}  # by the fingerprint of the model

    async def of(
        self, query: NDArray[np.float32], texts: NDArray[np.float32], loaded: LoadedModel
    ) -> NDArray[np.float32]:
        """Rate vectors of shape (n, dimensions) against one of shape (dimensions,).

        Those of one model, which is `loaded`.
        """
        fingerprint, embedder = loaded.model.fingerprint, loaded.embedder.embedder
        if fingerprint not in self._unrelated:
            with replaced_is_unavailable():
                questions = await embedder.embed(_QUESTIONS, "query", fingerprint)
                others = await embedder.embed(_TEXTS, "passage", fingerprint)
            # The greatest similarity: noise has a spread, and half of it lies above its mean.
            self._unrelated[fingerprint] = float((questions @ others.T).max())
        unrelated = self._unrelated[fingerprint]
        rated: NDArray[np.float32] = (texts @ query - unrelated) / (1 - unrelated)
        return rated
