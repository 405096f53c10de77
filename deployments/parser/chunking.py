"""Text to chunks that end at headings, paragraphs or sentences, within a number of tokens."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, NamedTuple

from semantic_text_splitter import MarkdownSplitter, TextSplitter
from tokenizers import Tokenizer

from deployments.errors import TooLarge, Unprocessable
from deployments.types import Chunk

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from deployments.parser.content import Content

CHUNKER_VERSION = 1
"""To be raised with every change that cuts the same text elsewhere: stored ids hold it."""

# A heading or a stray sentence on its own would be found for every question that names it.
# Room is left for such a piece, of up to an eighth of a chunk, in the one that follows.
_SMALL_SHARE = 8
# A tokenizer may take a word of any length, a blob of base64 say, for one unknown token.
_MAX_CHARS_PER_TOKEN = 16


class _Piece(NamedTuple):
    start: int
    end: int
    tokens: int


class Chunker:
    """Cuts texts with the tokenizer of the model that will embed them."""

    def __init__(self, tokenizer_file: str, *, chunk_tokens: int, max_chunks: int) -> None:
        """Load a `tokenizer.json`.

        Args:
            tokenizer_file: path of a Hugging Face `tokenizer.json`.
            chunk_tokens: the most tokens in a chunk, special tokens not counted.
            max_chunks: the most chunks in a document.
        """
        self._tokenizer: Tokenizer = Tokenizer.from_file(tokenizer_file)
        # Either would make every count the one it was saved with.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._chunk_tokens = chunk_tokens
        self._small_tokens = chunk_tokens // _SMALL_SHARE
        room = chunk_tokens - self._small_tokens
        self._plain = TextSplitter.from_huggingface_tokenizer(self._tokenizer, room)
        self._markdown = MarkdownSplitter.from_huggingface_tokenizer(self._tokenizer, room)
        self._max_chars = chunk_tokens * _MAX_CHARS_PER_TOKEN
        self._by_chars = TextSplitter(self._max_chars)
        self._max_chunks = max_chunks

    def chunks(self, content: Content) -> tuple[Chunk, ...]:
        """Cut a text; raises TooLarge above `max_chunks`, Unprocessable if nothing is left."""
        pieces = self._joined(content.text, self._pieces(content))
        if len(pieces) > self._max_chunks:
            msg = (
                f"The file makes {len(pieces):,} passages; at most {self._max_chunks:,} "
                "are kept. Split it and try again."
            )
            raise TooLarge(msg)
        if not pieces:
            msg = "There is no text in this file."
            raise Unprocessable(msg, code="no_text")
        return tuple(
            Chunk(number, content.text[start:end], tokens, *_pages(content, start, end))
            for number, (start, end, tokens) in enumerate(pieces)
        )

    def count(self, text: str) -> int:
        """Count the tokens of a text, special tokens left out."""
        return len(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def _pieces(self, content: Content) -> Iterator[_Piece]:
        """Cut at the best places; every piece has something in it."""
        splitter = self._markdown if content.markdown else self._plain
        for start, text in splitter.chunk_indices(content.text):
            parts = [(0, text)]
            if len(text) > self._max_chars:
                parts = self._by_chars.chunk_indices(text)
            for offset, part in parts:
                if part.strip():
                    at = start + offset
                    yield _Piece(at, at + len(part), self.count(part))

    def _joined(self, text: str, pieces: Iterable[_Piece]) -> list[_Piece]:
        """Put small pieces with what follows, or at the end with what goes before."""
        joined: list[_Piece] = []
        for piece in pieces:
            if joined and joined[-1].tokens <= self._small_tokens:
                whole = self._whole(text, joined[-1], piece)
                if whole:
                    joined[-1] = whole
                    continue
            joined.append(piece)
        if len(joined) > 1 and joined[-1].tokens <= self._small_tokens:
            whole = self._whole(text, *joined[-2:])
            if whole:
                joined[-2:] = [whole]
        return joined

    def _whole(self, text: str, first: _Piece, second: _Piece) -> _Piece | None:
        """Make one of two neighbours, if it stays within a chunk."""
        stretch = text[first.start : second.end]
        tokens = self.count(stretch)
        if tokens > self._chunk_tokens or len(stretch) > self._max_chars:
            return None
        return _Piece(first.start, second.end, tokens)


def _pages(content: Content, start: int, end: int) -> tuple[int, int] | tuple[None, None]:
    """Give the numbers of the pages on which the first and the last character stand."""
    if content.page_starts is None:
        return None, None
    return bisect_right(content.page_starts, start), bisect_right(content.page_starts, end - 1)
