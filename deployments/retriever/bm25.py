"""Text to BM25 sparse vectors, made on our side so that every store gets the same ones."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qdrant_edge import Bm25, Bm25Config, DisabledStemmer, StopwordsSet, TokenizerType

from deployments.retriever.words import ENGLISH, ngrams, question_words, words

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_AVERAGE_WORDS = 90.0
_AVERAGE_NGRAMS = 180.0
_UNLIKELY_WEIGHT = 0.5
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

    Texts in English, and those of unknown languages, are read by Qdrant's tokenizer, stemmer and
    stop words for English, as all texts once were; others by those of their language. So what was
    stored before stays valid, and every question is read as English, too.
    """

    def __init__(self) -> None:
        # As a chunk of 90 tokens has with its headings, stop words left out.
        self._english = Bm25(Bm25Config(avg_len=_AVERAGE_WORDS))
        self._words = _of_tokens(_AVERAGE_WORDS)
        self._ngrams = _of_tokens(_AVERAGE_NGRAMS)

    def passage(self, text: str, language: str = "") -> SparseVector:
        """Weigh the words of a stored text; may be empty."""
        text = normal(text)
        if language in {"", ENGLISH}:
            found = self._english.embed_document(text)
        else:
            found = self._words.embed_document(" ".join(words(text, language)))
        weights = dict(zip(found.indices, found.values, strict=True))
        if grams := ngrams(text):
            found = self._ngrams.embed_document(" ".join(grams))
            weights |= zip(found.indices, found.values, strict=True)
        return SparseVector(tuple(weights), tuple(weights.values()))

    def passages(self, texts: Sequence[str], language: str = "") -> list[SparseVector]:
        """Weigh the words of several texts of one language; ten texts take about a millisecond."""
        return [self.passage(text, language) for text in texts]

    def query(self, text: str, languages: Iterable[str] = ()) -> SparseVector:
        """Give each word of a question, as it is in each language, a weight; may be empty.

        It is 1, or less in languages that the question is not in. A stored text has one form of
        each word, so that several forms do not count for more.
        """
        text = normal(text)
        likely, unlikely = ngrams(text), list[str]()
        if others := [each for each in languages if each not in {"", ENGLISH}]:
            text, found, unlikely = question_words(text, others)
            likely += found
        weights = dict.fromkeys(self._hashed(unlikely), _UNLIKELY_WEIGHT)
        weights |= dict.fromkeys(self._english.embed_query(text).indices, 1.0)
        weights |= dict.fromkeys(self._hashed(likely), 1.0)
        return SparseVector(tuple(weights), tuple(weights.values()))

    def _hashed(self, tokens: Sequence[str]) -> list[int]:
        return list(self._words.embed_query(" ".join(tokens)).indices)


def _of_tokens(average: float) -> Bm25:
    """Return a model for tokens that are separated by spaces and already normalised."""
    return Bm25(
        Bm25Config(
            avg_len=average,
            tokenizer=TokenizerType.Whitespace,
            lowercase=False,
            stopwords=StopwordsSet(),
            stemmer=DisabledStemmer(),
        )
    )
