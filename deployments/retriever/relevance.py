"""Relevance ratings: similarities of question and text on one scale for all embedding models.

The cosine similarity of unrelated texts is near 0 for one model and near 0.7 for another, so a
threshold on cosines that suits one model does not suit another.
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
# In English only: to a model that does not know a language, greetings and these prompts are alike.
_ABOUT_DOCUMENTS = (
    "Summarize the document.",
    "What is this file about?",
    "What are the main points of the text?",
    "Explain the uploaded files.",
    "What do these documents contain?",
    "Give me an overview of the report, please.",
    "tl;dr",
)

# From this rating on, a question is about the documents as a whole: such questions have more than
# 0.37, the questions of XQuAD, CISI and NPL less than 0.33.
_ABOUT_DOCUMENTS_RATING = 0.35
# Added to the rating of a text that has all words of the question. Without it, 0.8 % of XQuAD's
# questions would be rejected together with as much small talk; with it, none is.
_WORDS_WEIGHT = 0.26
# In a script without spaces, a text with this share of the question's n-grams is relevant whatever
# its rating: 98 % of Thai questions have such a text; by ratings alone, 14 % of them would get no
# sources.
_MIN_NGRAM_SHARE = 0.35
# Above it, the model finds all texts alike, and its ratings mean nothing.
_MAX_ZERO = 0.95


@dataclass(frozen=True, slots=True)
class Scale:
    """The similarities of one embedding model.

    `unrelated` is the mean similarity of unrelated questions and texts, and `zero` the greatest,
    so that ratings of unrelated texts are not above 0. `prompts` are the vectors of questions about
    documents as a whole, of shape (n, dimensions).
    """

    unrelated: float
    zero: float
    prompts: NDArray[np.float32]

    def rating(self, cosine: float) -> float:
        """Return the rating of a cosine: 0 for an unrelated text, 1 for the question itself."""
        return (cosine - self.zero) / (1 - self.zero)

    def applies_to(self, query: NDArray[np.float32]) -> bool:
        """Return whether ratings can decide that a question gets no sources.

        They cannot for one about documents as a whole, such as "Summarize this": no passage is
        similar to it.
        """
        if self.zero > _MAX_ZERO:
            return False
        return self.rating(float((self.prompts @ query).max())) < _ABOUT_DOCUMENTS_RATING

    def has_relevant(
        self, first: Sequence[Candidate], shares: Sequence[float], least: float, *, ngrams: bool
    ) -> bool:
        """Return whether one of the first candidates has at least the rating `least`.

        `shares` are the shares of the question's words that each of them has; with `ngrams`, of its
        n-grams, as its script has no spaces.
        """
        if ngrams and max(shares, default=0.0) >= _MIN_NGRAM_SHARE:
            return True
        return any(
            self.rating(max(one.cosines)) + _WORDS_WEIGHT * share >= least
            for one, share in zip(first, shares, strict=True)
        )


class Relevance:
    """The scales of the embedding models, each measured once."""

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
