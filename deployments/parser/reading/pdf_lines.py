"""Words and segments of lines on a PDF page, from its characters and their boxes."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import pairwise
from operator import ne, sub
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from deployments.parser.reading.pdfium import Box, Characters

# Gaps are shares of the height of a character, which is some 1.2 times the size of its font.
CELL_GAP: Final = 0.85
"""The least gap between cells of a row, or columns of text."""
_WORD_GAP: Final = 0.28  # without a space in the content
_LEAST_WORD_GAP: Final = 0.04  # of a space that pdfium inserted
_MIN_OVERLAP: Final = 0.4  # of the lower of two heights on one line
_TWIN_SHIFT: Final = 0.12  # a glyph drawn again to look bold
_TWIN_REACH: Final = 4  # characters back
_SAME_PLACE: Final = 3.0  # points
# Letters that stand apart: gaps inside words are below the first bound, gaps between words above
# the second, and at least this share of the words are single letters.
_INSIDE_GAP: Final = 0.32
_BETWEEN_GAP: Final = 0.42
_SINGLE_SHARE: Final = 0.2
_MIN_SPACED_WORDS: Final = 4
_MIN_TURNED_CHARS: Final = 4
_HYPHENS: Final = ("\x02", "\ufffe")  # pdfium's mark of a hyphen at the end of a line

_LINE = re.compile(r"[^\r\n]+")
_TOKEN = re.compile(r"[^ \t\xa0\u3000]+")


class Word(NamedTuple):
    """A word and its box, in points from the lower left corner of the page."""

    text: str
    left: float
    bottom: float
    right: float
    top: float


@dataclass(slots=True)
class Segment:
    """Words beside each other on one line, without a gap as between cells or columns.

    `order` counts segments in the content of the page. A table in place of lines has `rows`,
    and the left and right edges of its `columns`.
    """

    words: list[Word]
    left: float
    bottom: float
    right: float
    top: float
    order: int
    rows: list[str] = field(default_factory=list)
    columns: tuple[tuple[float, float], ...] = ()
    text: str = ""
    size: float = 0.0


def segment_of(words: list[Word], order: int) -> Segment:
    """Return a segment of one word at least."""
    heights = sorted(word.top - word.bottom for word in words)
    return Segment(
        words,
        min(word.left for word in words),
        min(word.bottom for word in words),
        max(word.right for word in words),
        max(word.top for word in words),
        order,
        text=" ".join(word.text for word in words),
        size=heights[len(heights) // 2],
    )


def segments_of(characters: Characters, sheet: Box) -> list[Segment]:
    """Return the segments on a sheet in the order of its content."""
    found: list[Segment] = []
    seen: set[tuple[str, int, int]] = set()
    boxes = _Boxes(characters)
    for stretch in _LINE.finditer(characters.text):
        for words in _lines(boxes, stretch.start(), stretch.end()):
            for group in _groups(_without_letter_spacing(words)):
                segment = segment_of(group, len(found))
                if segment.right <= sheet.left or segment.left >= sheet.right:
                    continue
                if segment.top <= sheet.bottom or segment.bottom >= sheet.top:
                    continue
                # A line may be drawn again to look bold, or to cast a shadow.
                x, y = round(segment.left / _SAME_PLACE), round(segment.bottom / _SAME_PLACE)
                if (segment.text, x, y) not in seen:
                    found.append(segment)
                    near = (-1, 0, 1)
                    seen.update((segment.text, x + a, y + b) for a in near for b in near)
    return found


class _Boxes:
    """The edges of all characters, one array for each, and the distances between neighbours."""

    __slots__ = ("bottoms", "gaps", "lefts", "rights", "steps", "text", "tops")

    def __init__(self, characters: Characters) -> None:
        self.text = characters.text
        self.lefts, self.tops, self.rights, self.bottoms = (
            characters.boxes[edge::4] for edge in range(4)
        )
        self.gaps = list(map(sub, self.lefts[1:], self.rights))
        self.steps = list(map(sub, self.lefts[1:], self.lefts))


def _lines(boxes: _Boxes, start: int, end: int) -> Iterator[list[Word]]:
    """Yield the words of each line between two line ends of pdfium, which has joined some."""
    lines = [line for line in _split(boxes, start, end) if line]
    letters = sum(len(word.text) for line in lines for word in line)
    if len(lines) > 1 and letters >= _MIN_TURNED_CHARS and letters < 2 * len(lines):
        # Turned text: each letter is above or below the one before.
        words = [word for line in lines for word in line]
        box = (
            min(word.left for word in words),
            min(word.bottom for word in words),
            max(word.right for word in words),
            max(word.bottom for word in words) + min(word.top - word.bottom for word in words),
        )
        lines = [[Word(text, *box) for text in boxes.text[start:end].split()]]
    for line in lines:
        if line[-1].text.endswith(_HYPHENS):
            line[-1] = line[-1]._replace(text=line[-1].text[:-1] + "-")
        yield line


def _split(boxes: _Boxes, start: int, end: int) -> Iterator[list[Word]]:
    """Yield the words of each line of a stretch of text: a line ends where the height changes."""
    words: list[Word] = []
    low = high = 0.0  # of the line
    until = start
    for token in _TOKEN.finditer(boxes.text, start, end):
        first, last = token.span()
        # A space of the content has a height, one that pdfium has inserted has none.
        spaced = any(map(ne, boxes.tops[until:first], boxes.bottoms[until:first]))
        until = last
        for piece in _pieces(boxes, first, last):
            em = piece.top - piece.bottom
            if words and min(high, piece.top) - max(low, piece.bottom) < _MIN_OVERLAP * min(
                em, high - low
            ):
                yield words
                words = []
            if not words:
                low, high = piece.bottom, piece.top
            near = words and not spaced and _distance(words[-1], piece) <= em * _LEAST_WORD_GAP
            if near and first > start:
                words[-1] = _joined(words[-1], piece)
            else:
                words.append(piece)
            spaced = True
    yield words


def _pieces(boxes: _Boxes, first: int, last: int) -> Iterable[Word]:
    """Return the words among characters without a space between them."""
    tops, bottoms = boxes.tops[first:last], boxes.bottoms[first:last]
    top, bottom = max(tops), min(bottoms)
    em = top - bottom
    left, right = boxes.lefts[first], boxes.rights[last - 1]
    if last - first == 1:
        return (Word(boxes.text[first], left, bottom, right, top),)
    if (
        min(tops) - max(bottoms) > em * _MIN_OVERLAP
        and max(boxes.gaps[first : last - 1]) <= em * _WORD_GAP / 2
        and min(boxes.steps[first : last - 1]) > em * _TWIN_SHIFT
    ):
        return (Word(boxes.text[first:last], left, bottom, right, top),)
    return _by_letters(boxes, first, last)


def _by_letters(boxes: _Boxes, first: int, last: int) -> Iterator[Word]:
    letters = _Letters()
    low = high = 0.0
    for index in range(first, last):
        letter = boxes.text[index]
        left, top = boxes.lefts[index], boxes.tops[index]
        right, bottom = boxes.rights[index], boxes.bottoms[index]
        em = top - bottom
        if letters.letters:
            shared = min(high, top) - max(low, bottom)
            if letters.has_twin(letter, left, em):
                continue
            if shared < _MIN_OVERLAP * min(em, high - low) or (
                letters.gap(left, right) > em * _WORD_GAP
            ):
                yield letters.taken()
        low, high = bottom, top
        letters.add(letter, left, bottom, right, top)
    yield letters.taken()


class _Letters:
    """The letters of the word that is being read."""

    __slots__ = ("bottom", "left", "letters", "right", "starts", "top")

    def __init__(self) -> None:
        self.letters: list[str] = []
        self.starts: list[float] = []
        self.left = self.bottom = self.right = self.top = 0.0

    def add(self, letter: str, left: float, bottom: float, right: float, top: float) -> None:
        if self.letters:
            self.left, self.bottom = min(self.left, left), min(self.bottom, bottom)
            self.right, self.top = max(self.right, right), max(self.top, top)
        else:
            self.left, self.bottom, self.right, self.top = left, bottom, right, top
        self.letters.append(letter)
        self.starts.append(left)

    def gap(self, left: float, right: float) -> float:
        """Return the gap to another letter on either side, in points; none before the first."""
        return max(left - self.right, self.left - right) if self.letters else 0.0

    def has_twin(self, letter: str, left: float, em: float) -> bool:
        """Tell whether the letter was drawn at nearly the same place before.

        The letters of a ligature have the same place.
        """
        last = self.letters[-_TWIN_REACH:]
        if letter not in last or left == self.starts[-1]:
            return False
        return any(
            twin == letter and abs(left - start) < em * _TWIN_SHIFT
            for twin, start in zip(last, self.starts[-_TWIN_REACH:], strict=True)
        )

    def taken(self) -> Word:
        """Return the word of one letter at least, and begin another one."""
        word = Word("".join(self.letters), self.left, self.bottom, self.right, self.top)
        self.letters, self.starts = [], []
        return word


def _distance(a: Word, b: Word) -> float:
    """Return the gap between two words, whatever their order, in points."""
    return max(b.left - a.right, a.left - b.right)


def _joined(a: Word, b: Word) -> Word:
    return Word(
        a.text + b.text,
        min(a.left, b.left),
        min(a.bottom, b.bottom),
        max(a.right, b.right),
        max(a.top, b.top),
    )


def _gap(a: Word, b: Word) -> float:
    """Return the gap between two words, whatever their order, in heights of a character."""
    return _distance(a, b) / max(min(a.top - a.bottom, b.top - b.bottom), 1.0)


def _without_letter_spacing(words: list[Word]) -> list[Word]:
    """Join the pieces of words whose letters stand apart."""
    single = sum(len(word.text) == 1 and word.text.isalpha() for word in words)
    if len(words) < _MIN_SPACED_WORDS or single < len(words) * _SINGLE_SHARE:
        return words
    gaps = [_gap(a, b) for a, b in pairwise(words)]
    between = [gap for gap in gaps if gap >= _BETWEEN_GAP]
    inside = [gap for gap in gaps if gap < _INSIDE_GAP]
    if not inside or not between or len(between) + len(inside) < len(gaps):
        return words
    joined = [words[0]]
    for word, gap in zip(words[1:], gaps, strict=True):
        if gap < _INSIDE_GAP:
            joined[-1] = _joined(joined[-1], word)
        else:
            joined.append(word)
    return joined


def _groups(words: list[Word]) -> Iterator[list[Word]]:
    """Yield the words between gaps as wide as between cells."""
    group = words[:1]
    for a, b in pairwise(words):
        if _gap(a, b) > CELL_GAP:
            yield group
            group = []
        group.append(b)
    if group:
        yield group
