"""Read mails of Outlook (MSG), which are OLE compound files."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

from deployments.parser.reading.content import one_line, title_of_filename
from deployments.parser.reading.formats import Format
from deployments.parser.reading.mail import add_body, add_headers
from deployments.parser.reading.nested import Unread, Within, add_file
from deployments.parser.reading.outlined_text import OutlinedText
from deployments.parser.reading.xml_trees import damaged
from deployments.types import DocumentWarning, WarningCode

if TYPE_CHECKING:
    from oxmsg.recipient import Recipient

    from deployments.parser.reading.content import Content

_WHAT: Final = "This Outlook mail"


def read_msg(data: bytes, filename: str, *, max_chars: int, within: Within) -> Content:
    """Read a mail with its attachments; the title is its subject."""
    from oxmsg import Message

    text = OutlinedText(max_chars)
    unread = Unread()
    warnings: list[DocumentWarning] = []
    try:
        mail = Message.load(io.BytesIO(data))
        subject = one_line(mail.subject or "")
        to = ", ".join(_address(each) for each in mail.recipients)
        sent = mail.sent_date.isoformat(" ", "minutes") if mail.sent_date else ""
        add_headers(
            text,
            iter((("From", mail.sender or ""), ("To", to), ("Date", sent), ("Subject", subject))),
        )
        add_body(text, mail.body or "", mail.html_body or "")
        attached = [
            (one_line(each.file_name or "attached mail"), each.file_bytes)
            for each in mail.attachments
        ]
    except (OSError, ValueError, KeyError, AttributeError, IndexError, TypeError) as error:
        raise damaged(_WHAT) from error
    for name, content in attached:
        if content is None:  # a mail within the mail
            unread.note(name)
            continue
        within.unpacked.add(len(content))
        warnings += add_file(
            text, content, name, within, unread, heading=f"Attachment {name}", max_chars=max_chars
        )
    if unread.names:
        warnings.append(unread.warning(WarningCode.ATTACHMENTS_NOT_READ, "attachments"))
    return text.content(subject or title_of_filename(filename), Format.MSG, warnings)


def _address(recipient: Recipient) -> str:
    name, address = recipient.name or "", recipient.email_address or ""
    return f"{name} <{address}>" if name and address and name != address else name or address
