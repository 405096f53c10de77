"""Documents made to exhaust a reader: bombs, loops, depth, entities."""

# ruff: noqa: E501 - lines of markup are whole

from __future__ import annotations

import base64
import struct
import zlib
from typing import TYPE_CHECKING

from tests.support.archives import zip_file
from tests.support.office_files import docx, opendocument

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_MB = 1024**2
_LAUGHS = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))
_DOCTYPE = f'<!DOCTYPE r [<!ENTITY a0 "ha">{_LAUGHS}]>'
_TEXT_TYPE = "application/vnd.oasis.opendocument.text"


def bomb(
    name: str,
    unit: bytes,
    times: int,
    *,
    before: bytes = b"",
    declared: int | None = None,
    checked: bool = False,
) -> bytes:
    """Return a ZIP member whose content is a unit many times, compressed in no time.

    `declared` is the size that the file says, if not the true one; `checked` gives it a right
    checksum.
    """
    packer = zlib.compressobj(9, wbits=-15)
    head = packer.compress(before) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(unit) + packer.flush(zlib.Z_FULL_FLUSH)
    data = head + block * times + packer.flush()
    size = len(before) + len(unit) * times if declared is None else declared
    checksum = 0
    for _ in range(times if checked else 0):
        checksum = zlib.crc32(unit, checksum)
    return member(name, data, size, checksum=checksum)


def member(name: str, data: bytes, size: int, *, copies: int = 1, checksum: int = 0) -> bytes:
    """Return a ZIP file of one member, which the directory names so many times."""
    encoded = name.encode()
    sizes = (checksum, len(data), size, len(encoded))
    local = b"PK\3\4" + struct.pack("<5H3I2H", 20, 0, 8, 0, 0, *sizes, 0) + encoded + data
    entry = struct.pack("<6H3I5H2I", 20, 20, 0, 8, 0, 0, *sizes, 0, 0, 0, 0, 0, 0)
    directory = (b"PK\1\2" + entry + encoded) * copies
    counts = min(copies, 0xFFFF)
    end = struct.pack("<4H2IH", 0, 0, counts, counts, len(directory), len(local), 0)
    return local + directory + b"PK\5\6" + end


def _nested_zip() -> bytes:
    inner = bomb("a.txt", b"words " * 200_000, 50)
    for _ in range(8):
        inner = zip_file({f"{n}.zip": inner for n in range(4)})
    return inner


def _nested_mail(depth: int) -> bytes:
    return (
        b"Content-Type: message/rfc822\nMIME-Version: 1.0\nFrom: a\n\n" * depth
        + b"Subject: x\n\nend"
    )


def _parts_in_parts(depth: int) -> bytes:
    return b"MIME-Version: 1.0\nFrom: a\n" + b"".join(
        b'Content-Type: multipart/mixed; boundary="%d"\n\n--%d\n' % (n, n) for n in range(depth)
    )


def _sheet(inside: str) -> dict[str, str | bytes]:
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    relations = "http://schemas.openxmlformats.org/package/2006/relationships"
    return {
        "[Content_Types].xml": "<Types/>",
        "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{office}"><sheets>'
        '<sheet name="A" sheetId="1" r:id="r1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{relations}"><Relationship Id="r1" '
        f'Type="{office}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
        "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{main}"><sheetData>{inside}</sheetData></worksheet>',
    }


def compound_file(names: tuple[str, ...], *, loop: bool = True) -> bytes:
    """Return an OLE compound file whose chains of sectors never end."""
    header = (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16) + struct.pack("<5H", 62, 3, 0xFFFE, 9, 6)
    )
    header += bytes(6) + struct.pack("<9I", 0, 1, 1, 0, 4096, 0, 1, 0xFFFFFFFE, 0)
    header += struct.pack("<I", 0) + b"\xff" * 432
    table = struct.pack("<128I", 0xFFFFFFFD, *([1] * 127 if loop else [0xFFFFFFFE] * 127))
    entries = b""
    for number, name in enumerate(("Root Entry", *names)):
        encoded = name.encode("utf-16-le").ljust(64, b"\0")
        kind = 2 if number else 5
        links = struct.pack("<3I", 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF if number else 1)
        entries += encoded + struct.pack("<HBB", len(name) * 2 + 2, kind, 1) + links + bytes(36)
        entries += struct.pack("<IQ", 1, 0x7FFFFFFF)
    return header + table + entries.ljust(512, b"\0")


def _xml(inside: str) -> str:
    return f'<?xml version="1.0"?>{inside}'


def _deep_tables() -> bytes:
    return docx("<w:tbl><w:tr><w:tc>" * 20_000 + "</w:tc></w:tr></w:tbl>" * 20_000)


def _entity_in_docx(entity: str) -> bytes:
    body = '<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main">'
    body += "<w:body><w:p><w:r><w:t>&x;</w:t></w:r></w:p></w:body></w:document>"
    text = _xml(f"<!DOCTYPE d [<!ENTITY x {entity}>]>{body}")
    return zip_file({"[Content_Types].xml": "<Types/>", "word/document.xml": text})


def _repeated_cells() -> bytes:
    cell = '<table:table-cell table:number-columns-repeated="999999999"><text:p>word</text:p></table:table-cell>'
    row = f'<table:table-row table:number-rows-repeated="999999999">{cell}</table:table-row>'
    return opendocument("spreadsheet", f'<table:table table:name="A">{row * 50}</table:table>')


