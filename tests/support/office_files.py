"""Files of twenty-four formats, each with five facts in different places.

A fact is a text with its place: the number of a page, the name of a section above it, or None.
"""

# ruff: noqa: E501 - lines of markup are whole

from __future__ import annotations

import base64
import datetime as dt
import io
import json
import zipfile
from email.message import EmailMessage
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.support.archives import zip_file
from tests.support.compound_files import msg, xls

if TYPE_CHECKING:
    from collections.abc import Callable

_W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_R = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_RELS = "http://schemas.openxmlformats.org/package/2006/relationships"
_ODF = "urn:oasis:names:tc:opendocument:xmlns"
_OFFICE = (
    f'xmlns:office="{_ODF}:office:1.0" xmlns:text="{_ODF}:text:1.0" '
    f'xmlns:table="{_ODF}:table:1.0" xmlns:draw="{_ODF}:drawing:1.0" '
    f'xmlns:presentation="{_ODF}:presentation:1.0" xmlns:style="{_ODF}:style:1.0" '
    'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xlink="http://www.w3.org/1999/xlink"'
)


class Fact(NamedTuple):
    """A text, and where it is."""

    text: str
    place: int | str | None = None


class Sample(NamedTuple):
    """A file with its facts."""

    name: str
    content: bytes
    facts: tuple[Fact, ...]
    title: str


def samples() -> list[Sample]:
    """Return one file of each format."""
    return [build() for build in _BUILDERS]


def docx(body: str, **parts: str) -> bytes:
    """Return a Word document; `parts` are further files of the folder `word`, by their stems."""
    relations = "".join(
        f'<Relationship Id="{name}" Type="{_R}/{name.rstrip("1")}" Target="{name}.xml"/>'
        for name in parts
    )
    root = f'<w:{{0}} xmlns:w="{_W}" xmlns:r="{_R}">{{1}}</w:{{0}}>'
    kinds = {"header1": "hdr", "styles": "styles", "footnotes": "footnotes", "comments": "comments"}
    files: dict[str, str | bytes] = {
        "[Content_Types].xml": "<Types/>",
        "word/document.xml": root.format("document", f"<w:body>{body}</w:body>"),
        "word/_rels/document.xml.rels": f'<Relationships xmlns="{_RELS}">{relations}</Relationships>',
    }
    for name, part in parts.items():
        files[f"word/{name}.xml"] = root.format(kinds[name], part)
    return zip_file(files)


def _p(text: str, inside: str = "", style: str = "") -> str:
    styled = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
    return f"<w:p>{styled}<w:r><w:t>{text}</w:t></w:r>{inside}</w:p>"


def _docx() -> Sample:
    def row(*cells: str) -> str:
        return f"<w:tr>{''.join(f'<w:tc>{_p(cell)}</w:tc>' for cell in cells)}</w:tr>"

    note = '<w:r><w:footnoteReference w:id="2"/></w:r><w:r><w:commentReference w:id="0"/></w:r>'
    table = row("Pump", "Power", "Maker") + row("Alva", "47 kW", "Brunfeld")
    body = (
        _p("Pumps of Gerlin", style="berschrift1")
        + _p("The pumps were built in 1931.", note)
        + f"<w:tbl>{table}</w:tbl>"
        + "<w:p><w:del><w:r><w:delText>deleted</w:delText></w:r></w:del></w:p>"
    )
    content = docx(
        body,
        styles='<w:style w:styleId="berschrift1"><w:name w:val="heading 1"/></w:style>',
        footnotes=f'<w:footnote w:id="2">{_p("Opened by Mayor Ostrander.")}</w:footnote>',
        comments=f'<w:comment w:id="0" w:author="Ann">{_p("Check the year with Elspeth.")}</w:comment>',
        header1=_p("Waterworks circular 88"),
    )
    facts = (
        Fact("built in 1931", "Pumps of Gerlin"),
        Fact("Pump: Alva; Power: 47 kW; Maker: Brunfeld", "Pumps of Gerlin"),
        Fact("Mayor Ostrander", "Pumps of Gerlin"),
        Fact("Comment by Ann: Check the year with Elspeth", "Pumps of Gerlin"),
        Fact("Waterworks circular 88", "Header and footer"),
    )
    return Sample("pumps.docx", content, facts, "Pumps of Gerlin")


