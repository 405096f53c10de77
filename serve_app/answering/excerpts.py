"""Long texts reduced to what of them matters to a question."""

from __future__ import annotations

import asyncio
import math
import re
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from semantic_text_splitter import MarkdownSplitter

from deployments.text.sentences import sentence_ends

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from deployments.interfaces import Embedder

GAP = "\n\n[...]\n\n"
"""Stands where something was left out."""

_PIECE_CHARS = 500
_MAX_PIECES = 24  # Embedded for one question: half a second of one CPU core.
_BLOCK_CHARS = 20_000  # Split in one go: splitting holds the interpreter for as long.
_HEADING_CHARS = 120
_FOLLOWING_CHARS = 16

_HEADING = re.compile(r"^#{1,6} +(?=\S)(.*)$", re.MULTILINE)
# Scripts that are written without spaces have no words to match; their signs serve as such.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|\w+")


class Excerpts:
    """Reduces texts to the pieces most like the question, by the embedding model."""

    def __init__(
        self,
        embedder: Embedder,
        *,
        piece_chars: int = _PIECE_CHARS,
        max_pieces: int = _MAX_PIECES,
    ) -> None:
        """Set bounds.

        Args:
            embedder: compares the pieces with the question.
            piece_chars: the length of a piece, at most.
            max_pieces: how many pieces of all texts together are embedded for a question.
        """
        self._embedder = embedder
        self._splitter = MarkdownSplitter(piece_chars)
        self._max_pieces = max_pieces

    async def reduce(self, question: str, texts: Sequence[str], max_chars: int) -> list[str]:
        """Return the texts, of at most `max_chars` together, the long ones as excerpts.

        Short texts stay whole and the long share what is left equally. Pieces beyond those that
        may be embedded are chosen by the words they have in common with the question. Takes as
        long as the embedder does, so the caller sets a limit; raises what the embedder raises.
        """
        shares = share([len(text) for text in texts], max_chars)
        results = list(texts)
        long = [n for n, text in enumerate(texts) if len(text) > shares[n]]
        if not long:
            return results
        quota = max(self._max_pieces // len(long), 1)
        # Threads: a page of a hundred thousand characters takes longer than the loop may stand.
        pages = [
            await asyncio.to_thread(self._ranked_by_words, question, texts[n], quota) for n in long
        ]
        shown = [piece.with_heading for page in pages for piece in page.candidates]
        (asked,), vectors = await asyncio.gather(
            self._embedder.embed([question], "query"), self._embedder.embed(shown, "passage")
        )
        scores: Iterator[float] = iter(_cosines(vectors, asked))
        for n, page in zip(long, pages, strict=True):
            results[n] = page.best([next(scores) for _ in page.candidates], shares[n])
        return results

    def _ranked_by_words(self, question: str, text: str, quota: int) -> _LongText:
        pieces = list(self._pieces(text))
        weights = _word_scores(question, [piece.with_heading for piece in pieces])
        # Without a word in common, the earlier goes first: pages begin with what they are about.
        ranked = sorted(range(len(pieces)), key=lambda n: (n > 0, -weights[n], n))
        return _LongText(text, [pieces[n] for n in ranked], quota)

    def _pieces(self, text: str) -> Iterator[_Piece]:
        headings = [(match.start(), match[0]) for match in _HEADING.finditer(text)]
        places = [place for place, _ in headings]
        for block_start, block in _blocks(text):
            for offset, piece in self._splitter.chunk_indices(block):
                start = block_start + offset
                above = bisect_right(places, start) - 1
                heading = _heading(*headings[above], start) if above >= 0 else ""
                yield _Piece(start, start + len(piece), piece, heading)


@dataclass(frozen=True, slots=True)
class _Piece:
    """A stretch of a text, and the heading above it unless it begins with that."""

    start: int
    end: int
    text: str
    heading: str

    @property
    def with_heading(self) -> str:
        return f"{self.heading}\n\n{self.text}" if self.heading else self.text


@dataclass(frozen=True, slots=True)
class _LongText:
    """A text in pieces, best by their words first; so many of them are candidates."""

    text: str
    pieces: list[_Piece]
    quota: int

    @property
    def candidates(self) -> list[_Piece]:
        return self.pieces[: self.quota]

    def best(self, scores: Sequence[float], max_chars: int) -> str:
        """Join the best pieces that fit, in the order of the text."""
        order = sorted(range(len(scores)), key=lambda n: scores[n], reverse=True)
        ranked = [*(self.pieces[n] for n in order), *self.pieces[self.quota :]]
        chosen: list[_Piece] = []
        left = max_chars
        for piece in ranked:
            cost = len(piece.with_heading) + len(GAP)
            if cost <= left:
                chosen.append(piece)
                left -= cost
        if not chosen:
            return cut_at_top(ranked[0].text if ranked else self.text, max_chars)
        return self._joined(sorted(chosen, key=lambda piece: piece.start))

    def _joined(self, chosen: Sequence[_Piece]) -> str:
        result, heading = chosen[0].with_heading, chosen[0].heading
        for before, piece in pairwise(chosen):
            between = self.text[before.end : piece.start]
            if between.strip():
                text = piece.text if piece.heading == heading else piece.with_heading
                result += GAP + text
            else:
                result += (between if len(between) < len(GAP) else "\n\n") + piece.text
            heading = piece.heading or heading
        return result


def share(wants: Sequence[int], budget: int, least: int = 0) -> list[int]:
    """Divide a budget: the small get all they want, the large equal parts of the rest.

    When even equal parts would be less than `least`, the last get nothing.
    """
    taking = len(wants)
    while taking and budget // taking < least and sum(wants[:taking]) > budget:
        taking -= 1
    granted = [0] * len(wants)
    left = budget
    for place, index in enumerate(sorted(range(taking), key=lambda i: wants[i])):
        granted[index] = min(wants[index], left // (taking - place))
        left -= granted[index]
    return granted


def cut_at_top(text: str, max_chars: int) -> str:
    """Keep the beginning, up to a sentence's end unless that would waste half of what fits."""
    if len(text) <= max_chars:
        return text
    least = max_chars // 2
    # What follows shows whether a sentence ends with the last character that fits.
    shown = text[: max_chars + _FOLLOWING_CHARS]
    ends = [end for end, _ in sentence_ends(shown) if least <= end <= max_chars]
    end = max([*ends, text.rfind("\n", least, max_chars + 1)])
    if end < 0:
        space = text.rfind(" ", least, max_chars + 1)
        end = space if space >= 0 else max_chars
    return text[:end].rstrip()


def _blocks(text: str) -> Iterator[tuple[int, str]]:
    """Cut at the end of a paragraph, or else of a line, where there is one."""
    start = 0
    while start < len(text):
        end = start + _BLOCK_CHARS
        if end < len(text):
            middle = start + _BLOCK_CHARS // 2
            breaks = (text.rfind(border, middle, end) for border in ("\n\n", "\n", " "))
            end = next((place for place in breaks if place >= 0), end)
        yield start, text[start:end]
        start = end


def _heading(place: int, text: str, piece_start: int) -> str:
    return "" if place == piece_start or len(text) > _HEADING_CHARS else text.strip()


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.casefold()))


def _word_scores(question: str, texts: Iterable[str]) -> list[float]:
    """Sum, for each text, the rarity of the words it shares with the question."""
    asked = _words(question)
    shared = [_words(text) & asked for text in texts]
    counts = Counter(word for words in shared for word in words)
    rarity = {word: math.log1p(len(shared) / count) for word, count in counts.items()}
    return [sum(rarity[word] for word in words) for words in shared]


def _cosines(vectors: NDArray[np.float32], asked: NDArray[np.float32]) -> list[float]:
    scores: list[float] = (vectors @ asked).tolist()
    return scores