def grey_png(width: int, height: int, pixels: bytes) -> bytes:
    """Return a grey PNG of so many pixels, whatever `pixels` has: a filter byte begins each row."""

    def part(kind: bytes, body: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + checksum

    header = part(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    data = part(b"IDAT", zlib.compress(pixels, 1))
    return b"\x89PNG\r\n\x1a\n" + header + data + part(b"IEND", b"")


def distinct_pngs(count: int, side: int) -> list[bytes]:
    """Return square pictures without text that all differ."""
    row = bytes(side)
    return [
        grey_png(side, side, (b"\0" + number.to_bytes(4, "big") + row[4:]) * side)
        for number in range(count)
    ]


def pdf_of_picture(width: int, height: int) -> bytes:
    """Return a PDF whose page is one picture of two colours, which is packed to very little."""
    packer = zlib.compressobj(9)
    rows = divmod(width // 8 * height, _MB)
    packed = b"".join(packer.compress(bytes(_MB)) for _ in range(rows[0]))
    packed += packer.compress(bytes(rows[1])) + packer.flush()
    drawn = b"q 9 0 0 9 0 0 cm /I Do Q"
    image = b"/Subtype/Image/Width %d/Height %d/BitsPerComponent 1" % (width, height)
    image += b"/ColorSpace/DeviceGray/Filter/FlateDecode/Length %d" % len(packed)
    objects = (
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]/Contents 4 0 R/Resources 6 0 R>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(drawn), drawn),
        b"<</Type/XObject%s>>stream\n%s\nendstream" % (image, packed),
        b"<</XObject<</I 5 0 R>>>>",
    )
    out, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    trailer = b"trailer<</Size 7/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % len(out)
    return out + b"xref\n0 7\n0000000000 65535 f \n" + table + trailer


def mail_of_pictures(pictures: Sequence[bytes]) -> bytes:
    """Return a mail whose text shows so many pictures."""
    head = b"From: a\nDate: b\nSubject: s\nMIME-Version: 1.0\n"
    head += b"Content-Type: multipart/related; boundary=B\n\n--B\n\nSee below.\n"
    parts = (
        b"--B\nContent-Type: image/png\nContent-Id: <%d>\nContent-Transfer-Encoding: base64\n\n%s"
        % (number, base64.encodebytes(each))
        for number, each in enumerate(pictures)
    )
    return head + b"".join(parts) + b"--B--\n"


FILES: Mapping[str, Callable[[], bytes]] = {
    "bomb.docx": lambda: bomb("word/document.xml", b" " * _MB, 1_000),
    "bomb.pptx": lambda: bomb("ppt/media/a.png", bytes(_MB), 1_000),
    "bomb.zip": lambda: bomb("a.txt", b"words " * 200_000, 1_000),
    "lies.docx": lambda: bomb("word/document.xml", b" " * _MB, 1_000, declared=100),
    "overlapping.zip": lambda: member(
        "a.txt", zlib.compress(b"a " * _MB, wbits=-15), 2 * _MB, copies=900
    ),
    "many.zip": lambda: member("a.txt", b"\3\0", 0, copies=30_000),
    "nested.zip": _nested_zip,
    "damaged.zip": lambda: zip_file({"a.txt": "words"})[:-30],
    "laughs.xml": lambda: _xml(f"{_DOCTYPE}<r>&a9;</r>").encode(),
    "laughs-in-attribute.xml": lambda: _xml(f'{_DOCTYPE}<r x="&a9;"/>').encode(),
    "file.xml": lambda: _xml(
        '<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]><r>&x;</r>'
    ).encode(),
    "network.xml": lambda: _xml('<!DOCTYPE r SYSTEM "http://192.0.2.1/a.dtd"><r>&x;</r>').encode(),
    "deep.xml": lambda: _xml("<a>" * 200_000).encode(),
    "file.docx": lambda: _entity_in_docx('SYSTEM "file:///etc/passwd"'),
    "deep.docx": _deep_tables,
    "rows.xlsx": lambda: bomb(
        "xl/worksheets/sheet1.xml", b"<row><c><v>1</v></c></row>" * 10_000, 1_000, checked=True
    ),
    "corners.xlsx": lambda: zip_file(
        _sheet(
            '<row r="1"><c r="A1"><v>1</v></c></row><row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'
        )
    ),
    "repeated.ods": _repeated_cells,
    "loop.xls": lambda: compound_file(("Workbook",)),
    "loop.msg": lambda: compound_file(("__properties_version1.0",)),
    "locked.docx": lambda: compound_file(("EncryptedPackage",)),
    "nested.eml": lambda: _nested_mail(1_000),
    "parts.eml": lambda: _parts_in_parts(5_000),
    "attributes.eml": lambda: (
        b"From: a\nMIME-Version: 1.0\nContent-Type: text/html\n\n<p " + b"a=b " * 50_000 + b">x"
    ),
    "deep.json": lambda: b"[" * 200_000 + b"]" * 200_000,
    "deep-enough.json": lambda: b'{"a":' * 500 + b"1" + b"}" * 500,
    "deep.ipynb": lambda: b'{"cells":' * 100_000,
    "braces.rtf": lambda: b"{\\rtf1 " + b"{" * (_MB // 2),
    "fonts.rtf": lambda: b"{\\rtf1{\\fonttbl" + b"{\\f0 x" * 200_000,
    "open-quote.csv": lambda: b'a,b\n"' + b"word,\n" * 250_000,
    "elf.zip": lambda: zip_file({"a.bin": b"\x7fELF" + bytes(100)}),
}
