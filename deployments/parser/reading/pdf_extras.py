"""What a PDF holds beside the text of its pages: form values, notes and attached files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from deployments.parser.reading.content import one_line
from deployments.parser.reading.pdf_lines import Segment, Word, segment_of
from deployments.parser.reading.pdfium import PdfiumDocument, utf16

if TYPE_CHECKING:
    from deployments.parser.reading.pdfium import PdfiumPage

_MAX_ANNOTATIONS: Final = 2000  # on a page
_MAX_ATTACHMENTS: Final = 1000
_MAX_NOTE_CHARS: Final = 20_000
_LINE_HEIGHT: Final = 11.0  # points: a value is set on the line of its label
_FORM_INFO_VERSION: Final = 2
_CHECKED: Final = "[x]"


class Annotations:
    """Reads the values of form fields and the texts of notes."""

    def __init__(self, document: PdfiumDocument) -> None:
        """Prepare the form of a document, if it has one."""
        raw = document.raw
        self._raw: Any = raw
        self._info = raw.FPDF_FORMFILLINFO(version=_FORM_INFO_VERSION)
        has_form = raw.FPDF_GetFormType(document.handle) != raw.FORMTYPE_NONE
        self._form = (
            raw.FPDFDOC_InitFormFillEnvironment(document.handle, self._info) if has_form else None
        )

    def read(self, page: PdfiumPage, order: int) -> tuple[list[Segment], list[str]]:
        """Return the values as segments where they are shown, and the texts of notes.

        `order` is the number of the first segment.
        """
        raw = self._raw
        values: list[Segment] = []
        notes: list[str] = []
        for index in range(min(raw.FPDFPage_GetAnnotCount(page.handle), _MAX_ANNOTATIONS)):
            annotation = raw.FPDFPage_GetAnnot(page.handle, index)
            if not annotation:
                continue
            kind = raw.FPDFAnnot_GetSubtype(annotation)
            if kind == raw.FPDF_ANNOT_WIDGET:
                text = self._value(annotation)
            elif kind in (raw.FPDF_ANNOT_LINK, raw.FPDF_ANNOT_POPUP):
                text = ""
            else:
                text = utf16(raw.FPDFAnnot_GetStringValue, annotation, b"Contents")
            text = text[:_MAX_NOTE_CHARS].strip()
            if text and kind in (raw.FPDF_ANNOT_WIDGET, raw.FPDF_ANNOT_FREETEXT):
                values += self._segments(page, annotation, text, order + len(values))
            elif text:
                notes.append(text)
            raw.FPDFPage_CloseAnnot(annotation)
        return values, notes

    def _value(self, annotation: Any) -> str:  # noqa: ANN401 - a handle
        raw = self._raw
        if not self._form:
            return utf16(raw.FPDFAnnot_GetStringValue, annotation, b"V")
        kind = raw.FPDFAnnot_GetFormFieldType(self._form, annotation)
        if kind in (raw.FPDF_FORMFIELD_CHECKBOX, raw.FPDF_FORMFIELD_RADIOBUTTON):
            return _CHECKED if raw.FPDFAnnot_IsChecked(self._form, annotation) else ""
        if kind in (raw.FPDF_FORMFIELD_PUSHBUTTON, raw.FPDF_FORMFIELD_SIGNATURE):
            return ""
        return utf16(raw.FPDFAnnot_GetFormFieldValue, self._form, annotation)

    def _segments(
        self,
        page: PdfiumPage,
        annotation: Any,  # noqa: ANN401 - a handle
        text: str,
        order: int,
    ) -> list[Segment]:
        """Return a segment for each line of a text, from the top of its box."""
        box = self._raw.FS_RECTF()
        self._raw.FPDFAnnot_GetRect(annotation, box)
        left, bottom, right, top = page.shown(
            min(box.left, box.right),
            min(box.bottom, box.top),
            max(box.left, box.right),
            max(box.bottom, box.top),
        )
        lines = [line for line in text.replace("\r", "\n").split("\n") if line.strip()]
        height = min(_LINE_HEIGHT, max(top - bottom, 1.0))
        if len(lines) == 1:
            top = (top + bottom + height) / 2  # in the middle
        found = []
        for number, line in enumerate(lines):
            high = top - number * height
            words = [Word(word, left, high - height, right, high) for word in line.split()]
            found.append(segment_of(words, order + number))
        return found


def attachment_names(document: PdfiumDocument) -> list[str]:
    """Return the names of the files attached to the document."""
    raw = document.raw
    count = min(raw.FPDFDoc_GetAttachmentCount(document.handle), _MAX_ATTACHMENTS)
    names = []
    for index in range(count):
        attachment = raw.FPDFDoc_GetAttachment(document.handle, index)
        name = utf16(raw.FPDFAttachment_GetName, attachment) if attachment else ""
        names.append(one_line(name) or "unnamed")
    return names
