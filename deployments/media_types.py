"""The formats that are read, with their media types and file name extensions."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

READ: Final = (
    "Files that are read: PDF, Word, PowerPoint, Excel, OpenDocument, RTF, EPUB, mails, web "
    "pages, plain text, Markdown, CSV, JSON, XML, notebooks, source code, subtitles, ZIP files of "
    "these, and images as PNG, JPEG, TIFF or WebP."
)


class Format(StrEnum):
    """A supported format; its value is the media type."""

    PDF = "application/pdf"
    TEXT = "text/plain"
    MARKDOWN = "text/markdown"
    HTML = "text/html"
    DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
    PPTX = "application/vnd.openxmlformats-officedocument.presentationml.presentation"
    XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
    XLSB = "application/vnd.ms-excel.sheet.binary.macroenabled.12"
    XLS = "application/vnd.ms-excel"
    ODT = "application/vnd.oasis.opendocument.text"
    ODS = "application/vnd.oasis.opendocument.spreadsheet"
    ODP = "application/vnd.oasis.opendocument.presentation"
    RTF = "application/rtf"
    EPUB = "application/epub+zip"
    EML = "message/rfc822"
    MSG = "application/vnd.ms-outlook"
    MHTML = "multipart/related"
    CSV = "text/csv"
    TSV = "text/tab-separated-values"
    JSON = "application/json"
    JSONL = "application/jsonl"
    NOTEBOOK = "application/x-ipynb+json"
    CODE = "text/x-source"
    LOG = "text/x-log"
    SUBTITLES = "application/x-subrip"
    XML = "application/xml"
    ZIP = "application/zip"
    PNG = "image/png"
    JPEG = "image/jpeg"
    TIFF = "image/tiff"
    WEBP = "image/webp"


SLIDES: Final = frozenset((Format.PPTX, Format.ODP))
"""Formats whose pages are slides."""
SHEETS: Final = frozenset((Format.XLSX, Format.XLSB, Format.XLS, Format.ODS))
"""Formats whose sections are sheets."""
IMAGES: Final = frozenset((Format.PNG, Format.JPEG, Format.TIFF, Format.WEBP))


SUFFIXES: Final[dict[Format, str]] = {
    Format.PDF: ".pdf",
    Format.TEXT: ".txt .text",
    Format.MARKDOWN: ".md .markdown",
    Format.HTML: ".html .htm .xhtml",
    Format.DOCX: ".docx .docm .dotx .dotm",
    Format.PPTX: ".pptx .pptm .ppsx .ppsm .potx .potm",
    Format.XLSX: ".xlsx .xlsm .xltx .xltm",
    Format.XLSB: ".xlsb",
    Format.XLS: ".xls .xlt",
    Format.ODT: ".odt .ott",
    Format.ODS: ".ods .ots",
    Format.ODP: ".odp .otp",
    Format.RTF: ".rtf",
    Format.EPUB: ".epub",
    Format.EML: ".eml .emlx",
    Format.MSG: ".msg",
    Format.MHTML: ".mhtml .mht",
    Format.CSV: ".csv",
    Format.TSV: ".tsv .tab",
    Format.JSON: ".json .geojson",
    Format.JSONL: ".jsonl .ndjson",
    Format.NOTEBOOK: ".ipynb",
    Format.LOG: ".log",
    Format.SUBTITLES: ".srt .vtt",
    Format.XML: ".xml",
    Format.ZIP: ".zip",
    Format.PNG: ".png",
    Format.JPEG: ".jpg .jpeg",
    Format.TIFF: ".tif .tiff",
    Format.WEBP: ".webp",
    Format.CODE: (
        ".py .pyi .js .mjs .cjs .ts .tsx .jsx .java .c .h .cc .cpp .cxx .hpp .hh .cs .go .rs .rb "
        ".php .swift .kt .kts .scala .sh .bash .zsh .ps1 .sql .r .jl .lua .pl .pm .m .dart .ex "
        ".exs .erl .hs .clj .groovy .gradle .vb .f90 .proto .tf .yaml .yml .toml .ini .cfg .css "
        ".scss .vue .svelte"
    ),
}
"""The file name extensions of each format, for detection and for what clients offer."""
