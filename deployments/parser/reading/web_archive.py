"""Read saved web pages (MHTML): the main text of the page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from deployments.parser.reading.content import (
    Content,
    check_text,
    clean,
    one_line,
    title_of_filename,
)
from deployments.parser.reading.formats import Format
from deployments.parser.reading.mail import parse_mail
from deployments.parser.reading.xml_trees import damaged
from deployments.text.html import decode_html, html_to_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import EmailMessage, Message

_WHAT: Final = "This saved web page"


def read_mhtml(data: bytes, filename: str, *, max_chars: int) -> Content:
    """Read the first page in the file; its pictures and frames are left alone."""
    mail = parse_mail(data)
    page = next(_pages(mail), None)
    payload = page.get_payload(decode=True) if page is not None else None
    if page is None or not isinstance(payload, bytes):
        raise damaged(_WHAT)
    found = html_to_text(decode_html(payload, page.get_content_charset()))
    text = clean(found.text)
    check_text(text, max_chars)
    subject = str(mail.get("Subject") or "")
    title = one_line(found.title) or one_line(subject) or title_of_filename(filename)
    return Content(title, Format.MHTML, text, markdown=True)


def _pages(mail: EmailMessage) -> Iterator[Message]:
    return (part for part in mail.walk() if part.get_content_type() == "text/html")
