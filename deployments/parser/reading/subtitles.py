"""Read subtitles (SRT, VTT): sentences with the times at which they begin."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from deployments.parser.reading.content import clean, title_of_filename
from deployments.parser.reading.formats import Format, decode
from deployments.parser.reading.outlined_text import OutlinedText

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deployments.parser.reading.content import Content

_TIMES: Final = re.compile(r"\s*((?:[0-9]{1,3}:)?[0-9]{1,2}:[0-9]{2})[.,][0-9]{1,3}\s*-->")
_VOICE: Final = re.compile(r"<v(?:\.[\w.]+)? ([^<>]{1,100})>")
_TAG: Final = re.compile(r"</?[a-zA-Z0-9][^<>]{0,200}>|\{\\[^{}]{0,100}\}")
_ENDED: Final = tuple('.!?…。\uff01\uff1f"”»')
_MAX_LINE_CHARS: Final = 300


def read_subtitles(data: bytes, filename: str, *, max_chars: int) -> Content:
    """Read subtitles; what is said in several of them is joined up to the end of a sentence."""
    text = OutlinedText(max_chars)
    began, spoken = "", ""
    shown: list[str] = []
    for time, lines in _cues(clean(decode(data))):
        words = " ".join(lines[_repeated(shown, lines) :])
        shown = lines
        if not words:
            continue
        began = began or time
        spoken = f"{spoken} {words}" if spoken else words
        if words.endswith(_ENDED) or len(spoken) > _MAX_LINE_CHARS:
            text.line(f"[{began}] {spoken}")
            began, spoken = "", ""
    if spoken:
        text.line(f"[{began}] {spoken}")
    return text.content(title_of_filename(filename), Format.SUBTITLES)


def _repeated(shown: list[str], lines: list[str]) -> int:
    """Return how many lines of a subtitle repeat the last ones before, as rolling captions do."""
    most = min(len(shown), len(lines))
    return next((n for n in range(most, 0, -1) if shown[-n:] == lines[:n]), 0)


def _cues(source: str) -> Iterator[tuple[str, list[str]]]:
    """Yield time and lines of each subtitle."""
    time = ""
    words: list[str] = []
    for line in source.split("\n"):
        if found := _TIMES.match(line):
            if time and words:
                # The last line above the times may be a number or a name.
                yield time, words
            time, words = found[1], []
        elif not line.strip():
            if time and words:
                yield time, words
            time, words = "", []
        elif time:
            shown = _TAG.sub("", _VOICE.sub(r"\1: ", line)).strip()
            if shown:
                words.append(shown)
    if time and words:
        yield time, words
