"""Finding the web addresses a person wrote into a prompt."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from linkify_it import LinkifyIt

if TYPE_CHECKING:
    from collections.abc import Sequence


@cache
def _finder() -> LinkifyIt:
    # Only what was written with its scheme: "see readme.md" names no page.
    return LinkifyIt({}, {"fuzzy_link": False, "fuzzy_email": False, "fuzzy_ip": False})


def find_urls(text: str) -> list[str]:
    """Return the http and https addresses in order, each once, without what surrounds them."""
    if "://" not in text:
        return []
    found = _finder().match(text) or []
    return list(dict.fromkeys(m.url for m in found if m.schema in {"http:", "https:"}))


def without_urls(text: str, urls: Sequence[str]) -> str:
    """Return the text with its web addresses taken out: what is left is what is asked."""
    if urls:
        # Longest first: one may be the beginning of another.
        either = "|".join(map(re.escape, sorted(urls, key=len, reverse=True)))
        text = re.sub(either, " ", text)
    return " ".join(text.split())
