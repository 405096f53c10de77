"""What runs in the processes that extract: kept apart so that they load nothing else."""

from __future__ import annotations

import logging
import resource
from pathlib import Path
from typing import Final

from deployments.text.html import HtmlText, decode_text, html_to_text, visible_text

HTML_TYPES: Final = ("text/html", "application/xhtml+xml")
TEXT_TYPES: Final = ("text/plain", "text/markdown", "text/x-markdown")


def prepare(extra_bytes: int) -> None:
    """Load what extraction needs, then bound the address space to that and `extra_bytes`."""
    logging.disable()  # what the libraries say of a page would bring its text into our logs
    warm()
    statm = Path("/proc/self/statm")
    if not statm.exists():  # not Linux, where the limit does not work either
        return
    now_bytes = int(statm.read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now_bytes + extra_bytes, now_bytes + extra_bytes))


def warm() -> None:
    """Go the whole way once."""
    html_to_text("<p>a page to warm up with</p>")


def page_text(data: bytes, media_type: str, charset: str | None, max_chars: int) -> HtmlText:
    """Turn a body into title and text, the text cut at `max_chars`."""
    if media_type in HTML_TYPES:
        page = html_to_text(data, charset)
        return HtmlText(page.title, page.text[:max_chars])
    return HtmlText("", visible_text(decode_text(data, charset))[:max_chars])
