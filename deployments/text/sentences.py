"""Sentence boundaries in all scripts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# The marks of Unicode's Sentence_Terminal in scripts that are in use: Armenian, Hebrew, Arabic,
# Syriac, N'Ko, Devanagari and its relatives, Tibetan, Burmese, Ethiopic, Khmer, Mongolian,
# Balinese, Javanese, Sinhala, Ol Chiki, Meetei Mayek and Chinese, with the wide semicolon, which
# often ends one. No space need follow them.
SENTENCE_MARKS = (
    "\u0589\u05c3\u061e\u061f\u06d4\u0700-\u0702\u07f9\u0964\u0965\u0df4\u0f0d\u0f0e\u104a\u104b"
    "\u1362\u1367\u1368\u17d4\u17d5\u1803\u1809\u1b5a\u1b5b\u1b5e\u1b5f\u1c7e\u1c7f\u203c\u203d"
    "\u2047-\u2049\u3002\ua9c8\ua9c9\uaaf0\uaaf1\uabeb\ufe12\ufe52\ufe56\ufe57\uff01\uff0e\uff1b"
    "\uff1f\uff61"
)
# Thai and Lao have no marks: a space separates sentences or clauses.
_THAI = "\u0e01-\u0e4e\u0e81-\u0ecd"
# Includes closing quotes, brackets and note numbers. A semicolon after a Greek letter asks.
_END = re.compile(
    r"((?:[.!?…]|(?<=[\u0370-\u03ff]);)[\"'”\u2019»)\]]{0,3}(?:\[[0-9]{1,3}\]){0,3})\s+"
    rf"|([{SENTENCE_MARKS}]+[\"”\u2019」』\uff09»)\]]{{0,3}})\s*"
    rf"|(?<=[{_THAI}])()\s+(?=[{_THAI}])"
)
# Abbreviations and numbers whose full stop ends no sentence. If it does end one, two sentences
# stay together, which does no harm.
_SHORTENED = re.compile(
    r"(?:^\s{0,3}[0-9]{1,3}|\b(?:[A-ZÀ-ÖØ-Þ]|e\.g|i\.e|cf|vs|ca|approx|al|pp?|[Vv]ols?|[Ee]ds?"
    r"|Mrs?|Ms|Dr|Prof|St|Nos?|Figs?|Gen|Col|Lt|Sgt|Capt|Rev|Hon|Jr|Sr))\Z",
    re.MULTILINE,
)
_LOOK_BACK_CHARS = 8


def sentences(text: str) -> Iterator[tuple[int, int]]:
    """Yield start and end of each sentence of a paragraph; only white space lies between."""
    begin = 0
    for end, start in sentence_ends(text):
        yield begin, end
        begin = start
    yield begin, len(text)


def sentence_ends(text: str) -> Iterator[tuple[int, int]]:
    """Yield where each sentence but the last ends, and where the next one begins."""
    for match in _END.finditer(text):
        mark, end, start = match.start(), match.end(match.lastindex or 0), match.end()
        if start == len(text) or text[start].islower():
            continue
        before = max(0, mark - _LOOK_BACK_CHARS)
        if text[mark] == "." and _SHORTENED.search(text, before, mark):
            continue
        yield end, start
