"""Split a text whose headings are known into blocks: every other line is one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deployments.parser.chunking.blocks import heading, lines_of
from deployments.parser.reading.tables import CELL_JOINT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deployments.parser.chunking.blocks import Block
    from deployments.parser.reading.content import Heading


def outlined_blocks(text: str, outline: Sequence[Heading]) -> list[Block]:
    """Return the headings, which may have several lines, and the lines between them."""
    headings = {each.start: each for each in outline}
    blocks: list[Block] = []
    covered = 0
    row = False  # whether the line before is a row of a table
    for line in lines_of(text):
        if line.start < covered:
            continue
        if found := headings.get(line.start):
            blocks.append(heading(found.start, found.end, found.level, found.title))
            covered, row = found.end, False
        else:
            begins = CELL_JOINT in line.text and (line.after_blank or not row)
            blocks.append(line.block(leads=begins))
            row = CELL_JOINT in line.text
    return blocks
