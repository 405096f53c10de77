"""Stretches of text put together into chunks: full, of even length, cut at good places."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, NamedTuple

from deployments.parser.chunking.blocks import Break
from deployments.parser.chunking.sentences import sentences

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from deployments.parser.chunking.blocks import Block

# Shorter stretches, be it "No." or the lines of a list, are not told apart.
_TINY_CHARS = 16

# The price of a chunk is the square of the share of it that is empty, so that a few even
# chunks are cheapest; to that come these.
_CUT_PRICES = {
    Break.WORD: 1.0,
    Break.SENTENCE: 0.2,
    Break.LINE: 0.05,
    Break.PARAGRAPH: 0.0,
    Break.SECTION: -0.1,
}
# A part of a paragraph together with something else is about two things.
_MIXED_PRICE = 0.8
# A heading or a stray sentence on its own would be found for every question that names it.
_SMALL_SHARE = 0.2
_SMALL_PRICE = 1.0
# A heading or the head of a table at the end of a chunk, what it is for in the next one.
_PARTED_PRICE = 4.0


class Unit(NamedTuple):
    """A stretch that is not cut within; `size` is its share of a chunk, in tokens."""

    start: int
    end: int
    before: Break
    leads: bool
    size: int = 0


def split_units(text: str, blocks: Iterable[Block]) -> list[Unit]:
    """Split blocks at their sentences; tiny neighbours are one unit, unless a heading begins."""
    units: list[Unit] = []
    for block in blocks:
        inside = text[block.start : block.end]
        spans = [(0, len(inside))] if block.level else sentences(inside)
        for begin, until in spans:
            start, end = block.start + begin, block.start + until
            before = Break.SENTENCE if begin else block.before
            unit = Unit(start, end, before, leads=block.leads and end == block.end)
            last = units[-1] if units else None
            if last and end - last.start <= _TINY_CHARS and (last.leads or not unit.leads):
                units[-1] = last._replace(end=end, leads=unit.leads)
            else:
                units.append(unit)
    return units


def pack(units: Sequence[Unit], limit: int) -> list[Sequence[Unit]]:
    """Put neighbours together at the least price in all; no chunk's sizes exceed `limit`."""
    lowest = [0.0]  # the price of the first n units
    begins = [0]  # where the last of their chunks begins
    inside = [unit.before < Break.LINE for unit in units] + [False]
    # A heading and its text are one thing, whatever lies between them.
    parts = [
        unit.before >= Break.LINE and not (place and units[place - 1].leads)
        for place, unit in enumerate(units)
    ]
    for end in range(1, len(units) + 1):
        at_end = 0.0
        if end < len(units):
            at_end = _CUT_PRICES[units[end].before] + _PARTED_PRICE * units[end - 1].leads
        least, best = inf, end - 1
        size, mixed = 0, False
        for start in range(end - 1, -1, -1):
            size += units[start].size
            if size > limit and start < end - 1:
                break
            share = size / limit
            price = lowest[start] + (1 - share) ** 2
            if share < _SMALL_SHARE:
                price += _SMALL_PRICE
            if mixed and (inside[start] or inside[end]):
                price += _MIXED_PRICE
            if price < least:
                least, best = price, start
            mixed = mixed or parts[start]
        lowest.append(least + at_end)
        begins.append(best)
    chunks = []
    end = len(units)
    while end:
        chunks.append(units[begins[end] : end])
        end = begins[end]
    return chunks[::-1]