def _pptx() -> Sample:
    import pptx
    from pptx.chart.data import CategoryChartData
    from pptx.enum.chart import XL_CHART_TYPE

    show = pptx.Presentation()
    first = show.slides.add_slide(show.slide_layouts[1])
    first.shapes.title.text = "Lamps of Gerlin"
    first.placeholders[1].text = "The lamps need 47 watts."
    first.notes_slide.notes_text_frame.text = "Mention Mayor Ostrander."
    second = show.slides.add_slide(show.slide_layouts[5])
    second.shapes.title.text = "Prices"
    table: Any = second.shapes.add_table(2, 3, 0, 0, 9_000_000, 900_000)
    for n, cells in enumerate((("Lamp", "Price", "Shop"), ("Alva", "12 guilders", "Brunfeld"))):
        for m, cell in enumerate(cells):
            table.table.cell(n, m).text = cell
    third = show.slides.add_slide(show.slide_layouts[6])
    group = third.shapes.add_group_shape()
    group.shapes.add_textbox(0, 0, 900_000, 900_000).text_frame.text = "Made in Thornbury"
    data = CategoryChartData()  # type: ignore[no-untyped-call]
    data.categories = ["May", "June"]
    data.add_series("Sold lamps", (311, 47))  # type: ignore[no-untyped-call]
    third.shapes.add_chart(XL_CHART_TYPE.COLUMN_CLUSTERED, 0, 0, 900_000, 900_000, data)
    buffer = io.BytesIO()
    show.save(buffer)
    with zipfile.ZipFile(buffer) as saved:
        # A kind of chart that python-pptx does not know.
        parts = {
            name: saved.read(name).replace(b":barChart", b":bar3DChart")
            for name in saved.namelist()
        }
    facts = (
        Fact("lamps need 47 watts", 1),
        Fact("Notes: Mention Mayor Ostrander", 1),
        Fact("Lamp: Alva; Price: 12 guilders; Shop: Brunfeld", 2),
        Fact("Made in Thornbury", 3),
        Fact("Sold lamps: May: 311", 3),
    )
    return Sample("lamps.pptx", zip_file(dict(parts)), facts, "Lamps of Gerlin")


def _xlsx() -> Sample:
    import xlsxwriter  # type: ignore[import-untyped]

    buffer = io.BytesIO()
    book = xlsxwriter.Workbook(buffer)
    first = book.add_worksheet("Stock")
    first.write_row(0, 0, ("Item", "Number", "Date"))
    first.write_row(1, 0, ("Lamp", 47))
    first.write_datetime(
        1,
        2,
        dt.datetime(2024, 5, 12),  # noqa: DTZ001 - as Excel has it
        book.add_format({"num_format": "yyyy-mm-dd"}),
    )
    first.write_comment(1, 0, "Ask Elspeth about these.")
    second = book.add_worksheet("Suppliers")
    second.write_row(0, 0, ("Name", "Town"))
    second.write_row(1, 0, ("Brunfeld", "Thornbury"))
    second.write_formula(2, 1, "=1+1", None, 2.5)
    second.write(2, 0, "Sum")
    book.close()
    facts = (
        Fact("Item: Lamp; Number: 47", "Stock"),
        Fact("Date: 2024-05-12", "Stock"),
        Fact("Comment on A2: Ask Elspeth", "Stock"),
        Fact("Name: Brunfeld; Town: Thornbury", "Suppliers"),
        Fact("Name: Sum; Town: 2.5", "Suppliers"),
    )
    return Sample("stock.xlsx", buffer.getvalue(), facts, "stock")


def opendocument(kind: str, content: str, **parts: str) -> bytes:
    """Return an OpenDocument file: `kind` is text, spreadsheet or presentation."""
    root = f"<office:document {_OFFICE}>{{0}}</office:document>"
    inside = f"<office:body><office:{kind}>{content}</office:{kind}></office:body>"
    return zip_file(
        {
            "mimetype": f"application/vnd.oasis.opendocument.{kind}",
            "content.xml": root.format(inside),
            **{f"{name}.xml": root.format(part) for name, part in parts.items()},
        }
    )


