"""Landmarks of a web page: which parts are content, which are navigation and the like."""

from __future__ import annotations

import re
from enum import Enum
from typing import TYPE_CHECKING, Final

from lxml import etree  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from lxml import html

_NOISE_TAGS: Final = frozenset(("nav", "footer", "aside", "form", "header"))
_NOISE_ROLES: Final = frozenset(
    re.findall(
        r"\S+",
        "alertdialog banner complementary contentinfo dialog menu menubar navigation search"
        " tablist toolbar tooltip",
    )
)
_NOISE_NAMES: Final = frozenset(
    re.findall(
        r"\S+",
        "ad ads advert advertisement advertising banner breadcrumb breadcrumbs consent cookie"
        " cookies copyright foot footer gdpr login masthead modal nav navbar navigation"
        " newsletter outbrain pager pagination paywall popup promo promotion recirc"
        " recirculation recommendation recommendations recommended related share sharing sidebar"
        " signin signup skip social sponsor sponsored subscribe subscription taboola teaser"
        " teasers toolbar trending",
    )
)
_COMMENT_NAMES: Final = frozenset(
    ("comment", "comments", "commentlist", "disqus", "respond", "responses")
)
_NAME: Final = re.compile(r"[A-Z]?[a-z]+")
_MAX_NAME_CHARS: Final = 300
_CONTAINERS: Final = frozenset(
    re.findall(
        r"\S+",
        "article aside blockquote body center details dir div dl fieldset figure footer form"
        " header html main menu nav ol p section table tbody td tr ul",
    )
)
_TEXT_FIELDS: Final = frozenset(("text", "email", "password", "search", "tel", "url"))
_WRAPPERS: Final = frozenset(("html", "body", "main", "article"))
_LISTS: Final = frozenset(("ul", "ol", "dl"))
_ARTICLES: Final = frozenset(("article", "main"))
_MAX_LINK_SHARE: Final = 0.5
"""A container with a larger share of its text in links is a list of links."""
_MAX_LISTED_LINK_SHARE: Final = 0.8
"""Of the items of a list: each ingredient of a recipe may contain a link."""
_MAJORITY: Final = 0.5
"""A container with more of the page's text is never noise: the name of a wrapper says little."""


class Zone(Enum):
    """The kind of a part of a page."""

    CONTENT = "content"
    LINKS = "links"
    COMMENT = "comment"
    NOISE = "noise"


class Landmarks:
    """The zone at each place of a walk over the page."""

    def __init__(self, tree: html.HtmlElement) -> None:
        """Measure all containers of the page."""
        self._sizes = _sizes(tree)
        self._total = max(1, self._sizes[tree][0]) if tree in self._sizes else 1
        self._zones: list[tuple[html.HtmlElement, Zone]] = []
        self._articles = self._quotes = 0

    @property
    def zone(self) -> Zone:
        """The zone of the present place."""
        return self._zones[-1][1] if self._zones else Zone.CONTENT

    def enter(self, element: html.HtmlElement) -> None:
        """Enter a block element."""
        if self.zone is not Zone.NOISE:
            zone = self._zone_of(element)
            if zone is not None and zone is not self.zone:
                self._zones.append((element, zone))
        self._articles += element.tag in _ARTICLES
        self._quotes += element.tag == "blockquote"

    def leave(self, element: html.HtmlElement) -> None:
        """Leave a block element."""
        self._articles -= element.tag in _ARTICLES
        self._quotes -= element.tag == "blockquote"
        if self._zones and self._zones[-1][0] is element:
            self._zones.pop()

    def _zone_of(self, element: html.HtmlElement) -> Zone | None:
        """Return the zone that begins with an element; None if it says nothing."""
        size, linked = self._sizes.get(element, (0, 0))
        if element.tag in _WRAPPERS or size > self._total * _MAJORITY:
            return None
        names = _names(element)
        if self._is_noise(element, names):
            return Zone.NOISE
        if not _COMMENT_NAMES.isdisjoint(names):
            return Zone.COMMENT
        share = _MAX_LISTED_LINK_SHARE if element.tag in _LISTS else _MAX_LINK_SHARE
        if element.tag in _CONTAINERS and linked > size * share:
            return Zone.LINKS
        return None

    def _is_noise(self, element: html.HtmlElement, names: set[str]) -> bool:
        if element.get("role") in _NOISE_ROLES:
            return True
        if element.tag in _NOISE_TAGS and self._is_noise_tag(element):
            return True
        return not _NOISE_NAMES.isdisjoint(names) and next(element.iter("h1"), None) is None

    def _is_noise_tag(self, element: html.HtmlElement) -> bool:
        if element.tag == "header":
            return not self._articles and next(element.iter("h1"), None) is None
        if element.tag == "aside":
            return not self._articles
        if element.tag == "footer":
            return not self._quotes
        if element.tag == "form":
            return any(_is_text_field(field) for field in element.iter("input", "textarea"))
        return True


def _is_text_field(field: html.HtmlElement) -> bool:
    return field.tag == "textarea" or field.get("type", "text").lower() in _TEXT_FIELDS


def _names(element: html.HtmlElement) -> set[str]:
    label = f"{element.get('class', '')} {element.get('id', '')}"
    if label == " ":
        return set()
    return {name.lower() for name in _NAME.findall(label[:_MAX_NAME_CHARS])}


def _sizes(tree: html.HtmlElement) -> dict[html.HtmlElement, tuple[int, int]]:
    """Return for each container its characters, and those of them in links."""
    sizes: dict[html.HtmlElement, tuple[int, int]] = {}
    open_: list[tuple[int, int]] = []
    size = linked = links = 0
    for event, element in etree.iterwalk(tree, events=("start", "end")):
        text = element.text if event == "start" else element.tail
        is_container = element.tag in _CONTAINERS
        if event == "start":
            if is_container:
                open_.append((size, linked))
            elif element.tag == "a" and "href" in element.attrib:
                links += 1
        elif is_container:
            before = open_.pop()
            sizes[element] = size - before[0], linked - before[1]
        elif element.tag == "a" and "href" in element.attrib:
            links -= 1
        if text and (count := len(text.strip())):
            size += count
            if links:
                linked += count
    return sizes
