"""Read HTML files: their main text as Markdown."""

from __future__ import annotations

from deployments.parser.reading.content import (
    Content,
    check_text,
    clean,
    title_of_filename,
)
from deployments.parser.reading.formats import Format, check_decoded
from deployments.parser.reading.titles import tidy_title
from deployments.text.decoding import decode_html
from deployments.text.html import html_to_text


def read_html(data: bytes, filename: str, *, max_chars: int) -> Content:
    """Read an HTML file; raise UnsupportedMedia for binary data."""
    return content_of_markup(decode_html(data), filename, max_chars=max_chars)


def content_of_markup(
    markup: str, filename: str, *, max_chars: int, other_title: str = ""
) -> Content:
    """Return the main text of a page; `other_title` is taken if it has no title of its own.

    Raises UnsupportedMedia for what was decoded from binary data.
    """
    check_decoded(markup)
    page = html_to_text(markup)
    text = clean(page.text)
    check_text(text, max_chars)
    titles = map(tidy_title, (*page.titles, other_title))
    title = next(filter(None, titles), "") or title_of_filename(filename)
    return Content(title, Format.HTML, text, markdown=True)
