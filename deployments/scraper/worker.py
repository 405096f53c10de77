"""Code of the extraction processes, in a module of its own so that they import little."""

from __future__ import annotations

import logging
import resource
import signal
from pathlib import Path
from typing import Final

from deployments.text.decoding import decode_text
from deployments.text.html import HtmlText, html_to_text, visible_text

HTML_TYPES: Final = ("text/html", "application/xhtml+xml")
TEXT_TYPES: Final = ("text/plain", "text/markdown", "text/x-markdown")

_AGAIN_S: Final = 0.1


def prepare(extra_bytes: int) -> None:
    """Load the libraries, then limit the address space to its present size and `extra_bytes`."""
    logging.disable()  # the libraries log text of the page
    warm()
    statm = Path("/proc/self/statm")
    if not statm.exists():  # not Linux, where the limit does not work either
        return
    now_bytes = int(statm.read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now_bytes + extra_bytes, now_bytes + extra_bytes))


def warm() -> None:
    """Extract a small page, which loads all libraries."""
    html_to_text("<p>a page to warm up with</p>")


def page_text(
    data: bytes, media_type: str, charset: str | None, max_chars: int, cpu_s: float
) -> HtmlText:
    """Return title and text of a response body, the text cut at `max_chars`.

    Raise TooSlow after `cpu_s` of processor time, or later if C code does not return.
    """
    signal.signal(signal.SIGPROF, _raise_too_slow)
    # Again and again: some libraries catch what is raised in them.
    signal.setitimer(signal.ITIMER_PROF, cpu_s, _AGAIN_S)
    try:
        return _page_text(data, media_type, charset, max_chars)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


class TooSlow(Exception):
    """The page takes more processor time than it may."""


def _raise_too_slow(*_: object) -> None:
    raise TooSlow


def _page_text(data: bytes, media_type: str, charset: str | None, max_chars: int) -> HtmlText:
    if media_type in HTML_TYPES:
        page = html_to_text(data, charset)
        return HtmlText(page.title, page.text[:max_chars])
    return HtmlText("", visible_text(decode_text(data, charset))[:max_chars])