def _cell(text: str, inside: str = "", **repeated: int) -> str:
    more = "".join(f' table:number-columns-repeated="{n}"' for n in repeated.values())
    shown = f"<text:p>{text}</text:p>" if text else ""
    return f"<table:table-cell{more}>{inside}{shown}</table:table-cell>"


def _row(*cells: str) -> str:
    return f"<table:table-row>{''.join(cells)}</table:table-row>"


def _odt() -> Sample:
    note = "<text:note><text:note-body><text:p>Opened by Ostrander.</text:p></text:note-body></text:note>"
    comment = "<office:annotation><dc:creator>Ann</dc:creator><text:p>Ask Elspeth.</text:p></office:annotation>"
    rows = _row(*map(_cell, ("Pump", "Power", "Maker"))) + _row(
        *map(_cell, ("Alva", "47 kW", "Brunfeld"))
    )
    content = (
        '<text:h text:outline-level="1">Wells of Gerlin</text:h>'
        f"<text:p>The wells<text:s/>are <text:span>90 metres</text:span> deep.{note}{comment}</text:p>"
        f"<table:table>{rows}</table:table>"
    )
    header = "<style:header><text:p>Waterworks circular 89</text:p></style:header>"
    facts = (
        Fact("The wells are 90 metres deep.", "Wells of Gerlin"),
        Fact("Note: Opened by Ostrander.", "Wells of Gerlin"),
        Fact("Comment by Ann: Ask Elspeth.", "Wells of Gerlin"),
        Fact("Pump: Alva; Power: 47 kW; Maker: Brunfeld", "Wells of Gerlin"),
        Fact("Waterworks circular 89", "Header and footer"),
    )
    return Sample(
        "wells.odt", opendocument("text", content, styles=header), facts, "Wells of Gerlin"
    )


def _ods() -> Sample:
    comment = "<office:annotation><text:p>Ask Elspeth.</text:p></office:annotation>"
    first = _row(_cell("Item"), _cell("Number"), _cell("", n=1000)) + _row(
        _cell("Lamp", comment), _cell("47")
    )
    second = _row(_cell("Name"), _cell("Town")) + _row(_cell("Brunfeld"), _cell("Thornbury"))
    second += _row(_cell("both", n=2))
    content = (
        f'<table:table table:name="Stock">{first}</table:table>'
        f'<table:table table:name="Suppliers">{second}</table:table>'
    )
    facts = (
        Fact("Item: Lamp; Number: 47", "Stock"),
        Fact("Comment: Ask Elspeth.", "Stock"),
        Fact("Item | Number", "Stock"),
        Fact("Name: Brunfeld; Town: Thornbury", "Suppliers"),
        Fact("Name: both; Town: both", "Suppliers"),
    )
    return Sample("stock.ods", opendocument("spreadsheet", content), facts, "stock")


def _odp() -> Sample:
    def slide(title: str, text: str, notes: str = "") -> str:
        inside = f"<presentation:notes><draw:frame><draw:text-box><text:p>{notes}</text:p></draw:text-box></draw:frame></presentation:notes>"
        return (
            f'<draw:page><draw:frame presentation:class="title"><draw:text-box><text:p>{title}</text:p></draw:text-box></draw:frame>'
            f"<draw:frame>{text}</draw:frame>{inside if notes else ''}</draw:page>"
        )

    listed = "<draw:text-box><text:list><text:list-item><text:p>47 watts</text:p></text:list-item></text:list></draw:text-box>"
    rows = _row(*map(_cell, ("Lamp", "Price"))) + _row(*map(_cell, ("Alva", "12 guilders")))
    content = slide("Lamps", listed, "Mention Ostrander.") + slide(
        "Prices", f"<table:table>{rows}</table:table>"
    )
    content += slide("", "<draw:text-box><text:p>Made in Thornbury</text:p></draw:text-box>")
    facts = (
        Fact("- 47 watts", 1),
        Fact("Notes: Mention Ostrander.", 1),
        Fact("Prices", 2),
        Fact("Alva | 12 guilders", 2),
        Fact("Made in Thornbury", 3),
    )
    return Sample("lamps.odp", opendocument("presentation", content), facts, "Lamps")


