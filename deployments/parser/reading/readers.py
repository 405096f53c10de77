"""Choose the reader of a format; each imports its own libraries when it is chosen."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from deployments.errors import Unprocessable
from deployments.parser.reading.embedded_pictures import MIN_PICTURE_PIXELS, Pictures, is_small
from deployments.parser.reading.formats import IMAGES, Format, detect
from deployments.parser.reading.images import open_image
from deployments.parser.reading.nested import Within, headings_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from deployments.parser.reading.content import Content


def reader_of(  # noqa: C901, PLR0911, PLR0912 - a table
    kind: Format, within: Within, ocr: Mapping[int, str] | None = None
) -> Callable[..., Content]:
    """Return the function that reads files of a format: `read(data, filename, max_chars=...)`.

    `ocr` are texts that were recognised on its pages, which PDFs and images have.
    """
    match kind:
        case Format.PDF:
            from deployments.parser.reading.pdf import read_pdf

            return partial(read_pdf, max_pages=within.max_pages, ocr=ocr)
        case Format.PNG | Format.JPEG | Format.TIFF | Format.WEBP:
            from deployments.parser.reading.picture import read_picture

            return partial(read_picture, max_pages=within.max_pages, ocr=ocr)
        case Format.HTML:
            from deployments.parser.reading.html import read_html

            return read_html
        case Format.MARKDOWN:
            from deployments.parser.reading.markdown import read_markdown

            return read_markdown
        case Format.TEXT:
            from deployments.parser.reading.text import read_text

            return read_text
        case Format.DOCX:
            from deployments.parser.reading.docx import read_docx

            return partial(read_docx, pictures=within.pictures)
        case Format.PPTX:
            import pptx  # noqa: F401 - before the process is confined

            from deployments.parser.reading.slides import read_pptx

            return partial(read_pptx, pictures=within.pictures)
        case Format.XLSX | Format.XLSB | Format.XLS:
            import python_calamine  # noqa: F401 - before the process is confined

            from deployments.parser.reading.sheets import read_sheets

            return partial(read_sheets, pictures=within.pictures)
        case Format.ODT | Format.ODS | Format.ODP:
            from deployments.parser.reading.opendocument import read_opendocument

            return partial(read_opendocument, pictures=within.pictures)
        case Format.RTF:
            from deployments.parser.reading.rtf import read_rtf

            return read_rtf
        case Format.EPUB:
            from deployments.parser.reading.epub import read_epub

            return partial(read_epub, pictures=within.pictures)
        case Format.EML:
            from deployments.parser.reading.mail import read_eml

            return partial(read_eml, within=within)
        case Format.MSG:
            import oxmsg  # noqa: F401 - before the process is confined

            from deployments.parser.reading.outlook import read_msg

            return partial(read_msg, within=within)
        case Format.MHTML:
            from deployments.parser.reading.mhtml import read_mhtml

            return partial(read_mhtml, pictures=within.pictures)
        case Format.ZIP:
            from deployments.parser.reading.zip_archive import read_zip

            return partial(read_zip, within=within)
        case Format.CSV | Format.TSV:
            from deployments.parser.reading.delimited import read_csv, read_tsv

            return read_csv if kind is Format.CSV else read_tsv
        case Format.JSON | Format.JSONL:
            from deployments.parser.reading.json_text import read_json, read_jsonl

            return read_json if kind is Format.JSON else read_jsonl
        case Format.NOTEBOOK:
            from deployments.parser.reading.notebook import read_notebook

            return read_notebook
        case Format.CODE | Format.LOG:
            from deployments.parser.reading.code import read_code, read_log

            return read_code if kind is Format.CODE else read_log
        case Format.SUBTITLES:
            from deployments.parser.reading.subtitles import read_subtitles

            return read_subtitles
        case Format.XML:
            from deployments.parser.reading.xml_text import read_xml

            return read_xml


def whole_file(max_pages: int, pictures: Pictures | None = None) -> Within:
    """Return what files within an uploaded one share; of each, so many pages are read."""
    return Within(_read_nested, max_pages, pictures=pictures or Pictures())


def _read_nested(data: bytes, filename: str, within: Within, max_chars: int) -> Content:
    """Read a file within another one, with all of its headings, and what OCR has read of it."""
    kind = detect(data, filename)
    if kind in IMAGES and is_small(open_image(data)):
        msg = f"The image has less than {MIN_PICTURE_PIXELS:,} pixels."
        raise Unprocessable(msg, code="small_image")
    within.pictures.begin_document()
    content = reader_of(kind, within)(data, filename, max_chars=max_chars)
    if content.ocr_wanted:
        texts = within.pictures.page_texts(data, kind, content.ocr_wanted)
        if texts:
            content = reader_of(kind, within, texts)(data, filename, max_chars=max_chars)
    return replace(content, outline=headings_of(content))
