"""Files are known by their content, whatever they are called."""

from __future__ import annotations

import re

import pytest

from deployments.errors import Unprocessable, UnsupportedMedia
from deployments.parser.reading.formats import READ, SUFFIXES, Format, decode, detect
from deployments.parser.reading.pdf_warnings import PageStates, warnings_of
from deployments.types import DocumentWarning, WarningCode
from serve_app.routes.documents import upload
from serve_app.schemas.reading import WARNING_EXAMPLE, ReadingWarning
from tests.support.archives import zip_file
from tests.support.paths import ROOT

OFFICE = zip_file({"word/document.xml": "<x/>"})
PROSE = "Él dijo que sí: naïve cafés, smörgåsbord. " * 20


@pytest.mark.parametrize(
    ("data", "filename", "expected"),
    [
        (b"%PDF-1.7\n...", "report.pdf", Format.PDF),
        (b"%PDF-1.7\n...", "no extension", Format.PDF),
        (b"\n\n<mail header>\n%PDF-1.4", "scan.bin", Format.PDF),
        (b"A PDF begins with %PDF-1.7.", "about.txt", Format.TEXT),
        (b"# Notes\n", "NOTES.MD", Format.MARKDOWN),
        (b"just words", "words.md", Format.MARKDOWN),
        (b"<!DOCTYPE html>\n<html></html>", "page", Format.HTML),
        (b'<?xml version="1.0"?>\n<html xmlns="x"/>', "page.txt", Format.HTML),
        ("<html></html>".encode("utf-16"), "page", Format.HTML),
        (b"<p>fragment</p>", "part.htm", Format.HTML),
        (b"import os\n", "script.py", Format.CODE),
        (b"word", "", Format.TEXT),
        (b"\x89PNG\r\n\x1a\n...", "scan.bin", Format.PNG),
        (b"\xff\xd8\xff\xe0...", "photo.jpg", Format.JPEG),
        (b"II*\x00...", "fax.tif", Format.TIFF),
        (b"MM\x00*...", "fax.tif", Format.TIFF),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "photo", Format.WEBP),
    ],
)
def test_detects_format(data: bytes, filename: str, expected: Format) -> None:
    assert detect(data, filename) is expected


def test_nothing_in_the_file() -> None:
    with pytest.raises(Unprocessable, match="0 bytes") as caught:
        detect(b"", "empty.pdf")
    assert caught.value.code == "empty_file"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"hello", "This is not a PDF"),
        (b"\x89PNG\r\n\x1a\n", "This is not a PDF: it looks like an image"),
        (
            OFFICE,
            "This is not a PDF: it looks like a Zip archive or an Office document",
        ),
    ],
)
def test_a_pdf_by_name_only(data: bytes, reason: str) -> None:
    with pytest.raises(UnsupportedMedia, match=reason):
        detect(data, "Report.PDF")


@pytest.mark.parametrize("filename", ["a.png", "a.bin", "a.txt"])
def test_other_formats_are_named_and_so_are_those_that_are_read(filename: str) -> None:
    with pytest.raises(UnsupportedMedia, match=r"7z.*PDF, Word, .* plain text, Markdown"):
        detect(b"7z\xbc\xaf\x27\x1c", filename)


def test_the_page_offers_the_formats_that_are_read() -> None:
    page = (ROOT / "serve_app" / "page" / "index.html").read_text()
    offered = re.search(r'id="files"[^>]* accept="([^"]*)"', page)
    assert offered
    suffixes = {each for some in SUFFIXES.values() for each in some.split()}
    assert {each for each in offered[1].split(",") if each.startswith(".")} == suffixes


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"]
)
def test_decodes_what_editors_save(encoding: str) -> None:
    assert decode(PROSE.encode(encoding)) == PROSE


@pytest.mark.parametrize(
    "data",
    [bytes(range(256)) * 8, b"text with a \0 in it", b"\x01\x02\x03\x04 ok", b"\x81\x8d\x8f" * 99],
    ids=["all bytes", "nul", "controls", "undefined"],
)
def test_binary_is_not_text(data: bytes) -> None:
    with pytest.raises(UnsupportedMedia, match="not a text file"):
        decode(data)


def test_the_page_and_the_reference_name_the_same_formats() -> None:
    assert READ in " ".join(str(upload.__doc__).split())
    assert f'"{READ}"' in (ROOT / "serve_app/page/documents/file_checks.js").read_text()


def test_the_reference_names_all_warnings_and_shows_a_real_one() -> None:
    assert set(WarningCode) <= set(re.findall(r"`(\w+)`", str(ReadingWarning.__doc__)))
    pages = {2, 3, 4}
    (warning,) = warnings_of(PageStates(12, without_text=pages, recognised=pages))
    assert DocumentWarning(**WARNING_EXAMPLE | {"pages": tuple(pages)}) == warning  # type: ignore[arg-type]