def _rtf() -> Sample:
    content = (
        rb"{\rtf1\ansi\ansicpg1252{\fonttbl{\f0 Arial;}}{\info{\title Pumps of Gerlin}}"
        rb"{\header Waterworks circular 90\par}"
        rb"The M\'fcller pump has 47 kW.{\footnote Opened by Ostrander.}\par "
        rb"\trowd Alva\cell Brunfeld\cell\row "
        rb"{\*\annotation Ask Elspeth.}\par {\pict\pngblip " + b"89504e47" * 500 + rb"}}"
    )
    facts = (
        Fact("The Müller pump has 47 kW."),
        Fact("Opened by Ostrander."),
        Fact("Alva | Brunfeld"),
        Fact("Ask Elspeth."),
        Fact("Waterworks circular 90"),
    )
    return Sample("pumps.rtf", content, facts, "Pumps of Gerlin")


def _epub() -> Sample:
    def page(body: str) -> str:
        return f'<html xmlns="http://www.w3.org/1999/xhtml"><head><title>x</title></head><body>{body}</body></html>'

    package = (
        '<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/">'
        "<metadata><dc:title>The Wells</dc:title></metadata><manifest>"
        '<item id="n" href="nav.xhtml" properties="nav" media-type="application/xhtml+xml"/>'
        '<item id="a" href="a.xhtml" media-type="application/xhtml+xml"/>'
        '<item id="b" href="text/b%20b.xhtml" media-type="application/xhtml+xml"/>'
        '</manifest><spine><itemref idref="b"/><itemref idref="a"/></spine></package>'
    )
    content = zip_file(
        {
            "mimetype": "application/epub+zip",
            "META-INF/container.xml": '<container><rootfiles><rootfile full-path="O/p.opf"/></rootfiles></container>',
            "O/p.opf": package,
            "O/nav.xhtml": page('<nav><a href="text/b%20b.xhtml">The miller</a></nav>'),
            "O/a.xhtml": page(
                "<h1>The journey</h1><p>Elspeth rode <i>47</i> miles.</p><h2>The inn</h2>"
                "<ul><li>Bread</li><li>Cheese of Thornbury</li></ul>"
            ),
            "O/text/b b.xhtml": page(
                "<p>Ostrander owned a mill.</p><aside><p>Built in 1931.</p></aside>"
            ),
        }
    )
    facts = (
        Fact("Ostrander owned a mill.", "The miller"),
        Fact("Built in 1931.", "The miller"),
        Fact("Elspeth rode 47 miles.", "The journey"),
        Fact("- Cheese of Thornbury", "The inn"),
        Fact("The inn", "The journey"),
    )
    return Sample("wells.epub", content, facts, "The Wells")


def _eml() -> Sample:
    mail = EmailMessage()
    mail["From"] = "Elspeth Brunfeld <e@example.org>"
    mail["To"] = "b@example.org"
    mail["Subject"] = "Lamps for Müller"
    mail["Date"] = "Tue, 12 May 2026 10:00:00 +0000"
    mail.set_content("The lamps need 47 watts.\n")
    mail.add_alternative("<p>The lamps need <b>47</b> watts.</p>", subtype="html")
    mail.add_attachment("Name,Town\nOstrander,Thornbury\n", subtype="csv", filename="people.csv")
    inner = EmailMessage()
    inner["Subject"] = "Inner"
    inner.set_content("Delivery is on the 14th.")
    mail.add_attachment(inner)
    mail.add_attachment(b"\x89PNG", maintype="image", subtype="png", filename="lamp.png")
    facts = (
        Fact("From: Elspeth Brunfeld <e@example.org>"),
        Fact("Date: Tue, 12 May 2026"),
        Fact("The lamps need 47 watts."),
        Fact("Name: Ostrander; Town: Thornbury", "Attachment people.csv"),
        Fact("Delivery is on the 14th.", "Attachment attachment.rfc822.eml"),
    )
    return Sample("lamps.eml", mail.as_bytes(), facts, "Lamps for Müller")


