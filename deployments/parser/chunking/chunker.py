"""Split a text into chunks that end at headings, paragraphs or sentences."""

from __future__ import annotations

import re
from bisect import bisect_right
from functools import cached_property, lru_cache
from itertools import pairwise
from math import ceil
from typing import TYPE_CHECKING, NamedTuple

from semantic_text_splitter import TextSplitter
from tokenizers import Tokenizer

from deployments.errors import TooLarge, Unprocessable
from deployments.parser.chunking.blocks import Break
from deployments.parser.chunking.markdown import markdown_blocks
from deployments.parser.chunking.outlined import outlined_blocks
from deployments.parser.chunking.packing import Unit, pack, split_units
from deployments.parser.chunking.plain_text import plain_blocks
from deployments.parser.chunking.sections import sections_at
from deployments.parser.chunking.table_heads import TableHeads
from deployments.types import Chunk

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from deployments.parser.chunking.blocks import Block
    from deployments.parser.reading.content import Content

CHUNKER_VERSION = 5
"""Raise it with every change that cuts a text at other places: stored ids depend on it."""

# A sentence longer than a chunk is cut into quarters of a chunk, which fill chunks evenly.
_PIECES_A_CHUNK = 4
# A tokenizer may count a word of any length, such as base64 data, as one unknown token.
_MAX_CHARS_PER_TOKEN = 16
# So it does a whole line of Thai, Lao, Burmese or Khmer, which have no spaces between words.
_SPACELESS = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]+")
_MAX_SPACELESS_PER_TOKEN = 6
# The splitters' time grows with the square of a text's length.
_STRETCH = re.compile(r"\S(?:.{0,1998}\S)?(?!\S)|\S.{0,1999}", re.DOTALL)
_SPACES = re.compile(r"\s+")
_BATCH = 1000
_MAX_HEAD_SHARE = 0.4  # of a chunk: a longer head of a table is not repeated
# The splitter takes a second for 50,000 characters: further ones are cut without it.
_MAX_FINE_STRETCHES = 50


def chunker_name(chunk_tokens: int, overlap_tokens: int = 0) -> str:
    """Name the version and the strategy of a chunker."""
    name = f"{CHUNKER_VERSION}.{chunk_tokens}"
    return f"{name}.{overlap_tokens}" if overlap_tokens else name


class _Piece(NamedTuple):
    """A chunk's place in the text; its first `overlap` characters repeat what is before it.

    A `head` of a table is put in front of it.
    """

    start: int
    end: int
    tokens: int
    overlap: int = 0
    head: str = ""


@lru_cache(maxsize=1)
def load_tokenizer(tokenizer_file: str) -> Tokenizer:
    """Load a `tokenizer.json`, once; a process that is forked later has it already."""
    tokenizer: Tokenizer = Tokenizer.from_file(tokenizer_file)
    # A saved truncation or padding would falsify every count.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


