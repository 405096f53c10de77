"""The JSON of what was not read of a document."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

WARNING_EXAMPLE = {
    "code": "pages_by_ocr",
    "message": "The text of 3 of 12 pages was recognised by OCR, and may have mistakes.",
    "pages": [2, 3, 4],
}


class ReadingWarning(BaseModel):
    """What was not read of a document, or not as usual; `message` says it to a person.

    Codes: `pages_without_text`, `pages_by_ocr`, `pages_unreadable`, `attachments_not_read`,
    `cut_at_limit`, `partly_read`, `script_not_read`; there may be others.

    `pages` count from 1; of many, the first ones are named.
    """

    model_config = ConfigDict(from_attributes=True)

    code: str
    message: str
    pages: list[int]
