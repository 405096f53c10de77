"""Read mails (EML): headers, body, and attachments in formats that are read."""

from __future__ import annotations

import codecs
import re
from email.message import EmailMessage
from functools import partial
from typing import TYPE_CHECKING, Final

from deployments.errors import TooLarge, Unprocessable
from deployments.parser.reading.content import clean, one_line, title_of_filename
from deployments.parser.reading.formats import Format, check_decoded
from deployments.parser.reading.markup import add_markup
from deployments.parser.reading.nested import Unread, Within, add_file
from deployments.parser.reading.outlined_text import OutlinedText
from deployments.parser.reading.text import reflowed
from deployments.parser.reading.xml_trees import damaged
from deployments.text.decoding import decode_html, decode_text, utf_16_without_mark
from deployments.types import DocumentWarning, WarningCode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import Message

    from deployments.parser.reading.content import Content

_WHAT: Final = "This mail"
MAX_PARTS: Final = 200
"""Parts within parts: the time of the parser grows with their number times the lines."""
SHOWN_HEADERS: Final = ("From", "To", "Cc", "Date", "Subject")
_CONTAINERS: Final = re.compile(rb"boundary\s{0,9}=|message/rfc822", re.IGNORECASE)
_LENGTH_LINE: Final = re.compile(rb"[0-9]{1,12}[ \t]*\r?\n")
_SIGNATURES: Final = frozenset(
    ("application/pgp-signature", "application/pkcs7-signature", "application/x-pkcs7-signature")
)
_ENCRYPTED: Final = frozenset(("application/pkcs7-mime", "application/x-pkcs7-mime"))
_MIN_PLAIN_SHARE: Final = 0.25
_MAX_HEADER_CHARS: Final = 2_000


def read_eml(data: bytes, filename: str, *, max_chars: int, within: Within) -> Content:
    """Read a mail; the title is its subject.

    Raises Unprocessable if there are more than `MAX_PARTS` within others (`too_complex`).
    """
    mail = parse_mail(data)
    text = OutlinedText(max_chars)
    unread = Unread()
    warnings = list(_add_mail(text, mail, within, unread, max_chars))
    if unread.names:
        warnings.append(unread.warning(WarningCode.ATTACHMENTS_NOT_READ, "attachments"))
    if text.blank:
        check_decoded(decode_text(data))
    title = one_line(_header(mail, "Subject")) or title_of_filename(filename)
    return text.content(title, Format.EML, warnings)


def parse_mail(data: bytes) -> EmailMessage:
    """Parse a mail with bounds; raise Unprocessable if it is nested too deeply."""
    from email import message_from_bytes, policy

    if len(_CONTAINERS.findall(data)) > MAX_PARTS:
        msg = f"The mail has more than {MAX_PARTS} mails and parts within others."
        raise Unprocessable(msg, code="too_complex")
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or utf_16_without_mark(data):
        data = decode_text(data).encode()
    if data[:1].isdigit():  # of Apple Mail: the length of the mail is above it
        data = _LENGTH_LINE.sub(b"", data, count=1)
    try:
        return message_from_bytes(data, policy=policy.default)
    except RecursionError:
        msg = "The mail has too many mails and parts within others."
        raise Unprocessable(msg, code="too_complex") from None
    except Exception as error:  # the parser of headers meets odd ones
        raise damaged(_WHAT) from error


def add_headers(text: OutlinedText, headers: Iterator[tuple[str, str]]) -> None:
    """Add the headers that are not blank."""
    text.lines(f"{name}: {value}" for name, value in headers if value)


def add_body(text: OutlinedText, plain: str, markup: str) -> None:
    """Add the body: the plain text, or HTML if that says much more."""
    plain = clean(plain)
    if markup.strip():
        shown = OutlinedText(max(len(markup) * 2, 1))
        add_markup(shown, markup)
        if not shown.blank:
            content = shown.content("", Format.HTML)
            if len(plain.strip()) < len(content.text) * _MIN_PLAIN_SHARE:
                text.append(content, 0)
                return
    text.paragraph(reflowed(plain))


