"""OLE compound files, written by hand: old workbooks (XLS, BIFF8) and mails of Outlook (MSG)."""

from __future__ import annotations

import datetime as dt
import struct
from collections.abc import Mapping, Sequence

Tree = Mapping[str, "bytes | Tree"]
"""A folder: contents of streams and further folders by their names."""
Cell = str | float | dt.date | tuple[str, float]
"""A text, a number, a date, or a formula with its last result."""

_SECTOR, _MINI_SECTOR, _MINI_STREAM_BYTES = 512, 64, 4096
_FREE, _END, _FAT_SECTOR = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD
_STORAGE, _STREAM, _ROOT = 1, 2, 5
_DATE_XF = 1
_EXCEL_EPOCH = dt.date(1899, 12, 30)
_WINDOWS_EPOCH = dt.datetime(1601, 1, 1, tzinfo=dt.UTC)
_STRING, _BINARY, _TIME = 0x001F, 0x0102, 0x0040


def compound_file(root: Tree) -> bytes:
    """Return a compound file of version 3; it has at most some 7 MB."""
    writer = _Writer()
    writer.add_entry("Root Entry", _ROOT, root)
    return writer.content()


class _Writer:
    def __init__(self) -> None:
        self._entries: list[list[object]] = []
        self._sectors: list[bytes] = []
        self._fat: list[int] = []
        self._mini = b""
        self._mini_fat: list[int] = []

    def add_entry(self, name: str, kind: int, content: bytes | Tree) -> int:
        """Add an entry with all below it, and return its number."""
        number = len(self._entries)
        entry: list[object] = [name, kind, _FREE, _FREE, _FREE, _END, 0]
        self._entries.append(entry)
        if isinstance(content, bytes):
            entry[5], entry[6] = self._stored(content), len(content)
        else:
            names = sorted(content, key=lambda each: (len(each), each.upper()))
            entry[4] = self._siblings(names, content)
        return number

    def _siblings(self, names: Sequence[str], content: Tree) -> int:
        """Add entries as a binary tree, and return the number of its root."""
        if not names:
            return _FREE
        middle = len(names) // 2
        inside = content[names[middle]]
        kind = _STREAM if isinstance(inside, bytes) else _STORAGE
        number = self.add_entry(names[middle], kind, inside)
        self._entries[number][2] = self._siblings(names[:middle], content)
        self._entries[number][3] = self._siblings(names[middle + 1 :], content)
        return number

    def _stored(self, content: bytes) -> int:
        if not content:
            return _END
        if len(content) >= _MINI_STREAM_BYTES:
            return self._chained(content)
        start = len(self._mini_fat)
        count = -(-len(content) // _MINI_SECTOR)
        self._mini += content.ljust(count * _MINI_SECTOR, b"\0")
        self._mini_fat += [*range(start + 1, start + count), _END]
        return start

    def _chained(self, content: bytes) -> int:
        """Store content in full sectors, and return the number of the first one."""
        start = len(self._fat)
        count = -(-len(content) // _SECTOR)
        padded = content.ljust(count * _SECTOR, b"\0")
        self._sectors += [padded[n * _SECTOR : (n + 1) * _SECTOR] for n in range(count)]
        self._fat += [*range(start + 1, start + count), _END]
        return start

    def content(self) -> bytes:
        root = self._entries[0]
        root[5], root[6] = self._chained(self._mini) if self._mini else _END, len(self._mini)
        mini_table = struct.pack(f"<{len(self._mini_fat)}I", *self._mini_fat)
        mini_table += b"\xff" * (-len(mini_table) % _SECTOR)
        mini_start = self._chained(mini_table) if mini_table else _END
        entries = b"".join(map(_entry, self._entries))
        directory = self._chained(entries + bytes(-len(entries) % _SECTOR))
        tables = 1
        while (len(self._fat) + tables) * 4 > tables * _SECTOR:
            tables += 1
        first = len(self._fat)
        fat = [*self._fat, *[_FAT_SECTOR] * tables]
        fat += [_FREE] * (tables * _SECTOR // 4 - len(fat))
        header = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16)
        header += struct.pack("<5H6x", 62, 3, 0xFFFE, 9, 6)
        header += struct.pack("<9I", 0, tables, directory, 0, _MINI_STREAM_BYTES, mini_start,
                              len(mini_table) // _SECTOR, _END, 0)  # fmt: skip
        header += struct.pack(f"<{tables}I", *range(first, first + tables)).ljust(436, b"\xff")
        return header + b"".join(self._sectors) + struct.pack(f"<{len(fat)}I", *fat)


def _entry(fields: Sequence[object]) -> bytes:
    name, kind, left, right, child, start, size = fields
    encoded = str(name).encode("utf-16-le")
    links = struct.pack("<HBB3I", len(encoded) + 2, kind, 1, left, right, child)
    return encoded.ljust(64, b"\0") + links + bytes(36) + struct.pack("<IQ", start, size)


def xls(sheets: Mapping[str, Sequence[Sequence[Cell]]], *, picture: bytes = b"") -> bytes:
    """Return a workbook; a picture is put where Excel keeps those of all sheets."""
    texts = [cell for rows in sheets.values() for row in rows for cell in row]
    shared = list(dict.fromkeys(text for text in texts if isinstance(text, str)))
    table = struct.pack("<2I", len(texts), len(shared)) + b"".join(map(_string, shared))
    before = _record(0x0809, struct.pack("<4H2I", 0x0600, 0x0005, 0, 0, 0, 6))
    before += _record(0x0042, struct.pack("<H", 1200))  # UTF-16
    before += b"".join(
        _record(0x00E0, struct.pack("<2H16x", 0, number_format)) for number_format in (0, 14)
    )
    after = (_record(0x00EB, picture) if picture else b"") + _record(0x00FC, table)
    after += _record(0x000A, b"")
    names = [struct.pack("<H", 0) + _string(name)[:1] + _string(name)[2:] for name in sheets]
    place = len(before) + sum(8 + len(name) for name in names) + len(after)
    bound, contents = b"", b""
    for name, rows in zip(names, sheets.values(), strict=True):
        bound += _record(0x0085, struct.pack("<I", place + len(contents)) + name)
        contents += _sheet(rows, shared)
    return compound_file({"Workbook": before + bound + after + contents})


def _sheet(rows: Sequence[Sequence[Cell]], shared: Sequence[str]) -> bytes:
    width = max(map(len, rows))
    out = _record(0x0809, struct.pack("<4H2I", 0x0600, 0x0010, 0, 0, 0, 6))
    out += _record(0x0200, struct.pack("<2I3H", 0, len(rows), 0, width, 0))
    for number, row in enumerate(rows):
        for column, cell in enumerate(row):
            out += _cell(number, column, cell, shared)
    return out + _record(0x000A, b"")


def _cell(row: int, column: int, cell: Cell, shared: Sequence[str]) -> bytes:
    match cell:
        case str():
            return _record(0x00FD, struct.pack("<3HI", row, column, 0, shared.index(cell)))
        case dt.date():
            days = float((cell - _EXCEL_EPOCH).days)
            return _record(0x0203, struct.pack("<3Hd", row, column, _DATE_XF, days))
        case (_, result):
            formula = b"\x1e\1\0\x1e\1\0\3"  # 1 + 1, whatever its text says
            fields = struct.pack("<3HdHIH", row, column, 0, result, 0, 0, len(formula))
            return _record(0x0006, fields + formula)
        case _:
            return _record(0x0203, struct.pack("<3Hd", row, column, 0, cell))


def _string(text: str) -> bytes:
    return struct.pack("<HB", len(text), 1) + text.encode("utf-16-le")


def _record(kind: int, content: bytes) -> bytes:
    return struct.pack("<2H", kind, len(content)) + content


def msg(
    *,
    subject: str,
    sender: tuple[str, str],
    to: tuple[str, str],
    sent: dt.datetime,
    body: str,
    html: bytes = b"",
    attachments: Mapping[str, bytes],
) -> bytes:
    """Return a mail as Outlook saves it."""
    ticks = (sent - _WINDOWS_EPOCH) // dt.timedelta(microseconds=1) * 10
    texts = {
        0x001A: "IPM.Note",
        0x0037: subject,
        0x0C1A: sender[0],
        0x0C1F: sender[1],
        0x1000: body,
    }
    counts = struct.pack("<4I", len(attachments), 1, len(attachments), 1)
    properties = _properties(bytes(8) + counts + bytes(8), texts, {0x1013: html}, {0x0039: ticks})
    parts: dict[str, bytes | Tree] = dict(properties)
    parts["__nameid_version1.0"] = {}
    people = {0x3001: to[0], 0x3003: to[1]}
    parts["__recip_version1.0_#00000000"] = _properties(bytes(8), people, {}, {})
    for number, (name, content) in enumerate(attachments.items()):
        parts[f"__attach_version1.0_#{number:08X}"] = _properties(
            bytes(8), {0x3707: name}, {0x3701: content}, {}
        )
    return compound_file(parts)


def _properties(
    header: bytes, texts: Mapping[int, str], data: Mapping[int, bytes], times: Mapping[int, int]
) -> Tree:
    values = {(each, _STRING): text.encode("utf-16-le") for each, text in texts.items()}
    values |= {(each, _BINARY): content for each, content in data.items() if content}
    table = header + b"".join(
        struct.pack("<2HIQ", _TIME, each, 6, ticks) for each, ticks in times.items()
    )
    for (each, kind), value in values.items():
        table += struct.pack("<2H3I", kind, each, 6, len(value) + 2 * (kind == _STRING), 0)
    streams = {f"__substg1.0_{each:04X}{kind:04X}": value for (each, kind), value in values.items()}
    return {"__properties_version1.0": table, **streams}