def _mhtml() -> Sample:
    page = (
        "<html><head><title>Müller lamps</title></head><body><h1>Lamps</h1><p>The lamp needs 47 watts, "
        "and is made in Thornbury by the heirs of Ostrander.</p><h2>Prices</h2>"
        "<table><tr><th>Lamp</th><th>Price</th></tr><tr><td>Alva</td><td>12 guilders</td></tr></table>"
        "<p>Orders go to Elspeth, who answers within the week, as all of Gerlin knows.</p></body></html>"
    )
    raw = (
        b"From: <Saved by a browser>\r\nSnapshot-Content-Location: http://example.org/\r\n"
        b"Subject: x\r\nMIME-Version: 1.0\r\n"
        b'Content-Type: multipart/related; type="text/html"; boundary="B"\r\n\r\n--B\r\n'
        b"Content-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        + base64.encodebytes(page.encode())
        + b"\r\n--B\r\nContent-Type: image/png\r\n\r\nxx\r\n--B--\r\n"
    )
    facts = (
        Fact("The lamp needs 47 watts"),
        Fact("made in Thornbury"),
        Fact("heirs of Ostrander"),
        Fact("Alva | 12 guilders"),
        Fact("Orders go to Elspeth"),
    )
    return Sample("lamps.mhtml", raw, facts, "Müller lamps")


def _csv() -> Sample:
    rows = [
        "name;town;hours;note",
        '"Shop; 0";Gerlin;"from nine\nto five";47',
        "Shop 1;Thornbury;;Ostrander",
    ]
    rows += ["Shop 2;Brunfeld;closed;"]
    facts = (
        Fact("name | town | hours | note"),
        Fact("name: Shop; 0; town: Gerlin; hours: from nine to five; note: 47"),
        Fact("name: Shop 1; town: Thornbury; note: Ostrander"),
        Fact("\nname: Shop 2;"),
        Fact("town: Brunfeld; hours: closed"),
    )
    return Sample("shops.csv", "\r\n".join(rows).encode("cp1252"), facts, "shops")


def _tsv() -> Sample:
    rows = ["Name\tTown\tYear", *(f"Person {n}\tTown {n}\t19{n}" for n in range(31, 35))]
    facts = tuple(Fact(f"Name: Person {n}; Town: Town {n}; Year: 19{n}") for n in range(31, 35))
    return Sample(
        "people.tsv",
        "\n".join(rows).encode("utf-16"),
        (*facts, Fact("Name | Town | Year")),
        "people",
    )


def _json() -> Sample:
    value = {
        "town": "Gerlin",
        "wells": [{"name": "Alva", "depth": 90.50}, {"name": "Berta", "depth": 47}],
        "mayor": {"name": "Ostrander", "office": {"street": "Mill Street", "open": True}},
        "tags": ["water", "pumps"],
    }
    facts = (
        Fact("town: Gerlin"),
        Fact("name: Alva; depth: 90.5", "wells"),
        Fact("name: Berta; depth: 47", "wells"),
        Fact("office.street: Mill Street; office.open: yes", "mayor"),
        Fact("water, pumps", "tags"),
    )
    return Sample("wells.json", json.dumps(value).encode(), facts, "wells")


def _jsonl() -> Sample:
    lines = [
        json.dumps({"name": f"Lamp {n}", "watts": n, "shop": {"town": "Gerlin"}})
        for n in range(47, 51)
    ]
    facts = tuple(Fact(f"name: Lamp {n}; watts: {n}") for n in range(47, 51))
    return Sample(
        "lamps.jsonl", "\n".join(lines).encode(), (*facts, Fact("shop.town: Gerlin")), "lamps"
    )


