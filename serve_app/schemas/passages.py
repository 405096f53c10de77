"""Fields of sources and search results: the title of a passage, its place, and its original."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal
from urllib.parse import urlencode

from deployments.media_types import SHEETS, SLIDES, Format
from deployments.parser.reading.content import title_of_filename
from serve_app.schemas.fields import DEFAULT_COLLECTION

if TYPE_CHECKING:
    from deployments.types import Passage

Place = Literal["page", "slide", "sheet"]
"""The unit of `page`; the name of a sheet is the `section`."""


def own_title(passage: Passage) -> str | None:
    """Return the title of the document, None if it is only the name of its file."""
    derived = ("", passage.filename, title_of_filename(passage.filename))
    return None if passage.title in derived else passage.title


def place_of(passage: Passage) -> Place | None:
    """Return whether a passage is on a page, a slide or a sheet, if any."""
    if passage.media_type in SHEETS:
        return "sheet" if passage.section else None
    if passage.page_start is None:
        return None
    return "slide" if passage.media_type in SLIDES else "page"


def document_uri(passage: Passage) -> str:
    """Return the path of the document on this service."""
    return _uri(passage, "")


def content_uri(passage: Passage) -> str:
    """Return the path of the original, in the version of the passage, at its page."""
    uri = _uri(passage, "/content", version=passage.version)
    at_page = passage.media_type == Format.PDF and passage.page_start
    return f"{uri}#page={passage.page_start}" if at_page else uri


def _uri(passage: Passage, part: str, **query: int) -> str:
    where: dict[str, str | int] = {}
    if passage.collection not in {"", DEFAULT_COLLECTION}:
        where["collection"] = passage.collection
    asked = urlencode(where | query)
    return f"/v1/documents/{passage.document_id}{part}" + (f"?{asked}" if asked else "")
