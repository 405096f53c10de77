"""Hiding rules in the style sheets of a page: simple selectors that nothing else overrides."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lxml import html  # type: ignore[import-untyped]

MAX_STYLE_CHARS: Final = 1_000_000
"""Of all style sheets in a page; the rest is ignored."""
_COMMENT: Final = re.compile(r"/\*.*?(?:\*/|\Z)", re.DOTALL)
_BRACE: Final = re.compile("[{}]")
_NAME: Final = re.compile(r"[.#][a-z_-][\w-]*+", re.IGNORECASE)
_SIMPLE: Final = re.compile(
    r"\s*(?P<tag>[a-z][a-z0-9]*+)?(?P<name>[.#][a-z_-][\w-]*+)\s*", re.IGNORECASE
)
_STATED: Final = re.compile(r"(?:^|[;\s])(display|visibility)\s*:\s*([a-z-]+)", re.IGNORECASE)
_WORD: Final = re.compile(r"[\w-]+")
_MEDIA: Final = frozenset(("all", "screen"))
_NO_TEXT: Final = frozenset(("script", "style", "noscript", "template"))
_MAX_HIDDEN_SHARE: Final = 0.3  # of the characters of a page, in one element
_HIDING: Final = frozenset((("display", "none"), ("visibility", "hidden")))


class HidingRules:
    """The classes and ids that the style sheets of a page hide, with the tags they apply to."""

    def __init__(self, tree: html.HtmlElement) -> None:
        """Read the style sheets in a page.

        Classes and ids that another rule may show, or that a script mentions, are left out.
        """
        self._hidden: dict[str, set[str]] = {}
        self._large: set[html.HtmlElement] = set()
        shown: set[str] = set()
        for selectors, body, always in _rules(_COMMENT.sub(" ", _css(tree))):
            stated = {what.lower(): value.lower() for what, value in _STATED.findall(body)}
            if _HIDING.isdisjoint(stated.items()):
                shown.update(_NAME.findall(selectors) if stated else ())
            elif always:
                for simple in filter(None, map(_SIMPLE.fullmatch, selectors.split(","))):
                    tags = self._hidden.setdefault(simple["name"], set())
                    tags.add((simple["tag"] or "").lower())
        for name in shown:
            self._hidden.pop(name, None)
        for script in tree.iter("script") if self._hidden else ():
            for word in _WORD.finditer(script.text or ""):
                self._hidden.pop(f".{word[0]}", None)
                self._hidden.pop(f"#{word[0]}", None)
        if self._hidden:
            self._large = _large_parts(tree)

    def hides(self, element: html.HtmlElement) -> bool:
        """Return whether a rule hides an element; False if it has much of the page's text."""
        if not self._hidden or "display" in (element.get("style") or ""):
            return False
        names = [f".{each}" for each in (element.get("class") or "").split()]
        if identity := element.get("id"):
            names.append(f"#{identity}")
        tags = {tag for name in names for tag in self._hidden.get(name, ())}
        return not tags.isdisjoint(("", element.tag)) and element not in self._large


def _css(tree: html.HtmlElement) -> str:
    """Return the style sheets; those for other media or without scripts are in a block."""
    sheets, left = [], MAX_STYLE_CHARS
    for style in tree.iter("style"):
        text = (style.text or "")[:left]
        left -= len(text)
        media = (style.get("media") or "all").strip().lower()
        if media not in _MEDIA or next(style.iterancestors("noscript"), None) is not None:
            text = f"@media other{{{text}}}"
        sheets.append(text)
    return "\n".join(sheets)


def _large_parts(tree: html.HtmlElement) -> set[html.HtmlElement]:
    """Return the elements with much of the text: scripts show them when the page is loaded."""
    lengths: dict[html.HtmlElement, int] = {}
    for element in reversed(list(tree.iter())):  # children before their parents
        text = 0 if element.tag in _NO_TEXT else len(element.text or "")
        length = lengths[element] = text + lengths.get(element, 0)
        parent = element.getparent()
        if parent is not None:
            lengths[parent] = lengths.get(parent, 0) + length + len(element.tail or "")
    most = lengths.get(tree, 0) * _MAX_HIDDEN_SHARE
    return {element for element, length in lengths.items() if length > most}


def _rules(css: str) -> Iterator[tuple[str, str, bool]]:
    """Yield selectors and declarations of each rule, and whether it holds in all media."""
    start, stack = 0, []  # the preludes of open blocks
    for brace in _BRACE.finditer(css):
        text = css[start : brace.start()]
        start = brace.end()
        if brace[0] == "{":
            stack.append(text.rpartition(";")[2].strip())
        elif stack:
            selectors = stack.pop()
            if not selectors.startswith("@"):
                yield selectors, text, not stack
