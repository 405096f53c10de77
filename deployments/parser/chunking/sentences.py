"""Sentence boundaries, for scripts with punctuation at the end of a sentence."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# Includes closing quotes, brackets and note numbers; full-width marks need no space after them.
_END = re.compile(
    r"([.!?…؟\u06d4।][\"'”\u2019»)\]]{0,3}(?:\[[0-9]{1,3}\]){0,3})\s+"
    r"|([。\uff01\uff1f]+[\"”\u2019」』\uff09]{0,3})\s*"
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
    for match in _END.finditer(text):
        mark, end, start = match.start(), match.end(match.lastindex or 0), match.end()
        if start == len(text) or text[start].islower():
            continue
        before = max(0, mark - _LOOK_BACK_CHARS)
        if text[mark] == "." and _SHORTENED.search(text, before, mark):
            continue
        yield begin, end
        begin = start
    yield begin, len(text)
