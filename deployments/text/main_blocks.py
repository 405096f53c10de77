"""Choose the blocks of a web page that a reader came for.

An extraction of the main text finds the article of a page, but drops what stands beside it: a
second section, a table of data, answers. So it is compared with all blocks of the page: those that
it holds are kept, and of the others those that are neither navigation nor teasers of other pages.
"""

from __future__ import annotations

import re
from collections import Counter
from itertools import groupby, islice
from typing import TYPE_CHECKING, Final

from deployments.text.landmarks import Zone

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from deployments.text.page_blocks import Block

# Scripts without spaces between words count by the character.
_UNSPACED: Final = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_TOKEN: Final = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")
_SHINGLE: Final = 4
"""Tokens compared at a time."""
_MAX_LINE_CHARS: Final = 50_000
_MAX_COMPARED_CHARS: Final = 2_000
"""Of a block: its beginning is compared."""
_MIN_COVERED: Final = 0.5
"""The share of a block's shingles that the extraction holds, if it holds the block."""
_MAX_LINK_SHARE: Final = 0.5
_WHOLE_LINK_SHARE: Final = 0.9
_MIN_PROSE_CHARS: Final = 40
_MIN_TEASERS: Final = 2
_MIN_TEASER_SHARE: Final = 0.25
_MAX_TEASER_CHARS: Final = 800
_MAX_SNIPPET_CHARS: Final = 400
_THREAD_CHARS: Final = 1_000
"""A shorter text with comments is read as the question of a thread."""
_MAIN_LEVEL: Final = 2
_QUESTION: Final = re.compile(r"[?\uff1f\u061f\u037e]\W*\Z")
_ANSWERS: Final = re.compile(
    r"\b(?:answers?|antwort(?:en)?|r\u00e9ponses?|respuestas?|respostas?|rispost[ae]|antwoord(?:en)?"
    r"|\u043e\u0442\u0432\u0435\u0442\w*)\b|\u56de\u7b54|\ub2f5\ubcc0|\u7b54\u6848",
    re.IGNORECASE,
)


class Extraction:
    """Lookup of blocks in the main text that an extraction has found."""

    def __init__(self, text: str) -> None:
        """Index the text by its short lines and by runs of tokens."""
        self._lines: set[tuple[str, ...]] = set()
        self._shingles: set[tuple[str, ...]] = set()
        for line in text.split("\n"):
            tokens = _tokens(line[:_MAX_LINE_CHARS])
            self._shingles.update(_shingles(tokens))
            if len(tokens) < _SHINGLE or "|" in line:
                self._lines.update(tuple(_tokens(cell)) for cell in line.split("|"))

    def holds(self, text: str) -> bool:
        """Tell whether most of a block is in the text, in any order of its parts."""
        tokens = _tokens(text[:_MAX_COMPARED_CHARS])
        if len(tokens) < _SHINGLE:
            return bool(tokens) and tuple(tokens) in self._lines
        found = [shingle in self._shingles for shingle in _shingles(tokens)]
        return sum(found) >= len(found) * _MIN_COVERED


def choose(blocks: Sequence[Block], main: str) -> list[Block]:
    """Return the blocks that are content, in order.

    Args:
        blocks: All visible blocks of the page.
        main: An extraction of its main text; may be empty.
    """
    extraction = Extraction(main)
    covered = [
        (block.zone is not Zone.NOISE or _is_prose(block)) and extraction.holds(block.text)
        for block in blocks
    ]
    _trim_links(blocks, covered)
    covered_chars = sum(
        len(b.text) for b, is_covered in zip(blocks, covered, strict=True) if is_covered
    )
    keep = list(covered)
    sections = [section for section in _sections(blocks, covered) if section]
    own_levels = {blocks[s[0]].level for s in sections if _heads_main_text(s, blocks, covered)}
    for section in sections:
        if _continues_list(section, blocks, covered):
            for index in section:
                keep[index] = True
        elif (
            not covered_chars
            or blocks[section[0]].level in own_levels
            or not _is_teaser(section, blocks, covered_chars)
        ):
            for index in section:
                keep[index] = _is_content(blocks[index])
    chars = sum(len(b.text) for b, kept in zip(blocks, keep, strict=True) if kept)
    comments = [i for i, b in enumerate(blocks) if b.zone is Zone.COMMENT and not covered[i]]
    if chars < _THREAD_CHARS or _asks(blocks):
        for index in comments:
            keep[index] = blocks[index].link_share < _MAX_LINK_SHARE
    _drop_repeated(blocks, keep, covered)
    return _with_headings(blocks, keep, covered)


def _drop_repeated(blocks: Sequence[Block], keep: list[bool], covered: Sequence[bool]) -> None:
    """Drop what a page shows again: captions of a gallery, a copy for small screens."""
    seen = {block.text for block, is_covered in zip(blocks, covered, strict=True) if is_covered}
    for index, block in enumerate(blocks):
        if keep[index] and not covered[index] and len(block.text) >= _MIN_PROSE_CHARS:
            keep[index] = block.text not in seen
            seen.add(block.text)


