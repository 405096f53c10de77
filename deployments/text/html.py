"""Extract title and main text, as Markdown, from an HTML page."""

from __future__ import annotations

import re
from copy import deepcopy
from dataclasses import dataclass
from itertools import islice
from typing import Final

from lxml import etree, html  # type: ignore[import-untyped]

from deployments.errors import TooLarge
from deployments.text.decoding import decode_html
from deployments.text.invisible import without_invisible
from deployments.text.main_blocks import choose, is_complete
from deployments.text.mathml import write_formulas
from deployments.text.page_blocks import BLOCK_ELEMENTS, joined, page_blocks
from deployments.text.refresh import refresh_target
from deployments.text.style_sheets import HidingRules

MIN_MAIN_CHARS: Final = 100
"""A shorter extraction is discarded in favour of the whole visible text."""
MAX_ELEMENTS: Final = 30_000
"""On a larger page trafilatura takes many seconds: its whole visible text is returned."""
MAX_TITLE_CHARS: Final = 300

_UNSEEN: Final = frozenset(
    ("script", "style", "noscript", "template", "iframe", "object", "embed", "svg", "dialog")
)
_HIDING_STYLE: Final = re.compile(
    r"display:none|visibility:(?:hidden|collapse)|(?:opacity|font-size):0(?:\.0+)?"
    r"(?:[a-z%]+)?(?:;|!|$)|(?:text-indent|left|right|top|bottom):-\d{3,}"
)
_CSS_NOISE: Final = re.compile(r"/\*.*?\*/|\s+", re.DOTALL)
# Attributes as the HTML standard reads them; each quantifier is possessive, for linear time.
_ATTRIBUTE: Final = re.compile(
    r"[\s/]*+[^\s/>][^\s/>=]*+(?:\s*+=\s*+(?:\"[^\"]*+\"|'[^']*+'|[^\s>\"'][^\s>]*+)?+)?+"
)
_TAG: Final = re.compile(
    rf"<!--(?:-?>|.*?(?:--!?>|\Z))"
    rf"|(?P<raw><(?P<name>script|style|textarea|title|xmp|iframe|noembed|noframes)(?=[\s/>])"
    rf"(?:{_ATTRIBUTE.pattern})*+)[\s/]*+>.*?(?=</(?P=name)|\Z)"
    rf"|(?P<tag><[a-z][^\s/>]*+(?:{_ATTRIBUTE.pattern})*+)",
    re.DOTALL | re.IGNORECASE,
)
MAX_ATTRIBUTES: Final = 1000
"""Of one element; a page with more is refused."""
_SPAN: Final = re.compile(r"\s*0*[0-9]{1,2}\s*", re.ASCII)


@dataclass(frozen=True, slots=True)
class HtmlText:
    """Title and text of a page; both are empty if it has none.

    `titles` are all that it names itself, in the order in which they are preferred. `refresh` is
    the address of the page that it leads on to, which is to be read in its place.
    """

    title: str
    text: str
    titles: tuple[str, ...] = ()
    refresh: str = ""


def html_to_text(data: bytes | str, encoding: str | None = None, *, url: str = "") -> HtmlText:
    """Return the title and main text of a page.

    The text is Markdown without links and images. Scripts, comments, invisible characters and
    elements hidden by their own attributes are removed, and those hidden by a simple rule of a
    style sheet in the page (`HidingRules`). Time can grow with the square of the length of a
    hostile page: call it in a process that can be killed.

    Raises TooLarge if an element has more than `MAX_ATTRIBUTES`.

    Args:
        data: The page; bytes are decoded by byte order mark, then `encoding`, then the
            declaration in the page, then by guess.
        encoding: The encoding named by the transport, such as the `charset` of a Content-Type.
        url: The page's own address. If it is given, a page that leads on to another one is not
            read: only its `refresh` is returned.
    """
    markup = decode_html(data, encoding) if isinstance(data, bytes) else data
    tree = visible_tree(markup)
    if tree is None:
        return HtmlText("", "")
    if url and (target := refresh_target(tree, url)):
        return HtmlText("", "", refresh=target)
    titles = _titles(tree)
    for element in tree.iter("title"):
        element.clear(keep_tail=True)
    text = "" if _is_huge(tree) else _readable_text(tree)
    if not text:
        text = _whole_text(tree)
    return HtmlText(titles[0] if titles else "", text, titles)


