"""Read source code: lines stay as they are, and definitions begin sections."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

from deployments.parser.reading.content import (
    Content,
    Heading,
    check_text,
    clean,
    title_of_filename,
)
from deployments.parser.reading.formats import Format, decode

if TYPE_CHECKING:
    from collections.abc import Iterator

_MODIFIERS: Final = (
    r"(?:(?:export|default|public|private|protected|internal|static|final|abstract|async|override"
    r"|virtual|inline|pub(?:\([a-z]+\))?|unsafe|extern|open|sealed|data|partial|suspend|const)\s+){0,6}"
)
_DEFINITION: Final = re.compile(
    rf"(?P<indent>[ \t]{{0,16}}){_MODIFIERS}(?:"
    r"(?:def|class|function\*?|fn|func|fun|interface|struct|enum|trait|impl|module|namespace|object"
    r"|protocol|extension|record|type|message|service|sub|procedure|package)\s+[\w$<'(:&*]"
    r"|create\s+(?:or\s+replace\s+)?(?:table|view|function|procedure|index)\s"
    r"|\[{1,2}[\w. \"-]+\]{1,2}\s*$"
    # C, Java and the like: a type, a name and parameters, then a brace.
    r"|[A-Za-z_][\w<>,.:*&\[\] ]{0,80}[ *&]+[A-Za-z_~][\w:]{0,80}\([^;]{0,300}\)[^;=]{0,60}\{\s*$"
    r"|(?:const|let|var)\s+[\w$]+\s*=\s*(?:async\s*)?(?:function\b|\([^)]{0,200}\)\s*=>)"
    r"|[A-Za-z_][\w-]*\s*\(\)\s*\{\s*$)",
    re.IGNORECASE,
)
_NO_DEFINITION: Final = re.compile(
    r"\s*(?:if|else|for|while|switch|catch|return|elif|do|try|with|case|when|until|except)\b"
)
_ABOVE: Final = re.compile(r"\s*(?:@|#\[|//|/\*|\*|#(?!include)|--|\"\"\"|\[\w)")
_KEY: Final = re.compile(r"(?P<indent>)[A-Za-z_\"'][\w .\"'/-]{0,80}:(?:\s|$)")
_MAX_ABOVE: Final = 12
_MAX_LINE_CHARS: Final = 400  # a longer one defines nothing that a person wrote
_MAX_TITLE_CHARS: Final = 80


def read_code(data: bytes, filename: str, *, max_chars: int) -> Content:
    """Read source code or configuration; comments above a definition belong to it."""
    text = clean(decode(data))
    check_text(text, max_chars)
    suffix = PurePath(filename).suffix.lower()
    pattern = _KEY if suffix in {".yaml", ".yml"} else _DEFINITION
    outline = tuple(_definitions(text, pattern))
    return Content(title_of_filename(filename), Format.CODE, text, outline=outline)


def read_log(data: bytes, filename: str, *, max_chars: int) -> Content:
    """Read a log: each line stays one."""
    text = clean(decode(data))
    check_text(text, max_chars)
    return Content(title_of_filename(filename), Format.LOG, text, outline=())


def _definitions(text: str, pattern: re.Pattern[str]) -> Iterator[Heading]:
    start = 0
    above: list[int] = []  # the starts of the comments and decorators right above a line
    for line in text.split("\n"):
        end = start + len(line.rstrip())
        found = None
        if len(line) <= _MAX_LINE_CHARS and not _NO_DEFINITION.match(line):
            found = pattern.match(line)
        if found:
            begin = above[0] if above else start
            title = line.strip().rstrip("{:= ").strip()[:_MAX_TITLE_CHARS]
            yield Heading(begin, end, 2 if found["indent"] else 1, title)
            above.clear()
        elif line.strip() and _ABOVE.match(line) and len(above) < _MAX_ABOVE:
            above.append(start)
        else:
            above.clear()
        start += len(line) + 1
