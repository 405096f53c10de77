"""Read tables as text (CSV, TSV): each row a line with its headers."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Final

from deployments.parser.reading.content import clean, title_of_filename
from deployments.parser.reading.formats import Format, decode
from deployments.parser.reading.outlined_text import OutlinedText
from deployments.parser.reading.rows import row_lines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deployments.parser.reading.content import Content

_MAX_FIELD_CHARS: Final = 1_000_000
_SAMPLE_LINES: Final = 50
_DELIMITERS: Final = ",;\t|"


def read_csv(data: bytes, filename: str, *, max_chars: int) -> Content:
    """Read rows; the delimiter is the one that gives the most rows the same number of fields."""
    source = clean(decode(data))
    return _read(source, filename, _delimiter(source), Format.CSV, max_chars)


def read_tsv(data: bytes, filename: str, *, max_chars: int) -> Content:
    """Read rows whose fields are separated by tabs."""
    return _read(clean(decode(data)), filename, "\t", Format.TSV, max_chars)


def _read(source: str, filename: str, delimiter: str, kind: Format, max_chars: int) -> Content:
    text = OutlinedText(max_chars)
    text.lines(row_lines(_rows(source, delimiter)))
    return text.content(title_of_filename(filename), kind)


def _rows(source: str, delimiter: str) -> Iterator[list[str]]:
    csv.field_size_limit(_MAX_FIELD_CHARS)
    # A quote that is never closed would make one field of all that follows.
    lines = source.removeprefix("\ufeff").split("\n")
    if lines and lines[0].lower().startswith("sep=") and len(lines[0]) == len("sep=;"):
        delimiter, lines = lines[0][-1], lines[1:]
    quoted = source.count('"') % 2 == 0
    reader = csv.reader(
        (f"{line}\n" for line in lines),
        delimiter=delimiter,
        quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
        skipinitialspace=True,
    )
    try:
        yield from reader
    except csv.Error:  # a field is too long
        yield from (line.split(delimiter) for line in lines[reader.line_num :])


def _delimiter(source: str) -> str:
    lines = [line for line in source.split("\n", _SAMPLE_LINES)[:_SAMPLE_LINES] if line.strip()]
    best, best_score = ",", 0.0
    for delimiter in _DELIMITERS:
        counts = [line.count(delimiter) for line in lines]
        common = max(set(counts), key=counts.count, default=0)
        score = counts.count(common) / len(counts) if common else 0.0
        if common and (score > best_score or (score == best_score and common > 1 and best == "|")):
            best, best_score = delimiter, score
    return best
