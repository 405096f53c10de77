"""Section names: the path of headings above a position in a text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deployments.parser.reading.content import MAX_SECTION_CHARS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from deployments.parser.chunking.blocks import Block

_JOINT = " > "


def sections_at(starts: Iterable[int], blocks: Sequence[Block], title: str) -> list[str]:
    """Return the section names of some positions.

    Args:
        starts: ascending offsets. A heading that begins at an offset is not above it.
        blocks: the blocks of the text.
        title: the title of the document, which is left out.

    Returns:
        The headings above each position, outermost first, joined by " > "; outer ones are
        dropped to stay within `MAX_SECTION_CHARS`.
    """
    headings = [block for block in blocks if block.level]
    path: list[Block] = []
    sections = []
    read = 0
    for start in starts:
        while read < len(headings) and headings[read].start <= start:
            heading = headings[read]
            while path and path[-1].level >= heading.level:
                path.pop()
            path.append(heading)
            read += 1
        sections.append(_joined([h.title for h in path if h.start < start], title))
    return sections


def _joined(headings: Sequence[str], title: str) -> str:
    parts = [heading for heading in headings if heading and not _begins(title, heading)]
    while len(parts) > 1 and len(_JOINT.join(parts)) > MAX_SECTION_CHARS:
        parts = parts[1:]
    return _JOINT.join(parts)[:MAX_SECTION_CHARS].rstrip()


def _begins(title: str, heading: str) -> bool:
    """Tell whether the title begins with the heading, as in "Heading - Site"."""
    return f"{title} ".casefold().startswith(f"{heading} ".casefold())
