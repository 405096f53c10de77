"""The formats in which a picture is sent; the file store keeps PNG."""

from __future__ import annotations

import io
from typing import Final, Literal

PictureFormat = Literal["png", "jpeg", "webp"]
MEDIA_TYPES: Final[dict[str, str]] = {
    "png": "image/png",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
}
DEFAULT_QUALITY: Final = 90
"""Of JPEG and WebP, from 0 to 100."""


def encode_picture(png: bytes, form: str, quality: int = DEFAULT_QUALITY) -> bytes:
    """Convert a picture to another format, which takes some milliseconds."""
    if form == "png":
        return png
    from PIL import Image

    encoded = io.BytesIO()
    with Image.open(io.BytesIO(png)) as picture:
        picture.convert("RGB").save(encoded, form.upper(), quality=quality)
    return encoded.getvalue()
