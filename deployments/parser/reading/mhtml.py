"""Read saved web pages (MHTML): the main text of the page, and the texts of its pictures."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from deployments.errors import Unprocessable
from deployments.parser.reading.content import Content, check_text, title_of_filename
from deployments.parser.reading.formats import Format
from deployments.parser.reading.html import content_of_markup
from deployments.parser.reading.mail import parse_mail, picture_of
from deployments.parser.reading.xml_trees import damaged
from deployments.text.decoding import decode_html
from deployments.types import DocumentWarning, WarningCode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import EmailMessage, Message

    from deployments.parser.reading.embedded_pictures import Pictures

_WHAT: Final = "This saved web page"


def read_mhtml(data: bytes, filename: str, *, max_chars: int, pictures: Pictures) -> Content:
    """Read the first page in the file, followed by the texts of its pictures.

    A warning counts its frames, which are left alone.
    """
    mail = parse_mail(data)
    pages = list(_pages(mail))
    page = pages[0] if pages else None
    payload = page.get_payload(decode=True) if page is not None else None
    if page is None or not isinstance(payload, bytes):
        raise damaged(_WHAT)
    images = (part for part in mail.walk() if part.get_content_maintype() == "image")
    texts = [found for each in images if (found := pictures.text(partial(picture_of, each)))]
    try:
        content = content_of_markup(
            decode_html(payload, page.get_content_charset()),
            filename,
            max_chars=max_chars,
            other_title=str(mail.get("Subject") or ""),
        )
    except Unprocessable as error:
        if error.code != "no_text" or not texts:
            raise
        content = Content(title_of_filename(filename), Format.MHTML, "", markdown=True)
    text, spans = content.text, []
    for found in texts:
        text += "\n\n" if text else ""
        spans.append((len(text), len(text) + len(found)))
        text += found
    check_text(text, max_chars)
    return replace(
        content,
        media_type=Format.MHTML,
        text=text,
        warnings=_warnings(len(pages) - 1),
        ocr_spans=tuple(spans),
    )


def _warnings(frames: int) -> tuple[DocumentWarning, ...]:
    if frames == 0:
        return ()
    subject = "1 frame of this page was" if frames == 1 else f"{frames} frames of this page were"
    return (DocumentWarning(WarningCode.PARTLY_READ, f"{subject} not read."),)


def _pages(mail: EmailMessage) -> Iterator[Message]:
    return (part for part in mail.walk() if part.get_content_type() == "text/html")
