"""Finding the web addresses a person wrote into a prompt."""

from __future__ import annotations

from functools import cache

from linkify_it import LinkifyIt


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


def without_urls(text: str) -> str:
    """Return the text with its web addresses taken out: what is left is what is asked."""
    for url in find_urls(text):
        text = text.replace(url, " ")
    return " ".join(text.split())
