"""From an HTML page, as it came, to its title and its main text as Markdown."""

from __future__ import annotations

import re
from copy import deepcopy
from dataclasses import dataclass
from itertools import islice
from typing import Final

from bs4.dammit import UnicodeDammit
from lxml import etree, html  # type: ignore[import-untyped]

from deployments.text.invisible import without_invisible

MIN_MAIN_CHARS: Final = 100
"""A shorter extraction is distrusted, and the whole visible text taken instead."""
MAX_ELEMENTS: Final = 30_000
"""A larger page would take trafilatura many seconds, so its whole visible text is taken."""
MAX_TITLE_CHARS: Final = 300

_UNSEEN: Final = frozenset(
    ("script", "style", "noscript", "template", "iframe", "object", "embed", "svg", "dialog")
)
_HIDING_STYLE: Final = re.compile(
    r"display:none|visibility:(?:hidden|collapse)|(?:opacity|font-size):0(?:\.0+)?"
    r"(?:[a-z%]+)?(?:;|!|$)|(?:text-indent|left|right|top|bottom):-\d{3,}"
)
_CSS_NOISE: Final = re.compile(r"/\*.*?\*/|\s+", re.DOTALL)
_BLOCKS: Final = re.compile(
    "address|article|aside|blockquote|br|caption|dd|details|div|dl|dt|fieldset|figcaption|figure"
    "|footer|form|h[1-6]|header|hr|legend|li|main|nav|ol|option|p|pre|section|summary|table|tbody"
    "|td|tfoot|th|thead|tr|ul"
)


@dataclass(frozen=True, slots=True)
class HtmlText:
    """The readable part of a page; both are empty if there is none."""

    title: str
    text: str


def html_to_text(data: bytes | str, encoding: str | None = None) -> HtmlText:
    """Reduce a page to its title and main text.

    The text is Markdown without links and images. Scripts, comments, invisible characters and
    whatever the page's own attributes hide are left out; a style sheet's hiding is not seen.
    The work can grow with the square of a hostile page: call it where it can be killed.

    Args:
        data: The page; bytes are decoded by their byte order mark, then `encoding`, then what
            the page declares, then by guess.
        encoding: What the transport said of it, such as the `charset` of a Content-Type.
    """
    markup = decode_text(data, encoding, is_html=True) if isinstance(data, bytes) else data
    tree = _parse(markup)
    if tree is None:
        return HtmlText("", "")
    _empty_unseen(tree)
    title = _title(tree)
    for element in tree.iter("title"):
        element.clear(keep_tail=True)
    text = "" if _is_huge(tree) else _main_text(tree)
    if len(text) < MIN_MAIN_CHARS:
        text = _whole_text(tree) or text
    return HtmlText(title, text)


def decode_text(data: bytes, encoding: str | None = None, *, is_html: bool = False) -> str:
    """Decode by byte order mark, `encoding`, declaration, then guess; never fails."""
    # The web means windows-1252 when it says either of these.
    if encoding and encoding.lower() in {"iso-8859-1", "latin-1", "latin1", "us-ascii", "ascii"}:
        encoding = "windows-1252"
    decoded = UnicodeDammit(data, user_encodings=[encoding] if encoding else [], is_html=is_html)
    return decoded.unicode_markup or data.decode("utf-8", "replace")


def visible_text(text: str) -> str:
    """Drop the characters that nobody sees, and blanks at both ends."""
    return without_invisible(text).strip()


def _parse(markup: str) -> html.HtmlElement | None:
    parser = html.HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True)
    # As bytes, because lxml refuses a str with an XML declaration, which XHTML has.
    data = markup.replace("\x00", "").encode("utf-8", "replace")
    try:
        return html.document_fromstring(data, parser=parser)
    except etree.ParserError:  # nothing in it
        return None


def _empty_unseen(tree: html.HtmlElement) -> None:
    for element in list(tree.iter()):
        if not isinstance(element.tag, str) or element is tree:
            continue
        if (element.tag in _UNSEEN and "open" not in element.attrib) or _is_hidden(element):
            # Emptied, not removed: removing copies the text that follows, again and again.
            element.clear(keep_tail=True)


def _is_hidden(element: html.HtmlElement) -> bool:
    if "hidden" in element.attrib and element.get("hidden", "").lower() != "until-found":
        return True
    style = element.get("style")
    return bool(style and _HIDING_STYLE.search(_CSS_NOISE.sub("", style.lower())))


def _title(tree: html.HtmlElement) -> str:
    for path in ("//title/text()", "//meta[@property='og:title']/@content", "//h1[1]//text()"):
        title = " ".join(visible_text("".join(tree.xpath(path)[:100])).split())
        if title:
            return title[:MAX_TITLE_CHARS]
    return ""


def _is_huge(tree: html.HtmlElement) -> bool:
    return next(islice(tree.iter(), MAX_ELEMENTS, None), None) is not None


def _main_text(tree: html.HtmlElement) -> str:
    # Takes most of a second to import, and only the processes that extract need it.
    from trafilatura import extract

    main = extract(
        deepcopy(tree),
        fast=True,
        output_format="markdown",
        include_links=False,
        include_images=False,
        include_comments=False,
    )
    return visible_text(main or "")


def _whole_text(tree: html.HtmlElement) -> str:
    pieces: list[str] = []
    for event, element in etree.iterwalk(tree, events=("start", "end")):
        if _BLOCKS.fullmatch(element.tag):
            pieces.append("\n")
        pieces.append((element.text if event == "start" else element.tail) or "")
    text = visible_text("".join(pieces))
    lines = (" ".join(line.split()) for line in text.splitlines())
    return "\n".join(line for line in lines if line)
