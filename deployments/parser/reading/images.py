"""Open image files: the formats that are read, and bounds of their size."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from deployments.errors import TooLarge, Unprocessable
from deployments.parser.reading.formats import Format, image_format

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_IMAGE_PIXELS = 80_000_000
"""A page of A4 at 600 dpi has 35 million."""
_DECODERS = ("PNG", "JPEG", "TIFF", "WEBP", "GIF", "BMP")
"""The last two are read within documents only."""
_KINDS = {"PNG": Format.PNG, "TIFF": Format.TIFF, "WEBP": Format.WEBP}
"""By Pillow's names; it has two for JPEG."""


def open_image(data: bytes) -> Image:
    """Read the header of an image; raise TooLarge or Unprocessable (`damaged_image`)."""
    from PIL import Image, UnidentifiedImageError

    # Checked below, with an error of our own.
    Image.MAX_IMAGE_PIXELS = None
    try:
        image = Image.open(io.BytesIO(data), formats=_DECODERS)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, ArithmeticError) as error:
        raise damaged() from error
    check_size(image)
    return image


def kind_of(image: Image) -> Format:
    """Return the format of an image."""
    return _KINDS.get(image.format or "", Format.JPEG)


def looks_readable(data: bytes) -> bool:
    """Tell whether a file begins like an image that is read."""
    return image_format(data) is not None


def damaged() -> Unprocessable:
    """Return the error for an image that cannot be decoded."""
    msg = "This image is damaged or incomplete. Open and save it again, or upload it once more."
    return Unprocessable(msg, code="damaged_image")


def check_size(image: Image) -> None:
    """Raise TooLarge if an image, or the present frame of one, has too many pixels."""
    if image.width * image.height > MAX_IMAGE_PIXELS:
        msg = (
            f"The image has {image.width:,} x {image.height:,} pixels; at most "
            f"{MAX_IMAGE_PIXELS // 1_000_000} million are read. Make it smaller and try again."
        )
        raise TooLarge(msg)
