"""Text in pictures of documents, mails and archives is read by OCR, where the picture stands."""

from __future__ import annotations

import contextlib
import datetime as dt
import io
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import pytest
from PIL import Image

from deployments.errors import Unprocessable
from deployments.file_store import FileStore
from deployments.parser.file_parser import FileParser
from deployments.parser.ocr.pictures import picture as decoded
from deployments.parser.ocr.recognition import Recognizer
from deployments.parser.reading.content import Content
from deployments.parser.reading.embedded_pictures import Pictures
from deployments.parser.reading.formats import detect
from deployments.parser.reading.readers import reader_of, whole_file
from deployments.parser.sandbox import Sandbox
from deployments.types import SHORT_PARSE_EXCEEDED, ParsedDocument, ParseSpec, WarningCode
from tests.support import pictured_files, scans
from tests.support.archives import zip_file
from tests.support.compound_files import msg, xls

pytestmark = pytest.mark.anyio

LIMIT = 100_000


@pytest.fixture(scope="module")
async def recognizer(anyio_backend: str) -> AsyncIterator[Recognizer]:
    shared = Recognizer(max_pages=6)
    yield shared
    shared.close()


def blank(width: int = 400, height: int = 300, grey: int = 200) -> bytes:
    """Return a picture without text."""
    out = io.BytesIO()
    Image.new("L", (width, height), grey).save(out, "PNG")
    return out.getvalue()


def read_twice(
    name: str, data: bytes, text_of: Callable[[int], str] = "word{}".format
) -> tuple[Content, Pictures]:
    """Read a file as the service does: the second time with what OCR has read in its pictures."""

    def read(pictures: Pictures) -> Content:
        reader = reader_of(detect(data, name), whole_file(10, pictures))
        return reader(data, name, max_chars=LIMIT)

    first = Pictures()
    with contextlib.suppress(Unprocessable):  # without a text but in pictures
        read(first)
    texts = {each.key: text_of(number) for number, each in enumerate(first.ocr_requests)}
    second = Pictures(texts)
    content = read(second)
    assert second.ocr_requests == first.ocr_requests
    return content, second


PICTURE = blank()
FILES: Mapping[str, tuple[bytes, str, str]] = {
    "a.docx": (pictured_files.docx([PICTURE, PICTURE]), "Before it.\n\n", "\n\nSecond part"),
    "a.pptx": (
        pictured_files.pptx([("One", ()), ("Two", [PICTURE]), ("Three", [PICTURE])]),
        "Two\n\n",
        "\n\nThree",
    ),
    "a.xlsx": (pictured_files.xlsx(PICTURE), "Drawing\n\n", ""),
    "a.odt": (pictured_files.odt(PICTURE), "Before it.\n\n", "\n\nSecond part"),
    "a.odp": (pictured_files.odp(PICTURE), "Second part\n\n", ""),
    "a.ods": (pictured_files.ods(PICTURE), "Item\n\n", "\n\nPrices"),
    "a.epub": (pictured_files.epub(PICTURE), "Before it.\n\n", "\n\nBelow it."),
    "inline.eml": (pictured_files.eml([PICTURE]), "See below.\n\n", ""),
    "attached.eml": (pictured_files.eml((), [PICTURE]), "Attachment photo0.png\n\n", ""),
    "a.msg": (
        msg(
            subject="Plan",
            sender=("Ann", "a@example.org"),
            to=("Bert", "b@example.org"),
            sent=dt.datetime(2026, 5, 12, tzinfo=dt.UTC),
            body="See below.",
            attachments={"image001.png": PICTURE},
        ),
        "Attachment image001.png\n\n",
        "",
    ),
    "a.mhtml": (pictured_files.mhtml(PICTURE), "winter only.\n\n", ""),
    "a.zip": (zip_file({"x/photo.png": PICTURE, "z.txt": "End"}), "x/photo.png\n\n", "\n\nz.txt"),
    "mail.zip": (zip_file({"m.eml": pictured_files.eml([PICTURE])}), "See below.\n\n", ""),
}


@pytest.mark.parametrize("name", FILES)
async def test_the_text_of_a_picture_is_at_its_place(name: str) -> None:
    data, before, after = FILES[name]
    content, pictures = read_twice(name, data)
    assert len(pictures.ocr_requests) == 1
    assert f"{before}word0{after}" in content.text
    assert content.text.count("word0") == 1
    ((start, end),) = content.all_ocr_spans()
    assert content.text[start:end] == "word0"
    assert not pictures.warnings()
    assert not content.warnings


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "JPEG", "WEBP"])
async def test_pictures_of_other_formats_are_sent_to_ocr(kind: str) -> None:
    out = io.BytesIO()
    Image.new("RGB", (400, 300), (200, 9, 9)).save(out, kind)
    content, pictures = read_twice("a.docx", pictured_files.docx([out.getvalue()]))
    assert "word0" in content.text
    assert decoded(out.getvalue(), pictures.ocr_requests[0].media_type, 1).shape == (300, 400, 3)


async def test_a_picture_in_two_files_of_an_archive_is_read_once_and_shown_in_both() -> None:
    letter = pictured_files.docx([PICTURE, PICTURE])
    content, pictures = read_twice("a.zip", zip_file({"a.docx": letter, "b.docx": letter}))
    assert len(pictures.ocr_requests) == 1
    assert content.text.count("Before it.\n\nword0\n\nSecond part") == 2
    assert len(content.all_ocr_spans()) == 2


