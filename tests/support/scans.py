"""Scanned pages: sentences drawn as pictures, with the noise and the angle of a scanner."""

from __future__ import annotations

import io
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

DPI = 150
_A4 = (1240, 1754)
_SMALL = (860, 290)
_MARGIN = 70
_LINE_PX = 46
_FONT_PX = 26
_NOISE = 14.0
_PAPER, _INK = 243, 25


@dataclass(frozen=True)
class Scan:
    """A page: its lines, its angle in degrees, and whether it is a whole sheet of A4.

    `font` is a file; without one, Pillow's font is used, which is Latin.
    """

    lines: Sequence[str]
    angle: float = 0.0
    sheet: bool = False
    noise: float = _NOISE
    font: str = ""


def fact(page: int, number: int) -> tuple[str, str]:
    """Return a sentence about a page, and the words of it that must be found."""
    draw = random.Random(f"{page}/{number}")  # noqa: S311
    keeper = draw.choice(["harbour", "library", "museum", "archive", "school", "granary"])
    thing = draw.choice(["lanterns", "ledgers", "anchors", "clocks", "globes", "seals"])
    found = f"{draw.randint(1000, 9999)} {thing}"
    return f"The {keeper} of Gerlin keeps {found} in its cellar.", found


def picture(scan: Scan) -> Image.Image:
    """Draw a page."""
    sheet = Image.new("L", _A4 if scan.sheet else _SMALL, _PAPER)
    pen = ImageDraw.Draw(sheet)
    font = (
        ImageFont.truetype(scan.font, _FONT_PX) if scan.font else ImageFont.load_default(_FONT_PX)
    )
    for row, line in enumerate(scan.lines):
        pen.text((_MARGIN, _MARGIN + row * _LINE_PX), line, _INK, font)
    turned = sheet.rotate(scan.angle, Image.Resampling.BICUBIC, expand=True, fillcolor=_PAPER)
    noise = np.random.default_rng(len(scan.lines)).normal(0, scan.noise, turned.size[::-1])
    return Image.fromarray((np.asarray(turned) + noise).clip(0, 255).astype("uint8"))


def pdf(scans: Sequence[Scan]) -> bytes:
    """Put pages into a PDF of pictures only."""
    pages = [picture(scan) for scan in scans]
    out = io.BytesIO()
    pages[0].save(out, "PDF", save_all=True, append_images=pages[1:], resolution=DPI)
    return out.getvalue()


def image(scan: Scan, kind: str) -> bytes:
    """Return a page as an image file of the kind that Pillow names so."""
    out = io.BytesIO()
    picture(scan).save(out, kind)
    return out.getvalue()


def tiff(scans: Sequence[Scan]) -> bytes:
    """Return a fax of several pages."""
    pages = [picture(scan).point(lambda grey: 255 * (grey > 128)).convert("1") for scan in scans]
    out = io.BytesIO()
    pages[0].save(out, "TIFF", save_all=True, append_images=pages[1:], compression="group4")
    return out.getvalue()
