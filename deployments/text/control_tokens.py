"""Neutralise the control tokens of a chat template in text from outside."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    _Trie = dict[str, "_Trie"]

SEPARATOR: Final = "\u200b"  # ZERO WIDTH SPACE
_LEAST_CHARS: Final = 2  # a token of one character cannot be told from text
_END: Final = ""


class ControlTokens:
    """A set of tokens that text from outside must not contain.

    A separator is inserted after the first character of each occurrence, overlapping ones
    included. Nothing is removed, so that no new occurrence is made, and with an invisible
    separator a person reads the same characters as before.
    """

    def __init__(self, tokens: Iterable[str], separator: str = SEPARATOR) -> None:
        """Compile the tokens; those that are blank or have one character are left out."""
        self._tokens = frozenset(
            token for token in tokens if len(token) >= _LEAST_CHARS and token.strip()
        )
        self._separated = rf"\g<0>{separator}"
        self._starts = re.compile(_pattern(self._tokens)) if self._tokens else None

    def __iter__(self) -> Iterator[str]:
        return iter(self._tokens)

    def neutral(self, text: str) -> str:
        """Return the text without any of the tokens."""
        return self._starts.sub(self._separated, text) if self._starts else text


def _pattern(tokens: Iterable[str]) -> str:
    """Match the first character of each occurrence.

    As a trie, so that the time for each character depends on the length of the tokens and not on
    their number, which is thousands in some tokenizers.
    """
    trie: _Trie = {}
    for token in tokens:
        node = trie
        for character in token:
            node = node.setdefault(character, {})
        node[_END] = {}
    return "|".join(
        f"{re.escape(first)}(?={_rest(below)})" for first, below in sorted(trie.items())
    )


def _rest(node: Mapping[str, Any]) -> str:
    if _END in node:  # a longer token that begins the same way is found with the shorter one
        return ""
    branches = [re.escape(character) + _rest(below) for character, below in sorted(node.items())]
    return branches[0] if len(branches) == 1 else f"(?:{'|'.join(branches)})"
