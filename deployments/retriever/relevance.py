"""How alike a question and a text are, on a scale that means the same for every model.

Cosine similarities of unrelated texts lie near 0 for one embedding model and near 0.7 for
another, so that no bound on them can be carried from one to the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deployments.retriever.embedding import replaced_is_unavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from deployments.retriever.embedding import LoadedModel
    from deployments.retriever.vector_store import Candidate

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
# In English only: a model that does not know a language finds a greeting in it like these in it.
_ABOUT_DOCUMENTS = (
    "Summarize the document.",
    "What is this file about?",
    "What are the main points of the text?",
    "Explain the uploaded files.",
    "What do these documents contain?",
    "Give me an overview of the report, please.",
    "tl;dr",
)

# Ratings from which a question is about the documents as a whole: those of XQuAD, CISI and NPL
# stay below 0.33, such questions lie above 0.37.
_ABOUT_DOCUMENTS_RATING = 0.35
# What all words of a question add to the rating of a text: rejecting as much small talk without it
# costs XQuAD 0.8 % of its questions, and none with it.
_WORDS_RATING = 0.26
# In a script without spaces, a question bears on a text that has this share of its n-grams,
# whatever the model says: 98 % of Thai questions have such a text, and by ratings alone, 14 % of
# them would get no sources.
_SHARE_OF_NGRAMS = 0.35
# A model that finds all texts alike has no scale.
_MOST_UNRELATED = 0.95


@dataclass(frozen=True, slots=True)
class Scale:
    """The similarities of one embedding model.

    `unrelated` is the mean of unrelated texts and questions, `zero` the greatest: noise has a
    spread, and half of it lies above its mean. `prompts` are the vectors of questions about
    documents as a whole, of shape (n, dimensions).
    """

    unrelated: float
    zero: float
    prompts: NDArray[np.float32]

    def rating(self, cosine: float) -> float:
        """Return 0 for what an unrelated text comes to, 1 for the question itself."""
        return (cosine - self.zero) / (1 - self.zero)

    def applies_to(self, query: NDArray[np.float32]) -> bool:
        """Return whether a bound on ratings applies to a question.

        No passage resembles one about documents as a whole, such as "Summarize this".
        """
        if self.zero > _MOST_UNRELATED:
            return False
        return self.rating(float((self.prompts @ query).max())) < _ABOUT_DOCUMENTS_RATING

    def bears_on(
        self, first: Sequence[Candidate], shares: Sequence[float], least: float, *, ngrams: bool
    ) -> bool:
        """Return whether one of the first candidates is rated at least so.

        `shares` are those of the words of the question that each of them has; `ngrams` says that
        these are n-grams, as the script of the question has no spaces.
        """
        if ngrams and max(shares, default=0.0) >= _SHARE_OF_NGRAMS:
            return True
        return any(
            self.rating(max(one.cosines)) + _WORDS_RATING * share >= least
            for one, share in zip(first, shares, strict=True)
        )


class Relevance:
    """Measures the scale of each model once."""

    def __init__(self) -> None:
        self._scales: dict[str, Scale] = {}  # by the fingerprint of the model

    async def scale(self, loaded: LoadedModel) -> Scale:
        """Return the scale of the similarities of a model."""
        fingerprint, embedder = loaded.model.fingerprint, loaded.embedder.embedder
        if fingerprint not in self._scales:
            with replaced_is_unavailable():
                asked = (*_QUESTIONS, *_ABOUT_DOCUMENTS)
                questions = await embedder.embed(asked, "query", fingerprint)
                others = await embedder.embed(_TEXTS, "passage", fingerprint)
            similarities = questions[: len(_QUESTIONS)] @ others.T
            self._scales[fingerprint] = Scale(
                float(similarities.mean()),
                float(similarities.max()),
                questions[len(_QUESTIONS) :],
            )
        return self._scales[fingerprint]