def _add_mail(
    text: OutlinedText, mail: EmailMessage, within: Within, unread: Unread, max_chars: int
) -> Iterator[DocumentWarning]:
    add_headers(text, ((name, _header(mail, name)) for name in SHOWN_HEADERS))
    bodies: dict[int, tuple[list[str], list[str]]] = {}
    attached: list[tuple[str, EmailMessage]] = []
    shown: list[EmailMessage] = []  # pictures within the text
    for part, group in _leaves(mail):
        kind, name = part.get_content_type(), _filename(part)
        if kind in _SIGNATURES:
            continue
        if kind.startswith("text/") and not name and not _is_attachment(part):
            plain, markup = bodies.setdefault(group, ([], []))
            (markup if kind == "text/html" else plain).append(_decoded(part))
        elif kind.startswith("image/") and "content-id" in part and not _is_attachment(part):
            shown.append(part)
        else:
            attached.append((name or f"attachment.{part.get_content_subtype()}", part))
    for plain, markup in bodies.values():
        add_body(text, "\n\n".join(plain), "\n".join(markup))
    for picture in shown:
        text.recognised(within.pictures.text(partial(picture_of, picture)))
    is_encrypted = mail.get_content_type() == "multipart/encrypted"
    for name, part in attached:
        if is_encrypted or part.get_content_type() in _ENCRYPTED:
            unread.note(f"{name} (encrypted)")
            continue
        known, data = _content_of(part, name)
        within.unpacked.add(len(data))
        yield from add_file(
            text, data, known, within, unread, heading=f"Attachment {known}", max_chars=max_chars
        )


def _content_of(part: EmailMessage, name: str) -> tuple[str, bytes]:
    """Return name and content of an attachment, which may be a mail."""
    if part.get_content_type() == "message/rfc822":
        inner = part.get_payload()
        first = inner[0] if isinstance(inner, list) and inner else None
        name = name if name.endswith(".eml") else f"{name}.eml"
        return name, b"" if first is None or isinstance(first, str) else first.as_bytes()
    payload = part.get_payload(decode=True)
    return name, payload if isinstance(payload, bytes) else b""


def picture_of(part: Message, max_bytes: int) -> bytes:
    """Return a picture in a mail; raise TooLarge if it is longer than `max_bytes`."""
    payload = part.get_payload(decode=True)
    content = payload if isinstance(payload, bytes) else b""
    if len(content) > max_bytes:
        msg = f"A picture has more than {max_bytes:,} bytes."
        raise TooLarge(msg)
    return content


def _is_attachment(part: EmailMessage) -> bool:
    return part.get_content_disposition() == "attachment"


def _leaves(mail: EmailMessage) -> Iterator[tuple[EmailMessage, int]]:
    """Yield the parts that hold no others; an attached mail is one.

    Parts with the same number are alternatives.
    """
    stack: list[tuple[EmailMessage, EmailMessage | None]] = [(mail, None)]
    while stack:
        each, alternative = stack.pop()
        if alternative is None and each.get_content_type() == "multipart/alternative":
            alternative = each
        payload = each.get_payload() if each.is_multipart() else None
        if isinstance(payload, list) and each.get_content_maintype() == "multipart":
            inner = [one for one in reversed(payload) if isinstance(one, EmailMessage)]
            stack += [(one, alternative) for one in inner]
        else:
            yield each, id(each if alternative is None else alternative)


def _decoded(part: EmailMessage) -> str:
    payload = part.get_payload(decode=True)
    if not isinstance(payload, bytes):
        return ""
    charset = part.get_content_charset()
    is_html = part.get_content_type() == "text/html"
    return decode_html(payload, charset) if is_html else decode_text(payload, charset)


def _filename(part: EmailMessage) -> str:
    try:
        name = part.get_filename()
    except Exception:  # noqa: BLE001 - the parser of headers meets odd ones
        return ""
    return one_line(str(name)) if name else ""


def _header(mail: EmailMessage, name: str) -> str:
    try:
        value = mail.get(name)
    except Exception:  # noqa: BLE001 - see _filename
        return ""
    return " ".join(clean(str(value)).split())[:_MAX_HEADER_CHARS] if value is not None else ""
