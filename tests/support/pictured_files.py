"""Documents of every format that has pictures in it, with a picture at a known place."""

# ruff: noqa: E501 - lines of markup are whole

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from email.message import EmailMessage
from typing import Any

from tests.support import scans
from tests.support.archives import zip_file
from tests.support.office_files import opendocument

_W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_R = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_A = "http://schemas.openxmlformats.org/drawingml/2006/main"
_RELS = "http://schemas.openxmlformats.org/package/2006/relationships"


def png(line: str) -> bytes:
    """Return a picture of a line of text."""
    return scans.image(scans.Scan([line], noise=2.0), "PNG")


def docx(pictures: Sequence[bytes], deleted: Sequence[bytes] = ()) -> bytes:
    """Return a Word document: the pictures stand between two headings, each in a paragraph."""

    def paragraph(inside: str, style: str = "") -> str:
        styled = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
        return f"<w:p>{styled}{inside}</w:p>"

    def drawing(number: int) -> str:
        return f'<w:r><w:drawing><a:blip r:embed="p{number}"/></w:drawing></w:r>'

    def run(text: str) -> str:
        return f"<w:r><w:t>{text}</w:t></w:r>"

    count = len(pictures)
    body = paragraph(run("First part"), "h1") + paragraph(run("Before it."))
    body += "".join(paragraph(drawing(number)) for number in range(count))
    body += "".join(
        paragraph(f"<w:del>{drawing(count + number)}</w:del>") for number in range(len(deleted))
    )
    body += paragraph(run("Second part"), "h1") + paragraph(run("After it."))
    relations = "".join(
        f'<Relationship Id="p{number}" Type="{_R}/image" Target="media/image{number}.png"/>'
        for number in range(count + len(deleted))
    )
    names = f'xmlns:w="{_W}" xmlns:r="{_R}" xmlns:a="{_A}"'
    style = '<w:style w:styleId="h1"><w:name w:val="heading 1"/></w:style>'
    return zip_file(
        {
            "[Content_Types].xml": "<Types/>",
            "word/document.xml": f"<w:document {names}><w:body>{body}</w:body></w:document>",
            "word/styles.xml": f"<w:styles {names}>{style}</w:styles>",
            "word/_rels/document.xml.rels": f'<Relationships xmlns="{_RELS}">{relations}</Relationships>',
            **{
                f"word/media/image{number}.png": each
                for number, each in enumerate((*pictures, *deleted))
            },
        }
    )


def pptx(slides: Sequence[tuple[str, Sequence[bytes]]]) -> bytes:
    """Return a presentation: of each slide, the title and the pictures."""
    import pptx as library

    show = library.Presentation()
    for title, pictures in slides:
        slide = show.slides.add_slide(show.slide_layouts[5])
        slide.shapes.title.text = title
        for each in pictures:
            slide.shapes.add_picture(io.BytesIO(each), 0, 0)
    out = io.BytesIO()
    show.save(out)
    return out.getvalue()


def xlsx(picture: bytes) -> bytes:
    """Return a workbook whose second sheet holds the picture only."""
    import xlsxwriter  # type: ignore[import-untyped]

    out = io.BytesIO()
    book = xlsxwriter.Workbook(out)
    book.add_worksheet("Stock").write_row(0, 0, ("Item", "Number"))
    drawn: Any = book.add_worksheet("Drawing")
    drawn.insert_image(1, 1, "a.png", {"image_data": io.BytesIO(picture)})
    book.close()
    return out.getvalue()


def odt(picture: bytes) -> bytes:
    """Return a text document: the picture stands between two headings."""
    content = (
        '<text:h text:outline-level="1">First part</text:h><text:p>Before it.</text:p>'
        '<text:p><draw:frame><draw:image xlink:href="Pictures/a.png"/></draw:frame></text:p>'
        '<text:h text:outline-level="1">Second part</text:h><text:p>After it.</text:p>'
    )
    return _with_picture(opendocument("text", content), picture)


