"""Code of the extraction processes, in a module of its own so that they import little."""

from __future__ import annotations

import json
import logging
import resource
import signal
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from deployments.text.decoding import decode_text
from deployments.text.html import HtmlText, html_to_text, visible_text

if TYPE_CHECKING:
    from deployments.scraper.fetch import Download

HTML_TYPES: Final = ("text/html", "application/xhtml+xml")
TEXT_TYPES: Final = (
    *("text/*", "application/json", "application/*+json", "application/x-ndjson"),
    *("application/csv", "application/xml", "application/*+xml"),
    *("application/yaml", "application/x-yaml", "application/toml"),
)
"""An asterisk stands for any characters."""

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
    html_to_text(b"<p>a page to warm up with</p>")


def page_text(download: Download, max_chars: int, cpu_s: float) -> HtmlText:
    """Return title and text of a response body, the text cut at `max_chars`.

    A page that leads on to another one is not read: its `refresh` is returned.

    Raise TooSlow after `cpu_s` of processor time, or later if C code does not return.
    """
    signal.signal(signal.SIGPROF, _raise_too_slow)
    # Again and again: some libraries catch what is raised in them.
    signal.setitimer(signal.ITIMER_PROF, cpu_s, _AGAIN_S)
    try:
        return _page_text(download, max_chars)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


class TooSlow(Exception):
    """The page takes more processor time than it may."""


def _raise_too_slow(*_: object) -> None:
    raise TooSlow


def _page_text(download: Download, max_chars: int) -> HtmlText:
    if download.media_type in HTML_TYPES:
        page = html_to_text(download.data, download.charset, url=str(download.url))
        return replace(page, text=page.text[:max_chars])
    text = decode_text(download.data, download.charset)
    if download.media_type.endswith("json"):
        text = _json_lines(text)
    return HtmlText("", visible_text(text)[:max_chars])


def _json_lines(text: str) -> str:
    """Return JSON with one value a line and its characters unescaped; other text as it is."""
    try:
        return json.dumps(json.loads(text), ensure_ascii=False, indent=1)
    except (ValueError, RecursionError):
        return text
