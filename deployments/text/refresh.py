"""Redirects that a web page itself asks for (`<meta http-equiv="refresh">`)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import urldefrag, urljoin

if TYPE_CHECKING:
    from lxml import html  # type: ignore[import-untyped]

MAX_DELAY_S: Final = 30
"""A page that is shown for longer is read itself: it reloads, or leads on when it has been read."""
_MAX_CONTENT_CHARS: Final = 4_000
_CONTENT: Final = re.compile(
    r"\s*(?P<delay_s>\d{1,9})[\d.]*[\s;,]++(?:url\s*+=\s*+)?+"
    r"(?:\"(?P<double>[^\"]+)|'(?P<single>[^']+)|(?P<bare>[^\"'].*))",
    re.IGNORECASE | re.DOTALL,
)


def refresh_target(tree: html.HtmlElement, url: str) -> str:
    """Return the absolute address that a page leads on to; empty if to none or to itself.

    Args:
        tree: The page without its hidden elements.
        url: The page's own address.
    """
    for meta in tree.iter("meta"):
        if meta.get("http-equiv", "").strip().lower() != "refresh":
            continue
        found = _CONTENT.match(meta.get("content", "")[:_MAX_CONTENT_CHARS])
        if found is None or int(found["delay_s"]) > MAX_DELAY_S:
            return ""
        target = (found["double"] or found["single"] or found["bare"]).strip()
        base = next((e.get("href") for e in tree.iter("base") if e.get("href")), "")
        try:
            target = urljoin(urljoin(url, base.strip()), target)
        except ValueError:  # not an address: whoever follows it says so
            return target
        return "" if urldefrag(target).url == urldefrag(url).url else target
    return ""
