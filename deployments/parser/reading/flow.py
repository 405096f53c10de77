"""Reflow: join hard-wrapped lines, as pages show them, into paragraphs."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from deployments.parser.reading.tables import CELL_JOINT

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

_COMPOUND = re.compile(r"\w+-\w+")
_BROKEN_WORD = re.compile(r"(\w+)-$")
_FIRST_WORD = re.compile(r"\w+")
_BULLET = re.compile(r"(?:[•‣▪◦*\u2013\u2014\uf0b7-]|\(?[0-9]{1,3}[.)]|\(?[a-z]\))\s")
# "pre- and post-war": the hyphen replaces the rest of the word.
_CONJUNCTIONS = frozenset(("and", "or", "to", "und", "oder", "et", "ou", "y", "o"))
_NUMBER = re.compile(r"[0-9]{1,6}")
_SENTENCE_END = tuple(".!?:;…。\uff01\uff1f")

_EDGE_LINES = 2
_MIN_RUNNING_PAGES = 3
_MIN_WRAP_CHARS = 40
_MAX_WRAP_CHARS = 120
_MIN_FULL_SHARE = 0.7
_MIN_WORDS_A_LINE = 5
_MIN_ROWS = 3
_MIN_ROW_SHARE = 0.6
_MIN_EVEN_SHARE = 0.8
_MIN_LOWER_SHARE = 0.15
_MIN_SEPARATORS = 2
_SEPARATORS = ",;\t|"
_ROW_EDGES = ".,:;|0123456789"
_DIGIT_START = re.compile(r"[\[(]?[0-9]")
_MAX_HEADING_CHARS = 120
_MAX_HEADING_SHARE = 0.7


class _Line(NamedTuple):
    text: str
    page: int
    after_blank: bool


def flow(pages: Sequence[Sequence[str]]) -> tuple[str, tuple[int, ...]]:
    """Join the lines of all pages into paragraphs, also across page breaks.

    A line break inside a sentence becomes a space and a hyphenated word is rejoined. A break
    stays if the next word would still have fitted on the line, or between rows of a table.

    Args:
        pages: the lines of each page, from top to bottom.

    Returns:
        The text, and the character offset at which each page begins.
    """
    lines = list(_lines(pages))
    width = _width([line.text for line in lines])
    compounds = set(_COMPOUND.findall("\n".join(line.text for line in lines)))
    parts: list[str] = []
    starts: list[int] = []
    length = 0
    for place, line in enumerate(lines):
        if place:
            previous = lines[place - 1].text
            following = lines[place + 1].text if place + 1 < len(lines) else ""
            if _breaks_word(previous, line.text):
                if not _is_compound(previous, line.text, compounds):
                    parts[-1] = parts[-1][:-1]
                    length -= 1
            else:
                joint = _joint(previous, line, following, width)
                parts.append(joint)
                length += len(joint)
        # Pages without text begin where the next text does.
        starts += [length] * (line.page + 1 - len(starts))
        parts.append(line.text)
        length += len(line.text)
    starts += [length] * (len(pages) - len(starts))
    return "".join(parts), tuple(starts)


def hard_wrapped(lines: Sequence[str]) -> bool:
    """Tell whether lines are hard-wrapped prose rather than rows, verse, code or paragraphs."""
    width = _width(lines)
    pairs = [(a, b) for a, b in pairwise(lines) if a.strip() and b.strip()]
    if not pairs or not _MIN_WRAP_CHARS <= width <= _MAX_WRAP_CHARS:
        return False
    full = sum(_is_full(a.strip(), b.strip(), width) for a, b in pairs)
    words = sum(len(a.split()) for a, _ in pairs)
    return (
        full >= len(pairs) * _MIN_FULL_SHARE
        and words >= len(pairs) * _MIN_WORDS_A_LINE
        and not row_like([line for line in lines if line.strip()])
    )


def row_like(lines: Sequence[str]) -> bool:
    """Tell whether each of some lines is a row, a log entry, a verse or an item of a list.

    A line of prose seldom ends where a sentence or a part of it does, and the next one begins in
    the middle of it: in scripts with two cases, often with a lower-case letter.
    """
    count = len(lines)
    if count < _MIN_ROWS:
        return False
    texts = [line.strip() for line in lines]
    starts = Counter(text.split(maxsplit=1)[0].strip(_ROW_EDGES) for text in texts)
    digits = sum(bool(_DIGIT_START.match(text)) for text in texts)
    if max(starts.most_common(1)[0][1], digits) > count * _MIN_ROW_SHARE:
        return True
    for separator in _SEPARATORS:
        common = Counter(text.count(separator) for text in texts).most_common(1)[0]
        if common[0] >= _MIN_SEPARATORS and common[1] >= count * _MIN_EVEN_SHARE:
            return True
    following = [text for text in texts[1:] if text[0].isalpha()]
    cased = [text for text in following if text[0].isupper() or text[0].islower()]
    if len(cased) * 2 < count - 1:  # no such script
        return False
    return sum(text[0].islower() for text in cased) < len(cased) * _MIN_LOWER_SHARE


def heading_like(lines: Sequence[str]) -> bool:
    """Tell whether the first line reads like a title rather than a sentence."""
    if not lines:
        return False
    first = lines[0].strip()
    return (
        any(character.isalpha() for character in first)
        and len(first) <= _MAX_HEADING_CHARS
        and not first.endswith((*_SENTENCE_END, ",", "-"))
        and not (len(lines) > 1 and lines[1].strip()[:1].islower())
    )


def without_running_lines(
    pages: Sequence[Sequence[str]], table_heads: Mapping[int, Collection[int]] | None = None
) -> list[list[str]]:
    """Remove running headers, footers and page numbers, except their first occurrence.

    They would interrupt a sentence at a page break. A line is one if it occurs at the edge of
    half of the pages, three at least, equal except for a page number. Lines in `table_heads`, by
    page and from 0, stay.
    """
    table_heads = table_heads or {}
    filled = [[line for line in page if line.strip()] for page in pages]
    counts: Counter[str] = Counter()
    for index, page in enumerate(filled):
        if len(page) > 2 * _EDGE_LINES:
            edges = page[:_EDGE_LINES] + page[-_EDGE_LINES:]
            counts.update({key for line in edges for key in running_keys(line, index)})
    needed = max(_MIN_RUNNING_PAGES, len(pages) / 2)
    running = {key for key, count in counts.items() if count >= needed}
    if not running:
        return [list(page) for page in pages]
    seen: set[str] = set()
    kept = []
    for index, whole in enumerate(pages):
        places = [place for place, line in enumerate(whole) if line.strip()]
        edges_at = {*places[:_EDGE_LINES], *places[-_EDGE_LINES:]}
        edges_at.difference_update(table_heads.get(index, ()))
        lines = []
        for place, line in enumerate(whole):
            keys = running.intersection(running_keys(line, index)) if place in edges_at else set()
            if not keys or not keys & seen:
                lines.append(line)
            seen |= keys
        kept.append(lines)
    return kept


def _lines(pages: Sequence[Sequence[str]]) -> Iterator[_Line]:
    """Yield the lines with text, in order, with single spaces."""
    for number, page in enumerate(pages):
        blank = started = False
        for raw in page:
            text = " ".join(raw.split())
            if text:
                yield _Line(text, number, after_blank=blank)
                started, blank = True, False
            else:
                blank = started


def running_keys(line: str, page: int) -> Iterator[str]:
    """Yield keys of a line that are equal on all pages if it is a running header or footer."""
    line = line.strip()
    yield line
    numbers = list(_NUMBER.finditer(line))
    for number in numbers[:1] + numbers[1:][-1:]:
        yield f"{line[: number.start()]}\0{int(number[0]) - page}\0{line[number.end() :]}"


def _width(lines: Sequence[str]) -> int:
    """Return the length of a full line: the 90th percentile, which ignores outliers."""
    lengths = sorted(len(line.strip()) for line in lines if line.strip())
    return lengths[int(len(lengths) * 0.9)] if lengths else 0


def _is_full(line: str, following: str, width: int) -> bool:
    """Tell whether the first word of the next line would not have fitted, give or take 10 %."""
    word = following.split(maxsplit=1)[0]
    return len(line) + 1 + len(word) > width * 0.9


def _joint(previous: str, line: _Line, following: str, width: int) -> str:
    """Return the separator of two lines, the first of which ends in no broken word."""
    rows = (CELL_JOINT in previous) + (CELL_JOINT in line.text)
    if rows:
        return "\n" if rows > 1 else "\n\n"
    lower = line.text[0].islower()
    ended = previous.endswith(_SENTENCE_END)
    if line.after_blank and (ended or not lower):
        return "\n\n"
    if _BULLET.match(line.text):
        # "1. Introduction" is a heading if prose follows, an item of a list if not.
        prose = line.text[0].isdigit() and len(following) > width * _MAX_HEADING_SHARE
        return "\n\n" if prose and _is_heading(line.text, following, width) else "\n"
    if lower or (width >= _MIN_WRAP_CHARS and _is_full(previous, line.text, width)):
        wide = _is_wide(previous[-1]) and _is_wide(line.text[0])
        # "Anglo-Saxon" keeps its hyphen.
        compound = not lower and _BROKEN_WORD.search(previous) and line.text[0].isalnum()
        return "" if wide or compound else " "
    # The chunker recognizes a heading only after a blank line.
    return "\n\n" if _is_heading(line.text, following, width) else "\n"


def _is_heading(line: str, following: str, width: int) -> bool:
    short = len(line) <= min(_MAX_HEADING_CHARS, width * _MAX_HEADING_SHARE)
    return short and len(following) > len(line) and heading_like([line, following])


def _breaks_word(previous: str, line: str) -> bool:
    broken = _BROKEN_WORD.search(previous)
    if broken is None or not broken[1][-1].isalpha() or not line[0].islower():
        return False
    rest = _FIRST_WORD.match(line)
    return not (rest and rest[0] in _CONJUNCTIONS) and CELL_JOINT not in previous + line


def _is_compound(previous: str, line: str, compounds: set[str]) -> bool:
    """Tell whether the hyphenated form occurs elsewhere, so that the hyphen must stay."""
    broken = _BROKEN_WORD.search(previous)
    rest = _FIRST_WORD.match(line)
    return bool(broken and rest and f"{broken[1]}-{rest[0]}" in compounds)


def _is_wide(character: str) -> bool:
    """Tell whether a character is wide: most such scripts are written without spaces."""
    return unicodedata.east_asian_width(character) in "WF"