def _notebook() -> Sample:
    cells = [
        {"cell_type": "markdown", "source": ["# Lamp study\n", "The lamps of Ostrander flicker."]},
        {
            "cell_type": "code",
            "source": "watts = 47",
            "outputs": [{"data": {"image/png": "iVBOR" * 99}}],
        },
        {"cell_type": "markdown", "source": "## Results\nBrunfeld is best."},
        {"cell_type": "code", "source": "# ordered from Thornbury\nprint(watts)", "outputs": []},
    ]
    facts = (
        Fact("lamps of Ostrander", "Lamp study"),
        Fact("watts = 47", "Lamp study"),
        Fact("Brunfeld is best.", "Results"),
        Fact("# ordered from Thornbury", "Results"),
        Fact("print(watts)", "Results"),
    )
    return Sample("study.ipynb", json.dumps({"cells": cells}).encode(), facts, "Lamp study")


def _code() -> Sample:
    content = (
        '"""Pumps of Gerlin."""\n\nPOWER_KW = 47\n\n\nclass Pump:\n    """A pump of Brunfeld."""\n\n'
        "    def start(self):\n        return 'Ostrander'\n\n\n# Only in Thornbury.\n@cached\ndef depth_m():\n    return 90\n"
    )
    facts = (
        Fact("POWER_KW = 47"),
        Fact('    """A pump of Brunfeld."""', "class Pump"),
        Fact("        return 'Ostrander'", "def start(self)"),
        Fact("# Only in Thornbury.\n@cached\ndef depth_m():"),
        Fact("    return 90", "def depth_m()"),
    )
    return Sample("pumps.py", content.encode(), facts, "pumps")


def _subtitles() -> Sample:
    content = (
        "1\n00:00:01,500 --> 00:00:03,000\nThe lamps of Gerlin\n\n"
        "2\n00:00:03,500 --> 00:00:05,000\n<i>need 47 watts.</i>\n\n"
        "3\n00:01:10,000 --> 00:01:12,000\nOstrander pays.\n\n4\n01:00:00,000 --> 01:00:02,000\nIn Thornbury,\n"
        "we sleep\n\n5\n01:00:09,000 --> 01:00:12,000\n- Who?\n- Elspeth.\n"
    )
    facts = (
        Fact("[00:00:01] The lamps of Gerlin need 47 watts."),
        Fact("[00:01:10] Ostrander pays."),
        Fact("[01:00:00] In Thornbury, we sleep"),
        Fact("- Who?"),
        Fact("Elspeth."),
    )
    return Sample("talk.srt", content.encode(), facts, "talk")


def _vtt() -> Sample:
    content = (
        "WEBVTT\n\nNOTE made by hand\n\n00:01.500 --> 00:03.000 align:start\n<v Elspeth>The lamp needs 47 watts.\n\n"
        "intro\n00:04.000 --> 00:05.000\nOstrander pays.\n\n01:00:00.000 --> 01:00:01.000\nMade in <b>Thornbury</b>.\n\n"
        "01:00:02.000 --> 01:00:03.000\nBrunfeld\n\n01:00:04.000 --> 01:00:05.000\nhas 311.\n"
    )
    facts = (
        Fact("[00:01] Elspeth: The lamp needs 47 watts."),
        Fact("[00:04] Ostrander pays."),
        Fact("[01:00:00] Made in Thornbury."),
        Fact("[01:00:02] Brunfeld has 311."),
        Fact("Elspeth"),
    )
    return Sample("talk.vtt", content.encode(), facts, "talk")


def _xml() -> Sample:
    content = (
        '<?xml version="1.0" encoding="ISO-8859-1"?><catalogue year="1931"><title>Wells</title>'
        '<well id="a"><name>Alva</name><depth unit="m">90</depth></well>'
        "<chapter><title>Owners</title><p>The <b>Müller</b> family.</p><p>And Ostrander.</p></chapter></catalogue>"
    )
    facts = (
        Fact("year: 1931"),
        Fact("id: a; name: Alva; depth: 90, unit: m", "Wells"),
        Fact("Owners", "Wells"),
        Fact("The Müller family.", "Owners"),
        Fact("And Ostrander.", "Owners"),
    )
    return Sample("wells.xml", content.encode("iso-8859-1"), facts, "wells")


