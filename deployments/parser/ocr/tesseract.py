"""Recognise scripts that the models do not know with Debian's tesseract, if it is installed."""

from __future__ import annotations

import functools
import io
import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

from deployments.parser.ocr.engine import Recognised

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SECONDS = 120.0  # wall-clock, of one run
_DPI = "200"
_SCRIPT = re.compile(r"^Script: (\w+)$", re.MULTILINE)
_MIN_CONFIDENCE = 30.0  # percent, of a word
_LANGUAGES = {
    "Arabic": ("ara", "fas", "urd"),
    "Armenian": ("hye",),
    "Bengali": ("ben",),
    "Cyrillic": ("rus", "ukr", "bul", "srp", "bel"),
    "Devanagari": ("hin", "mar", "nep"),
    "Georgian": ("kat",),
    "Greek": ("ell",),
    "Gujarati": ("guj",),
    "Gurmukhi": ("pan",),
    "Hangul": ("kor",),
    "Hebrew": ("heb",),
    "Kannada": ("kan",),
    "Korean": ("kor",),
    "Malayalam": ("mal",),
    "Tamil": ("tam",),
    "Telugu": ("tel",),
    "Thai": ("tha",),
}
"""Names of language data by the script that the detection of tesseract names."""


def read(pixels: NDArray[Any]) -> tuple[str, Recognised | None]:
    """Return which other script a picture has, "" if none can be told, and its text, if it is read.

    Both need tesseract with the data `osd`; the text also data of a language of that script.
    """
    if not _installed():
        return "", None
    from PIL import Image

    png = io.BytesIO()
    Image.fromarray(pixels[:, :, ::-1]).save(png, "PNG", compress_level=1)
    script = _script(png.getvalue())
    languages = _languages(script)
    if not languages:
        return script, None
    options = ("--psm", "1", "-l", "+".join(languages), "--dpi", _DPI)  # 1: turned upright
    return script, _recognised(_run("-", "-", *options, "tsv", picture=png.getvalue()))


def _script(png: bytes) -> str:
    if "osd" not in _installed():
        return ""
    found = _SCRIPT.search(_run("-", "-", "--psm", "0", "-l", "osd", picture=png))
    return found[1] if found and found[1] in _LANGUAGES else ""


def _languages(script: str) -> list[str]:
    """Return the installed data for a script: that of the whole script, else of languages."""
    installed = _installed()
    if f"script/{script}" in installed:
        return [f"script/{script}"]
    return [name for name in _LANGUAGES.get(script, ()) if name in installed]


@functools.cache
def _installed() -> frozenset[str]:
    """Return the names of the language data; none if tesseract is not installed."""
    if shutil.which("tesseract") is None:
        return frozenset()
    return frozenset(_run("--list-langs").split("\n")[1:])


def _run(*arguments: str, picture: bytes = b"") -> str:
    """Return the output of tesseract, "" if it fails or takes too long."""
    try:
        done = subprocess.run(  # noqa: S603 - no shell, and no argument is from outside
            ["tesseract", *arguments],  # noqa: S607 - where the system has it
            input=picture,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_SECONDS,
            check=True,
        )
    except (subprocess.SubprocessError, OSError):
        return ""
    return done.stdout.decode("utf-8", errors="replace")


def _recognised(table: str) -> Recognised | None:
    """Read tesseract's table of words: block, paragraph, line, ..., confidence, word."""
    text, weights, weighted = "", 0, 0.0
    place: tuple[str, ...] = ()
    lines = 0
    for row in table.split("\n")[1:]:
        cells = row.split("\t")
        if len(cells) < 12 or not cells[11].strip() or float(cells[10]) < _MIN_CONFIDENCE:  # noqa: PLR2004
            continue
        *paragraph, line = cells[2:5]
        if place != (*paragraph, line):
            lines += 1
            joint = "\n" if place[:-1] == tuple(paragraph) else "\n\n"
            text += joint if text else ""
        elif text:
            text += " "
        place = (*paragraph, line)
        text += cells[11]
        weights += len(cells[11])
        weighted += len(cells[11]) * float(cells[10]) / 100
    return Recognised(text, weighted / weights, lines) if text else None