class Chunker:
    """Split texts, counting tokens with the tokenizer of the embedding model."""

    def __init__(
        self, tokenizer_file: str, *, chunk_tokens: int, max_chunks: int, overlap_tokens: int = 0
    ) -> None:
        """Load a `tokenizer.json`.

        Args:
            tokenizer_file: path of a Hugging Face `tokenizer.json`.
            chunk_tokens: the most tokens in a chunk, special tokens not counted.
            max_chunks: the most chunks in a document.
            overlap_tokens: how many of the tokens repeat the end of the chunk before.
        """
        self.name = chunker_name(chunk_tokens, overlap_tokens)
        self._tokenizer = load_tokenizer(tokenizer_file)
        self._max_tokens, self._overlap_tokens = chunk_tokens, overlap_tokens
        chunk_tokens -= overlap_tokens  # of a chunk's own text
        self._chunk_tokens = chunk_tokens
        self._by_chars = TextSplitter(chunk_tokens * _MAX_CHARS_PER_TOKEN // _PIECES_A_CHUNK)
        self._max_chunks = max_chunks
        self._stretches = 0

    def chunks(self, content: Content) -> tuple[Chunk, ...]:
        """Split a text; raise TooLarge above `max_chunks`, Unprocessable if it is blank."""
        text = content.text
        self._stretches = 0
        blocks = _blocks(content)
        units = list(self._measured(text, split_units(text, blocks)))
        if not units:
            msg = "There is no text in this file."
            raise Unprocessable(msg, code="no_text")
        # A lower bound, checked before the work of packing.
        self._check_number(-(-sum(unit.size for unit in units) // self._chunk_tokens))
        heads = TableHeads(text)
        pieces = [
            piece
            for chunk in pack(units, self._chunk_tokens)
            for piece in self._pieces(text, chunk, heads)
        ]
        self._check_number(len(pieces))
        gaps = ["", *(_separator(text[a.end : b.start]) for a, b in pairwise(pieces))]
        sections = sections_at([piece.start for piece in pieces], blocks, content.title)
        if self._overlap_tokens:
            pieces = [pieces[0], *(self._overlapping(text, *pair) for pair in pairwise(pieces))]
        pages = [_pages(content, piece.start, piece.end) for piece in pieces]
        recognised = content.all_ocr_spans()
        return tuple(
            Chunk(
                number,
                piece.head + text[piece.start : piece.end],
                piece.tokens,
                first,
                last,
                section,
                gap,
                len(piece.head) + piece.overlap,
                ocr=_overlaps(recognised, piece.start, piece.end),
            )
            for number, (piece, (first, last), section, gap) in enumerate(
                zip(pieces, pages, sections, gaps, strict=True)
            )
        )

    def _overlapping(self, text: str, before: _Piece, piece: _Piece) -> _Piece:
        """Begin a piece with the last words of the one before, as far as they fit."""
        if piece.head:
            return piece
        codes = self._tokenizer.encode(text[before.start : before.end], add_special_tokens=False)
        starts = [before.start + left for left, _ in codes.offsets]
        room = min(self._overlap_tokens, len(starts))
        while room > 0:
            start = _word_start(text, starts[-room], before.end)
            whole = text[start : piece.end]
            tokens = self.count(whole)
            if _size(tokens, whole) <= self._max_tokens:
                return _Piece(start, piece.end, tokens, piece.start - start)
            room //= 2  # the white space has tokens, or a token has many characters
        return piece

    @cached_property
    def _by_tokens(self) -> TextSplitter:
        """Copy the tokenizer, which takes longer than all else for a short text."""
        return TextSplitter.from_huggingface_tokenizer(
            self._tokenizer, self._chunk_tokens // _PIECES_A_CHUNK
        )

    def count(self, text: str) -> int:
        """Count the tokens of a text without special tokens."""
        return len(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def _check_number(self, chunks: int) -> None:
        if chunks > self._max_chunks:
            msg = (
                f"The file makes {chunks:,} passages or more; at most {self._max_chunks:,} "
                "are kept. Split it and try again."
            )
            raise TooLarge(msg)

    def _measured(self, text: str, units: Sequence[Unit]) -> Iterator[Unit]:
        """Yield units with their sizes; split those that do not fit beside their heading."""
        led = 0  # the size of the heading or lead above a unit
        for first in range(0, len(units), _BATCH):
            batch = units[first : first + _BATCH]
            texts = [text[unit.start : unit.end] for unit in batch]
            codes = self._tokenizer.encode_batch(texts, add_special_tokens=False)
            for unit, code in zip(batch, codes, strict=True):
                size = _size(len(code.ids), text[unit.start : unit.end])
                room = self._chunk_tokens - led
                if size <= (self._chunk_tokens if unit.leads else room):
                    yield unit._replace(size=size)
                else:
                    yield from self._in_pieces(text, unit)
                led = size + (led if size <= room else 0) if unit.leads else 0

    def _in_pieces(self, text: str, unit: Unit) -> Iterator[Unit]:
        before = unit.before
        for start, part in self._parts(text[unit.start : unit.end], unit.start):
            if part.strip():
                size, end = _size(self.count(part), part), start + len(part)
                yield Unit(start, end, before, unit.leads and end == unit.end, size)
                before = Break.WORD

    def _parts(self, text: str, start: int) -> Iterator[tuple[int, str]]:
        for stretch in _STRETCH.finditer(text):
            self._stretches += 1
            fine = self._stretches <= _MAX_FINE_STRETCHES
            for place, words in (
                self._by_tokens.chunk_indices(stretch[0]) if fine else self._coarsely(stretch[0])
            ):
                for offset, part in self._by_chars.chunk_indices(words):
                    yield start + stretch.start() + place + offset, part

    def _coarsely(self, text: str) -> Iterator[tuple[int, str]]:
        """Cut at the last space before a piece is full, or inside a word that fills it alone."""
        most = self._chunk_tokens // _PIECES_A_CHUNK
        begin = tokens = space = since_space = 0
        for left, _ in self._tokenizer.encode(text, add_special_tokens=False).offsets:
            if left > begin and text[left - 1].isspace():
                space, since_space = left, 0
            if tokens == most:
                cut = space if space > begin else left
                yield begin, text[begin:cut]
                begin, tokens = cut, since_space if cut == space else 0
            tokens += 1
            since_space += 1
        yield begin, text[begin:]

    def _pieces(self, text: str, units: Sequence[Unit], heads: TableHeads) -> Iterator[_Piece]:
        """Yield some units as one chunk, or as several if too many tokens are added.

        White space adds some, and the head of a table that they are rows of.
        """
        start, end = units[0].start, units[-1].end
        head = heads.above(start)
        if head and self.count(head) > self._chunk_tokens * _MAX_HEAD_SHARE:
            head = ""
        for front in (head, ""):
            whole = front + text[start:end]
            tokens = self.count(whole)
            fits = _size(tokens, whole) <= self._chunk_tokens
            if fits or len(units) > 1 or not front:
                break
        if len(units) > 1 and not fits:
            middle = len(units) // 2
            yield from self._pieces(text, units[:middle], heads)
            yield from self._pieces(text, units[middle:], heads)
        else:
            yield _Piece(start, end, tokens, head=front)


def _blocks(content: Content) -> list[Block]:
    if content.outline is not None:
        return outlined_blocks(content.text, content.outline)
    return markdown_blocks(content.text) if content.markdown else plain_blocks(content.text)


def _size(tokens: int, text: str) -> int:
    """Return the number of tokens, or the least that the characters of a text count for."""
    spaceless = 0 if text.isascii() else sum(map(len, _SPACELESS.findall(text)))
    others = len(text) - spaceless
    return max(tokens, ceil(others / _MAX_CHARS_PER_TOKEN + spaceless / _MAX_SPACELESS_PER_TOKEN))


def _word_start(text: str, start: int, end: int) -> int:
    """Return where the word at `start` begins, or else the next one; `start` if none does."""
    if start == 0 or text[start - 1].isspace():
        return start
    space = _SPACES.search(text, start, end)
    return start if space is None or space.end() == end else space.end()


def _separator(gap: str) -> str:
    """Normalize the white space between two chunks: a blank line, a line break or a space."""
    if "\n" in gap:
        return "\n" * min(gap.count("\n"), 2)
    return " " if gap else ""


def _overlaps(spans: Sequence[tuple[int, int]], start: int, end: int) -> bool:
    """Tell whether a part of the text shares characters with one of some others, in order."""
    place = bisect_right(spans, (start, start))
    near = spans[max(place - 1, 0) : place + 1]
    return any(first < end and start < last for first, last in near)


def _pages(content: Content, start: int, end: int) -> tuple[int, int] | tuple[None, None]:
    """Return the page numbers of the first and the last character."""
    if content.page_starts is None:
        return None, None
    return bisect_right(content.page_starts, start), bisect_right(content.page_starts, end - 1)
