"""Read JSON and JSON lines: each value with the names that lead to it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from deployments.errors import Unprocessable
from deployments.parser.reading.binary_text import is_data, without_data
from deployments.parser.reading.content import title_of_filename
from deployments.parser.reading.formats import Format, decode
from deployments.parser.reading.outlined_text import OutlinedText

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deployments.parser.reading.content import Content

MAX_DEPTH: Final = 100
"""Of values within others."""
_MAX_ROW_CHARS: Final = 2_000  # a longer object is written by its parts


def read_json(data: bytes, filename: str, *, max_chars: int) -> Content:
    """Read a value: parts of the top-level object are sections.

    Raises Unprocessable for what is no JSON (`damaged_document`) or too deep (`too_complex`).
    """
    source = decode(data)
    try:
        value = _parsed(source)
    except ValueError as error:
        msg = "This JSON file is damaged or incomplete. Save it again, or upload it as text."
        raise Unprocessable(msg, code="damaged_document") from error
    text = OutlinedText(max_chars)
    if isinstance(value, dict):
        for name, part in value.items():
            if isinstance(part, dict | list) and part:
                text.heading(str(name))
                text.lines(_lines(part, ""))
            else:
                text.line(f"{name}: {_scalar(part)}")
    else:
        text.lines(_lines(value, ""))
    return text.content(title_of_filename(filename), Format.JSON)


def read_jsonl(data: bytes, filename: str, *, max_chars: int) -> Content:
    """Read one value from each line; a line that is no JSON stays as it is."""
    text = OutlinedText(max_chars)
    for line in decode(data).splitlines():
        if not line.strip():
            continue
        try:
            value = _parsed(line)
        except ValueError:
            text.line(line)
        else:
            for each in _lines(value, ""):
                text.line(each)
    return text.content(title_of_filename(filename), Format.JSONL)


def _parsed(source: str) -> object:
    try:
        # Numbers as they are written: of any length, and exact.
        value = json.loads(source, parse_int=str, parse_float=str)
        if isinstance(value, dict | list):
            _check_depth(value)
    except RecursionError:
        raise _too_deep() from None
    return value


def _check_depth(value: object) -> None:
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        parts = (each.values() if isinstance(each, dict) else each for each in level)
        level = [part for some in parts for part in some if isinstance(part, dict | list)]
        if not level:
            return
    raise _too_deep()


def _too_deep() -> Unprocessable:
    msg = f"The file has more than {MAX_DEPTH} values within each other."
    return Unprocessable(msg, code="too_complex")


def _lines(value: object, path: str) -> Iterator[str]:
    """Yield an object or a list of plain values as one line, others by their parts."""
    row = _row(value, path)
    if row is not None:
        if row:
            yield row
        return
    if isinstance(value, dict):
        plain = {name: part for name, part in value.items() if not isinstance(part, dict | list)}
        yield from filter(None, (_row(plain, path),))
        for name, part in value.items():
            if name not in plain:
                yield from _lines(part, f"{path}.{name}" if path else str(name))
    elif isinstance(value, list):
        for part in value:
            yield from _lines(part, path)
    else:
        yield f"{path}: {_scalar(value)}" if path else _scalar(value)


def _row(value: object, path: str) -> str | None:
    """Return a value on one line, or None if it has other parts than plain ones."""
    if isinstance(value, dict):
        if any(isinstance(part, dict) for part in value.values()):
            return None
        cells = []
        for name, part in value.items():
            if isinstance(part, list):
                if any(isinstance(each, dict | list) for each in part):
                    return None
                part = ", ".join(map(_scalar, part))  # noqa: PLW2901
            cells.append(f"{path}.{name}: {_scalar(part)}" if path else f"{name}: {_scalar(part)}")
        joined = "; ".join(cells)
        return joined if len(joined) <= _MAX_ROW_CHARS or len(cells) == 1 else None
    if isinstance(value, list):
        if any(isinstance(each, dict | list) for each in value):
            return None
        joined = ", ".join(map(_scalar, value))
        return f"{path}: {joined}" if path else joined
    return f"{path}: {_scalar(value)}" if path else _scalar(value)


def _scalar(value: object) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case _:
            text = str(value)
            return "(binary data)" if is_data(text) else " ".join(without_data(text).split())
