"""Text to BM25 sparse vectors, made on our side so that every store gets the same ones."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

from qdrant_edge import Bm25, Bm25Config

_AVERAGE_WORDS = 90.0
TOKENIZER = "bm25 en 90"
"""Names how words are cut, hashed and weighed; another one needs other vectors."""


def normal(text: str) -> str:
    """Return a text as it is searched: in Unicode's NFKC.

    The same word is written in several ways: "ö" as one character or two, "ﬁ" as one, wide Latin
    letters in Japanese. The text that is shown keeps its own. Texts of usual characters are in
    this form already, so `TOKENIZER` and what was indexed before stay valid.
    """
    return text if text.isascii() else unicodedata.normalize("NFKC", text)


@dataclass(frozen=True, slots=True)
class SparseVector:
    """Weights of hashed words: `indices` are unsigned 32-bit, `values` go with them."""

    indices: tuple[int, ...]
    values: tuple[float, ...]


class LexicalEncoder:
    """The term-frequency half of BM25; the store multiplies with the inverse document frequency.

    English stemming and stop words; text in other scripts is matched word by word.
    """

    def __init__(self) -> None:
        # As a chunk of 90 tokens has with its headings, stop words left out.
        self._model = Bm25(Bm25Config(avg_len=_AVERAGE_WORDS))

    def passage(self, text: str) -> SparseVector:
        """Weigh the words of a stored text; may be empty."""
        vector = self._model.embed_document(normal(text))
        return SparseVector(tuple(vector.indices), tuple(vector.values))

    def query(self, text: str) -> SparseVector:
        """Give each word of a question the weight 1; may be empty."""
        vector = self._model.embed_query(normal(text))
        return SparseVector(tuple(vector.indices), tuple(vector.values))