def odp(picture: bytes) -> bytes:
    """Return a presentation: the picture is on the second slide."""
    title = '<draw:frame presentation:class="title"><draw:text-box><text:p>{}</text:p></draw:text-box></draw:frame>'
    frame = '<draw:frame><draw:image xlink:href="Pictures/a.png"/></draw:frame>'
    content = (
        f"<draw:page>{title.format('First part')}</draw:page>"
        f"<draw:page>{title.format('Second part')}{frame}</draw:page>"
    )
    return _with_picture(opendocument("presentation", content), picture)


def ods(picture: bytes) -> bytes:
    """Return a workbook: the picture is on the first of two sheets."""
    row = "<table:table-row><table:table-cell><text:p>{}</text:p></table:table-cell></table:table-row>"
    frame = '<draw:frame><draw:image xlink:href="Pictures/a.png"/></draw:frame>'
    content = (
        f'<table:table table:name="Stock"><table:shapes>{frame}</table:shapes>{row.format("Item")}</table:table>'
        f'<table:table table:name="Prices">{row.format("Price")}</table:table>'
    )
    return _with_picture(opendocument("spreadsheet", content), picture)


def epub(picture: bytes) -> bytes:
    """Return a book: the picture is in the first of two chapters."""

    def page(body: str) -> str:
        return f'<html xmlns="http://www.w3.org/1999/xhtml"><body>{body}</body></html>'

    kind = 'media-type="application/xhtml+xml"'
    package = (
        '<package xmlns="http://www.idpf.org/2007/opf"><metadata/><manifest>'
        f'<item id="a" href="text/a.xhtml" {kind}/><item id="b" href="text/b.xhtml" {kind}/>'
        '<item id="p" href="a.png" media-type="image/png"/>'
        '</manifest><spine><itemref idref="a"/><itemref idref="b"/></spine></package>'
    )
    return zip_file(
        {
            "mimetype": "application/epub+zip",
            "META-INF/container.xml": '<container><rootfiles><rootfile full-path="O/p.opf"/></rootfiles></container>',
            "O/p.opf": package,
            "O/text/a.xhtml": page(
                '<h1>First part</h1><p>Before it.</p><p><img src="../a.png"/></p><p>Below it.</p>'
            ),
            "O/text/b.xhtml": page("<h1>Second part</h1><p>After it.</p>"),
            "O/a.png": picture,
        }
    )


def eml(inline: Sequence[bytes] = (), attached: Sequence[bytes] = ()) -> bytes:
    """Return a mail with pictures within its text, and attached ones."""
    mail = EmailMessage()
    mail["From"], mail["Date"], mail["Subject"] = "Ann", "Mon, 11 May 2026 10:00:00 +0000", "Plan"
    mail.set_content("See below.")
    shown = "".join(f'<img src="cid:{number}"/>' for number in range(len(inline)))
    mail.add_alternative(f"<p>See below.</p>{shown}", subtype="html")
    for number, each in enumerate(inline):
        mail.get_payload()[1].add_related(each, "image", "png", cid=f"<{number}>")  # type: ignore[index, union-attr]
    for number, each in enumerate(attached):
        mail.add_attachment(each, "image", "png", filename=f"photo{number}.png")
    return mail.as_bytes()


def mhtml(picture: bytes) -> bytes:
    """Return a saved web page with a picture."""
    said = "The mill of Gerlin is old, as all who live there know, and grinds in winter only. "
    return (
        b"From: <Saved by a browser>\r\nSnapshot-Content-Location: http://example.org/\r\n"
        b"Subject: x\r\nMIME-Version: 1.0\r\n"
        b'Content-Type: multipart/related; type="text/html"; boundary="B"\r\n\r\n--B\r\n'
        b"Content-Type: text/html\r\n\r\n<html><body><h1>Mill</h1><p>"
        + said.encode()
        * 3
        + b'</p><img src="http://example.org/a.png"></body></html>\r\n--B\r\n'
        b"Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        + base64.encodebytes(picture)
        + b"\r\n--B--\r\n"
    )


def _with_picture(document: bytes, picture: bytes) -> bytes:
    import zipfile

    out = io.BytesIO(document)
    with zipfile.ZipFile(out, "a") as archive:
        archive.writestr("Pictures/a.png", picture)
    return out.getvalue()