async def test_all_pages_of_a_fax_are_read_that_another_file_shows_as_a_picture() -> None:
    fax = scans.tiff([scans.Scan(["One"]), scans.Scan(["Two"])])
    data = zip_file({"a.docx": pictured_files.docx([fax]), "b.tif": fax})
    content, pictures = read_twice("a.zip", data)
    assert [each.page for each in pictures.ocr_requests] == [1, 2]
    assert [content.text.count(word) for word in ("word0", "word1")] == [2, 1]


async def test_pictures_that_are_not_read_are_counted_with_the_reasons() -> None:
    small, drawing = blank(199, 199), b"<svg xmlns='http://www.w3.org/2000/svg'/>"
    narrow = blank(2000, 30)
    data = pictured_files.docx([small, narrow, PICTURE, drawing, PICTURE[:20]], [blank(grey=9)])
    content, pictures = read_twice("a.docx", data)
    assert content.text.count("word") == 2  # the deleted picture is still in the file
    (warning,) = pictures.warnings()
    assert warning.code == WarningCode.PICTURES_NOT_READ
    assert warning.message == (
        "4 pictures were not read: 2 smaller than 40,000 pixels, such as logos, "
        "1 in other formats than PNG, JPEG, TIFF, WebP, GIF and BMP, 1 damaged."
    )


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        (
            "a.xls",
            xls({"Stock": [["Item", "Number"], ["Lamp", 47.0]]}, picture=PICTURE),
            "Pictures in this workbook were not read: save it as XLSX",
        ),
        (
            "a.rtf",
            b"{\\rtf1 A lamp.{\\pict\\pngblip " + PICTURE.hex().encode() + b"}}",
            "Pictures in this document were not read: save it as DOCX",
        ),
    ],
)
async def test_pictures_in_old_formats_are_reported(name: str, data: bytes, said: str) -> None:
    content, _ = read_twice(name, data)
    (warning,) = content.warnings
    assert warning.code == WarningCode.PICTURES_NOT_READ
    assert said in warning.message


async def parse(
    folder: Path,
    sandbox: Sandbox,
    data: bytes,
    name: str,
    recognizer: Recognizer | None,
    *,
    short: bool = False,
) -> ParsedDocument:
    store = FileStore(str(folder))
    await store.put(f"uploads/{name}", data)
    spec = ParseSpec(f"uploads/{name}", name, "chunks", inline=True, short=short)
    return await FileParser(sandbox, store, 1 << 26, recognizer).parse(spec)


async def test_pictures_of_documents_are_found_by_their_words(
    tmp_path: Path, sandbox: Sandbox, recognizer: Recognizer
) -> None:
    facts = [scans.fact(90, number) for number in range(4)]
    pictures = [pictured_files.png(sentence) for sentence, _ in facts]
    data = zip_file(
        {
            "notes.txt": "Said in letters. " * 30,
            "show.pptx": pictured_files.pptx([("One", pictures[:1]), ("Two", pictures[:1])]),
            "letter.eml": pictured_files.eml([pictures[1]]),
            "scan.pdf": scans.pdf([scans.Scan([facts[2][0]], noise=2.0)]),
            "photo.png": pictures[3],
            "empty.docx": pictured_files.docx([blank()]),
        }
    )
    document = await parse(tmp_path, sandbox, data, "all.zip", recognizer)
    text = "\n".join(each.text for each in document.inline)
    places = ("One", "letter.eml", "scan.pdf", "photo.png")
    marks = [
        mark for place, (_, words) in zip(places, facts, strict=True) for mark in (place, words)
    ]
    assert [text.count(words) for _, words in facts] == [1] * 4
    assert sorted(marks, key=text.index) == marks
    for chunk in document.inline:
        assert chunk.ocr == any(words in chunk.text for _, words in facts)
    assert not document.inline[0].ocr
    assert {each.code: each.message for each in document.warnings} == {
        WarningCode.PICTURES_NOT_READ: "OCR found no text in 1 picture.",
        WarningCode.PAGES_BY_OCR: "The text of 4 pictures was recognised by OCR, and may have "
        "mistakes.",
    }


async def test_pictures_over_the_limit_or_without_ocr_are_reported(
    tmp_path: Path, sandbox: Sandbox, recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = pictured_files.docx([blank(grey=grey) for grey in (1, 2, 3)])
    off = await parse(tmp_path, sandbox, data, "a.docx", None)
    assert "Before it." in off.inline[0].text
    assert [(each.code, each.message) for each in off.warnings] == [
        (WarningCode.PICTURES_NOT_READ, "3 pictures were not read: OCR is off on this service.")
    ]
    logo = pictured_files.pptx([("", [blank(100, 100)])])
    with pytest.raises(Unprocessable, match=r"text in this file\. 1 picture was not read: 1 small"):
        await parse(tmp_path, sandbox, logo, "logo.pptx", recognizer)
    only = zip_file({"photo.png": PICTURE})
    with pytest.raises(Unprocessable, match=r"`parser\.ocr` enables it") as caught:
        await parse(tmp_path, sandbox, only, "a.zip", None)
    assert caught.value.code == "no_text"
    with pytest.raises(Unprocessable) as caught:
        await parse(tmp_path, sandbox, data, "a.docx", recognizer, short=True)
    assert caught.value.code == SHORT_PARSE_EXCEEDED
    monkeypatch.setattr(recognizer, "_max_pages", 1)
    document = await parse(tmp_path, sandbox, data, "a.docx", recognizer)
    assert {each.code: each.message for each in document.warnings} == {
        WarningCode.CUT_AT_LIMIT: "OCR reads 1 pictures of a document at most; 2 pictures more "
        "need it.",
        WarningCode.PICTURES_NOT_READ: "OCR found no text in 1 picture.",
    }
