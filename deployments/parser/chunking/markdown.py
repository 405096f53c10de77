"""Split Markdown into blocks: those of CommonMark, and tables."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from markdown_it import MarkdownIt

from deployments.parser.chunking.blocks import heading, lines_of
from deployments.parser.reading.markdown import FRONT_MATTER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markdown_it.token import Token

    from deployments.parser.chunking.blocks import Block

_LINK: Final = re.compile(r"!?\[([^\[\]]{0,200})\]\([^()\s]{0,500}\)")
_MAX_TITLE_SOURCE_CHARS: Final = 1000
_MAX_NESTING: Final = 20  # quotes and lists; what lies deeper is read as text
# A longer paragraph above a line of dashes is taken for a paragraph above a rule.
_MAX_SETEXT_CHARS: Final = 200


def markdown_blocks(text: str) -> list[Block]:
    """Return headings and paragraphs whole; code, front matter and rows of tables by line."""
    front = FRONT_MATTER.match(text)
    front_end = front.end() if front else 0
    layout = _Layout(first_line=text.count("\n", 0, front_end))
    layout.read(_block_parser().parse(text[front_end:]))
    blocks: list[Block] = []
    in_table = False
    for line in lines_of(text):
        number = line.number
        continues = number in layout.continuations and not line.after_blank
        in_table = in_table and continues
        if continues and not (in_table or _is_row(line.text)):
            in_table = _is_table_rule(line.text)
            leads = in_table or blocks[-1].level > 0 or line.text.endswith(":")
            blocks[-1] = blocks[-1]._replace(end=line.end, leads=leads)
        elif title := layout.headings.get(number):
            blocks.append(heading(line.start, line.end, title.level, title.text))
        else:
            blocks.append(line.block())
    return blocks


class _Title(NamedTuple):
    level: int
    text: str


@dataclass(slots=True)
class _Layout:
    """What each line of a document is, by its number; other lines are blocks of their own."""

    first_line: int
    headings: dict[int, _Title] = field(default_factory=dict)
    continuations: set[int] = field(default_factory=set)

    def read(self, tokens: Sequence[Token]) -> None:
        """Take in the tokens of a block parser."""
        for place, token in enumerate(tokens):
            if token.map is None:
                continue
            start, end = (self.first_line + number for number in token.map)
            match token.type:
                case "heading_open":
                    self._read_heading(token, tokens[place + 1].content, start, end)
                case "paragraph_open" | "html_block":
                    self.continuations.update(range(start + 1, end))

    def _read_heading(self, token: Token, content: str, start: int, end: int) -> None:
        is_setext = token.markup in {"-", "="}
        if is_setext and len(content) > _MAX_SETEXT_CHARS:
            self.continuations.update(range(start + 1, end - 1))
            return
        self.continuations.update(range(start + 1, end))
        if token.level == 0:  # one in a quote or a list item heads no section
            title = _LINK.sub(r"\1", content[:_MAX_TITLE_SOURCE_CHARS])
            self.headings[start] = _Title(int(token.tag[1:]), title)


def _block_parser() -> MarkdownIt:
    """Return a parser of blocks only: inline rules can take long on hostile text."""
    parser = MarkdownIt("commonmark", {"maxNesting": _MAX_NESTING})
    parser.core.ruler.enableOnly(["normalize", "block"])
    parser.block.ruler.disable("reference")  # it reads inline syntax, and yields no token
    return parser


def _is_row(line: str) -> bool:
    """Tell whether a line is a row of a table, even of one that lacks its rule."""
    return line.lstrip().startswith("|") and not _is_table_rule(line)


def _is_table_rule(line: str) -> bool:
    """Tell whether a line is the rule below the head of a table."""
    return "|" in line and "-" in line and set(line) <= set("|-: \t")