def visible_tree(markup: str) -> html.HtmlElement | None:
    """Return the tree of a page without hidden elements and scripts; None if it is blank.

    Raises TooLarge if an element has more than `MAX_ATTRIBUTES`.
    """
    _check_attributes(markup)
    tree = _parse(markup)
    if tree is not None:
        if not _is_huge(tree):
            write_formulas(tree)
        _bound_spans(tree)
        _empty_unseen(tree)
    return tree


def visible_text(text: str) -> str:
    """Remove invisible characters, and white space at both ends."""
    return without_invisible(text).strip()


def _parse(markup: str) -> html.HtmlElement | None:
    parser = html.HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True)
    # As bytes, because lxml refuses a str with an XML declaration, which XHTML has.
    data = markup.replace("\x00", "").encode("utf-8", "replace")
    try:
        return html.document_fromstring(data, parser=parser)
    except etree.ParserError:  # nothing in it
        return None


def _check_attributes(markup: str) -> None:
    """Raise TooLarge before libxml2 compares each attribute of an element with all others."""
    for found in _TAG.finditer(markup):
        tag = found["raw"] or found["tag"] or ""
        if len(tag) > MAX_ATTRIBUTES and len(_ATTRIBUTE.findall(tag)) > MAX_ATTRIBUTES:
            msg = f"An element of the page has more than {MAX_ATTRIBUTES:,} attributes."
            raise TooLarge(msg)


def _bound_spans(tree: html.HtmlElement) -> None:
    """Drop the spans of cells that no table has: trafilatura repeats a cell as often as it says."""
    for cell in tree.iter("td", "th"):
        for name in ("colspan", "rowspan"):
            span = cell.get(name)
            if span is not None and not _SPAN.fullmatch(span):
                del cell.attrib[name]


def _empty_unseen(tree: html.HtmlElement) -> None:
    rules = None if _is_huge(tree) else HidingRules(tree)
    for element in list(tree.iter()):
        if not isinstance(element.tag, str) or element is tree:
            continue
        if (
            (element.tag in _UNSEEN and "open" not in element.attrib)
            or _is_hidden(element)
            or (rules is not None and rules.hides(element))
        ):
            # Cleared, not removed: each removal would copy the text that follows.
            element.clear(keep_tail=True)


def _is_hidden(element: html.HtmlElement) -> bool:
    if "hidden" in element.attrib and element.get("hidden", "").lower() != "until-found":
        return True
    style = element.get("style")
    return bool(style and _HIDING_STYLE.search(_CSS_NOISE.sub("", style.lower())))


def _titles(tree: html.HtmlElement) -> tuple[str, ...]:
    found = (
        " ".join(visible_text("".join(tree.xpath(path)[:100])).split())[:MAX_TITLE_CHARS]
        for path in ("//title/text()", "//meta[@property='og:title']/@content", "//h1[1]//text()")
    )
    return tuple(title for title in found if title)


def _is_huge(tree: html.HtmlElement) -> bool:
    return next(islice(tree.iter(), MAX_ELEMENTS, None), None) is not None


def _main_text(tree: html.HtmlElement) -> str:
    # Imported here: it takes most of a second, and only extraction processes need it.
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


def _readable_text(tree: html.HtmlElement) -> str:
    """Return the blocks that are content; empty if they are too few to trust the choice."""
    blocks = page_blocks(tree)
    chosen = choose(blocks, _main_text(tree))
    text = visible_text(joined(chosen))
    if len(text) < MIN_MAIN_CHARS and not is_complete(chosen, blocks):
        return ""
    return text


def _whole_text(tree: html.HtmlElement) -> str:
    pieces: list[str] = []
    for event, element in etree.iterwalk(tree, events=("start", "end")):
        if element.tag in BLOCK_ELEMENTS or element.tag == "br":
            pieces.append("\n")
        pieces.append((element.text if event == "start" else element.tail) or "")
    text = visible_text("".join(pieces))
    lines = (" ".join(line.split()) for line in text.splitlines())
    return "\n".join(line for line in lines if line)
