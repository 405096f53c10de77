"""Finding the web addresses a person wrote into a prompt."""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from ipaddress import AddressValueError, IPv6Address
from typing import TYPE_CHECKING

from linkify_it import LinkifyIt

if TYPE_CHECKING:
    from collections.abc import Sequence

_IPV6_HOST = re.compile(
    r"(?P<before>https?://(?:[^\s/?#@\[\]]{1,100}@)?)"
    r"\[(?P<address>[0-9a-f:.]{2,45})(?:%[\w.~%-]{1,40})?\]",
    re.IGNORECASE,
)


_START = re.compile(r"https?://", re.IGNORECASE)
_WORD = re.compile(r"[0-9A-Za-z]")
# Scripts that are written without spaces, and Hangul, whose particles follow a word directly.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u3005-\u3007\u3040-\u318f"
    "\u31f0-\u31ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
_PICTURES = "\U0001f000-\U0001faff"
_INSIDE = "\u00b7\u200c\u200d\u30fb"
"""Middle dots, and the joiners of letters."""
_PAIRED = frozenset("'_~")
"""Marks of quotations and emphasis that addresses may contain."""


@cache
def _finder() -> LinkifyIt:
    # Only what was written with its scheme: "see readme.md" names no page.
    return LinkifyIt({}, {"fuzzy_link": False, "fuzzy_email": False, "fuzzy_ip": False})


@cache
def _url_end_pattern() -> re.Pattern[str]:
    """Return a pattern of what ends an address.

    That is white space; quotes, brackets and other punctuation of any script outside ASCII, except
    dashes and middle dots between letters; asterisks of emphasis; and letters of a script without
    spaces directly behind an ASCII letter or digit ("/target" in "/targetを"), which elsewhere
    belong to the address ("/wiki/京都").
    """
    kinds = frozenset(("Cc", "Cf", "Pe", "Pf", "Pi", "Po", "Ps", "Sc", "Sk", "Sm", "So"))
    marks = "".join(
        char
        for char in map(chr, range(0x80, 0x10000))
        if unicodedata.category(char) in kinds and char not in _INSIDE
    )
    return re.compile(
        rf"[\s<>\"`|\\^{{}}\u2014\u2015{marks}{_PICTURES}]|\*+(?![0-9A-Za-z/])"
        rf"|[:\u2010-\u2013\u00b7\u30fb]+(?!\S)|(?<=[0-9A-Za-z])[{_UNSPACED}]"
    )


def find_urls(text: str) -> list[str]:
    """Return the http and https addresses in order, each once, without what surrounds them."""
    if "://" not in text:
        return []
    # linkify-it knows no host in brackets: it reads a name of the same length in its place.
    readable = _isolate_urls(_IPV6_HOST.sub(_named, text))
    found = _finder().match(readable) or []
    return list(
        dict.fromkeys(
            text[m.index : m.last_index] for m in found if m.schema.lower() in {"http:", "https:"}
        )
    )


def _isolate_urls(text: str) -> str:
    """Set each address apart from its neighbours: those become spaces, so that all places stay."""
    chars = list(text)
    after = 0
    for start in _START.finditer(text):
        if start.start() < after:  # in another address
            continue
        before = text[start.start() - 1] if start.start() > after else " "
        if _WORD.match(before):
            continue
        ended = _url_end_pattern().search(text, start.end())
        after = ended.start() if ended else len(text)
        if before in _PAIRED:
            closed = text.rfind(before, start.end(), after)
            while closed > start.end() and text[closed - 1] == before:
                closed -= 1
            after = closed if closed > 0 else after
        if start.start():
            chars[start.start() - 1] = " "
        if after < len(text):
            chars[after] = " "
    return "".join(chars)


def _named(host: re.Match[str]) -> str:
    try:
        IPv6Address(host["address"])
    except AddressValueError:
        return host[0]
    before = host["before"]
    return before + "a" * (len(host[0]) - len(before))


def without_urls(text: str, urls: Sequence[str]) -> str:
    """Return the text with its web addresses taken out: what is left is what is asked."""
    if urls:
        # Longest first: one may be the beginning of another.
        either = "|".join(map(re.escape, sorted(urls, key=len, reverse=True)))
        text = re.sub(either, " ", text)
    return " ".join(text.split())
