"""Combine units of text into chunks by dynamic programming over a cost function.

The cheapest split has full chunks of even length, cut at good boundaries.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, NamedTuple

from deployments.parser.chunking.blocks import Break
from deployments.text.sentences import sentences

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from deployments.parser.chunking.blocks import Block

# Shorter neighbours, such as "No." or the lines of a list, are merged into one unit.
_TINY_CHARS = 16

# A chunk costs the square of its empty share, which favours few and even chunks. These costs
# of the boundary at its end are added.
_CUT_COSTS = {
    Break.WORD: 1.0,
    Break.SENTENCE: 0.2,
    Break.LINE: 0.05,
    Break.PARAGRAPH: 0.0,
    Break.SECTION: -0.1,
}
# Part of a paragraph together with another block mixes two subjects.
_MIXED_COST = 0.8
# A heading or sentence on its own would match every question that mentions it.
_SMALL_SHARE = 0.2
_SMALL_COST = 1.0
# A heading or the head of a table is separated from what it introduces.
_SEPARATED_COST = 4.0


class Unit(NamedTuple):
    """A span of text that is never cut inside; `size` is in tokens."""

    start: int
    end: int
    before: Break
    leads: bool
    size: int = 0


def split_units(text: str, blocks: Iterable[Block]) -> list[Unit]:
    """Split blocks into sentences; merge tiny neighbours, but not into a following heading."""
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
    """Return the cheapest split into chunks of at most `limit` tokens."""
    lowest = [0.0]  # the lowest cost of the first n units
    begins = [0]  # the start of the last chunk in that split
    inside = [unit.before < Break.LINE for unit in units] + [False]
    # A heading and its text belong together, whatever boundary lies between them.
    parts = [
        unit.before >= Break.LINE and not (place and units[place - 1].leads)
        for place, unit in enumerate(units)
    ]
    for end in range(1, len(units) + 1):
        at_end = 0.0
        if end < len(units):
            at_end = _CUT_COSTS[units[end].before] + _SEPARATED_COST * units[end - 1].leads
        least, best = inf, end - 1
        size, mixed = 0, False
        for start in range(end - 1, -1, -1):
            size += units[start].size
            if size > limit and start < end - 1:
                break
            share = size / limit
            cost = lowest[start] + (1 - share) ** 2
            if share < _SMALL_SHARE:
                cost += _SMALL_COST
            if mixed and (inside[start] or inside[end]):
                cost += _MIXED_COST
            if cost < least:
                least, best = cost, start
            mixed = mixed or parts[start]
        lowest.append(least + at_end)
        begins.append(best)
    chunks = []
    end = len(units)
    while end:
        chunks.append(units[begins[end] : end])
        end = begins[end]
    return chunks[::-1]
