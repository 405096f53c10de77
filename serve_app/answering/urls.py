"""Finding the web addresses a person wrote into a prompt."""

from __future__ import annotations

import re
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


@cache
def _finder() -> LinkifyIt:
    # Only what was written with its scheme: "see readme.md" names no page.
    return LinkifyIt({}, {"fuzzy_link": False, "fuzzy_email": False, "fuzzy_ip": False})


def find_urls(text: str) -> list[str]:
    """Return the http and https addresses in order, each once, without what surrounds them."""
    if "://" not in text:
        return []
    # linkify-it knows no host in brackets: it reads a name of the same length in its place.
    readable = _IPV6_HOST.sub(_named, text)
    found = _finder().match(readable) or []
    return list(
        dict.fromkeys(
            text[m.index : m.last_index] for m in found if m.schema.lower() in {"http:", "https:"}
        )
    )


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