def _zip() -> Sample:
    content = zip_file(
        {
            "notes/a.md": "# Lamps\n\nThey need 47 watts.\n\n```\n# no heading\n```\n",
            "b.csv": "Name,Town\nOstrander,Thornbury\n",
            "more/c.docx": _docx().content,
            "inner.zip": zip_file({"d.txt": "Elspeth is deep inside."}),
            "picture.png": b"\x89PNG\r\n",
            "__MACOSX/x.md": "hidden",
        }
    )
    facts = (
        Fact("They need 47 watts.", "Lamps"),
        Fact("Name: Ostrander; Town: Thornbury", "b.csv"),
        Fact("built in 1931", "Pumps of Gerlin"),
        Fact("Elspeth is deep inside.", "d.txt"),
        Fact("# no heading", "notes/a.md"),
    )
    return Sample("all.zip", content, facts, "all")


def _log() -> Sample:
    lines = [
        f"2026-05-12 10:{n}:00 pump {n} of Gerlin has started with {n} kW at last"
        for n in range(47, 52)
    ]
    facts = tuple(Fact(f"{line}\n") for line in lines[:4])
    return Sample("pumps.log", "\n".join(lines).encode(), (*facts, Fact(lines[-1])), "pumps")


def _yaml() -> Sample:
    content = "# made by hand\ntown: Gerlin\npumps:\n  - name: Alva\n    power: 47\nmayor:\n  name: Ostrander\n"
    facts = (
        Fact("# made by hand\ntown: Gerlin"),
        Fact("  - name: Alva\n    power: 47", "pumps"),
        Fact("    power: 47", "pumps"),
        Fact("  name: Ostrander", "mayor"),
        Fact("mayor:"),
    )
    return Sample("town.yaml", content.encode(), facts, "town")


def _xls() -> Sample:
    stock = (
        ("Item", "Number", "Date", "Shop"),
        ("Müller lamp", 47.0, dt.date(2024, 5, 12), "Brunfeld"),
        ("Well", 2.5, dt.date(1931, 1, 2), "Ostrander"),
    )
    suppliers = (("Name", "Town", "Sum"), ("Elspeth", "Thornbury", ("=1+1", 311.0)))
    facts = (
        Fact("Item: Müller lamp; Number: 47", "Stock"),
        Fact("Date: 2024-05-12; Shop: Brunfeld", "Stock"),
        Fact("Item: Well; Number: 2.5; Date: 1931-01-02", "Stock"),
        Fact("Item | Number | Date | Shop", "Stock"),
        Fact("Name: Elspeth; Town: Thornbury", "Suppliers"),
        Fact("Sum: 311", "Suppliers"),
    )
    content = xls({"Stock": stock, "Suppliers": suppliers})
    return Sample("stock.xls", content, facts, "stock")


def _msg() -> Sample:
    content = msg(
        subject="Lamps for Müller",
        sender=("Elspeth Brunfeld", "e@example.org"),
        to=("Bert", "b@example.org"),
        sent=dt.datetime(2026, 5, 12, 10, 0, tzinfo=dt.UTC),
        body="The lamps need 47 watts.\r\n",
        html=b"<html><body><p>The lamps need <b>47</b> watts.</p></body></html>",
        attachments={
            "people.csv": b"Name,Town\nOstrander,Thornbury\n",
            "notes.docx": _docx().content,
        },
    )
    facts = (
        Fact('From: "Elspeth Brunfeld" <e@example.org>'),
        Fact("To: Bert <b@example.org>"),
        Fact("Date: 2026-05-12 10:00"),
        Fact("Subject: Lamps for Müller"),
        Fact("The lamps need 47 watts."),
        Fact("Name: Ostrander; Town: Thornbury", "Attachment people.csv"),
        Fact("built in 1931", "Attachment notes.docx"),
    )
    return Sample("lamps.msg", content, facts, "Lamps for Müller")


_BUILDERS: tuple[Callable[[], Sample], ...] = (
    *(_docx, _pptx, _xlsx, _odt, _ods, _odp, _rtf, _epub, _eml, _mhtml, _csv, _tsv, _json, _jsonl),
    *(_notebook, _code, _subtitles, _vtt, _xml, _zip, _log, _yaml, _xls, _msg),
)