def _trim_links(blocks: Sequence[Block], covered: list[bool]) -> None:
    """Drop the short links before and after the main text of a page with little text."""
    for indices in (range(len(blocks)), range(len(blocks) - 1, -1, -1)):
        for index in indices:
            if covered[index]:
                if not _is_short_link(blocks[index]):
                    break
                covered[index] = False


def _is_short_link(block: Block) -> bool:
    is_link = block.zone is Zone.LINKS and block.link_share > _WHOLE_LINK_SHARE
    return is_link and len(_tokens(block.text)) < _SHINGLE


def is_complete(chosen: Sequence[Block], blocks: Sequence[Block]) -> bool:
    """Tell whether the chosen blocks are all but navigation, of which there is some."""
    left = Counter(block.zone for block in blocks)
    left.subtract(block.zone for block in chosen)
    return (
        any(block.link_share < _MAX_LINK_SHARE for block in chosen)
        and left[Zone.NOISE] + left[Zone.LINKS] > 0
        and not left[Zone.CONTENT] + left[Zone.COMMENT]
    )


def _asks(blocks: Sequence[Block]) -> bool:
    """Tell whether the main heading is a question, or a heading of the comments names answers."""
    main = (b for b in blocks if b.zone is Zone.CONTENT and 0 < b.level <= _MAIN_LEVEL)
    # The first may be the name of the site.
    if any(_QUESTION.search(block.text) for block in islice(main, 2)):
        return True
    return any(
        block.zone is Zone.COMMENT and block.level and _ANSWERS.search(block.text)
        for block in blocks
    )


def _is_prose(block: Block) -> bool:
    return block.link_share < _MAX_LINK_SHARE and len(block.text) >= _MIN_PROSE_CHARS


def _is_content(block: Block) -> bool:
    if not _TOKEN.search(block.text) or block.zone in {Zone.NOISE, Zone.COMMENT}:
        return False
    is_linked = block.link_share > _MAX_LINK_SHARE
    if block.zone is Zone.LINKS:
        return block.level == 1 and not is_linked
    return block.level > 0 or block.in_list or not is_linked


def _sections(blocks: Sequence[Block], covered: Sequence[bool]) -> Iterator[list[int]]:
    """Split the blocks that are not covered at headings and at those that are."""
    number = 0

    def section(index: int) -> int:
        nonlocal number
        number += covered[index] or blocks[index].level > 0
        return number

    for _, indices in groupby(range(len(blocks)), section):
        yield [index for index in indices if not covered[index]]


def _heads_main_text(
    section: Sequence[int], blocks: Sequence[Block], covered: Sequence[bool]
) -> bool:
    """Tell whether a section is a heading, and perhaps a byline, of main text."""
    after = section[-1] + 1
    return (
        blocks[section[0]].level > 0
        and blocks[section[0]].zone is not Zone.NOISE
        and after < len(blocks)
        and covered[after]
        and not blocks[after].level
    )


def _continues_list(
    section: Sequence[int], blocks: Sequence[Block], covered: Sequence[bool]
) -> bool:
    """Tell whether a section is items of a list whose items before and after are main text."""
    if section[0] == 0 or section[-1] == len(blocks) - 1:
        return False
    around = section[0] - 1, section[-1] + 1
    return all(blocks[index].in_list for index in (*around, *section)) and all(
        covered[index] for index in around
    )


def _is_teaser(section: Sequence[int], blocks: Sequence[Block], covered_chars: int) -> bool:
    """Tell whether a section names other pages: a heading that is a link, or several links."""
    group = [blocks[index] for index in section if blocks[index].zone is not Zone.NOISE]
    if not group:
        return False
    size = sum(len(block.text) for block in group)
    if group[0].level and group[0].link_share > _MAX_LINK_SHARE:
        return size < min(_MAX_TEASER_CHARS, covered_chars / 4)
    names = [block for block in group if block.link_share > _MAX_LINK_SHARE or block.leads]
    snippets = (len(block.text) for block in group if block not in names)
    return len(names) >= max(_MIN_TEASERS, len(group) * _MIN_TEASER_SHARE) and (
        max(snippets, default=0) <= _MAX_SNIPPET_CHARS
    )


def _with_headings(
    blocks: Sequence[Block], keep: Sequence[bool], covered: Sequence[bool]
) -> list[Block]:
    """Return the kept blocks, without headings that nothing follows."""
    chosen: list[Block] = []
    below = 7  # the highest level of heading that what follows belongs to
    for index in range(len(blocks) - 1, -1, -1):
        block = blocks[index]
        if not keep[index]:
            continue
        if not block.level:
            below = 0
        elif not covered[index] and block.level > 1 and block.level <= below:
            continue
        else:
            below = block.level
        chosen.append(block)
    return chosen[::-1]


def _tokens(text: str) -> list[str]:
    return _TOKEN.findall(text.lower())


def _shingles(tokens: Sequence[str]) -> Iterator[tuple[str, ...]]:
    return zip(*(tokens[start:] for start in range(_SHINGLE)), strict=False)
