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

    Codes; more may be added:

    - `pages_without_text`: no text was found on the pages
    - `pages_by_ocr`: their text, or that of pictures in it, is from OCR, and may have mistakes
    - `pages_unreadable`: their fonts do not map to characters
    - `attachments_not_read`: files attached to it were not read
    - `cut_at_limit`: more pages need OCR than are read
    - `partly_read`: damaged or skipped parts
    - `script_not_read`: the OCR models do not know the writing system of the pages
    - `zip_document`: an earlier version of the service made one document of the ZIP file
    - `pictures_not_read`: pictures in it in which no text was read

    `pages` count from 1; of many, the first ones are named.
    """

    model_config = ConfigDict(from_attributes=True)

    code: str
    message: str
    pages: list[int]
