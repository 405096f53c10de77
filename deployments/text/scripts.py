"""Detect the scripts of texts, and those that the tokenizer of an embedding model knows."""

from __future__ import annotations

import unicodedata
from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection

# The English tokenizer of MiniLM has 27,800 tokens of Latin script, 494 of Chinese and at most 92
# of any other: single letters. Multilingual tokenizers have thousands of each script.
_MIN_TOKENS = 1000
_MAX_CACHED_CHARACTERS = 10_000
_MAX_JUDGED_CHARACTERS = 10_000  # of a text


@lru_cache(_MAX_CACHED_CHARACTERS)
def script_of(letter: str) -> str:
    """Return the script of a letter, as the first word of its Unicode name: "CYRILLIC"."""
    return unicodedata.name(letter, "").partition(" ")[0]


def known_scripts(tokenizer: Any) -> frozenset[str] | None:  # noqa: ANN401 - of transformers
    """Return the scripts of which a fast tokenizer has many tokens; None if that is unknown."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return None
    # Decode the tokens: some tokenizers write bytes in place of letters.
    tokens = backend.decode_batch([[number] for number in range(backend.get_vocab_size())])
    firsts = (next(filter(str.isalpha, token), "") for token in tokens)
    counts = Counter(script_of(letter) for letter in firsts if letter)
    known = frozenset(script for script, count in counts.items() if count >= _MIN_TOKENS)
    return known or None  # a small vocabulary, as of single bytes, knows all scripts


def known_share(text: str, scripts: Collection[str] | None) -> float:
    """Return the share of the letters of a text in the given scripts; 1 if they are None.

    A long text is judged by its beginning.
    """
    beginning = text[:_MAX_JUDGED_CHARACTERS]
    letters = [] if scripts is None else list(filter(str.isalpha, beginning))
    if scripts is None or not letters:
        return 1.0
    return sum(script_of(letter) in scripts for letter in letters) / len(letters)
