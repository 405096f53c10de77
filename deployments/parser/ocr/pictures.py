"""Pictures of pages: decode an image, or render a page of a PDF, within bounds of pixels."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Any

from deployments.errors import TooLarge, Unprocessable
from deployments.parser.reading.formats import Format

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

MAX_IMAGE_PIXELS = 80_000_000
"""Of an image file; a page of A4 at 600 dpi has 35 million."""
MAX_PAGE_PIXELS = 8_000_000
"""Of what is recognised; a page of A4 at 200 dpi has 4 million."""
_DPI = 200
_POINTS_PER_INCH = 72
_DECODERS = ("PNG", "JPEG", "TIFF", "WEBP")


def picture(data: bytes, media_type: str, page: int) -> NDArray[Any]:
    """Return a page, from 1, of a file as 8-bit blue, green and red.

    Raises:
        TooLarge: an image has more than `MAX_IMAGE_PIXELS`.
        Unprocessable: the image or the page is damaged.
    """
    return _rendered(data, page) if media_type == Format.PDF else _decoded(data, page)


def open_image(data: bytes) -> Image:
    """Read the header of an image; raise TooLarge or Unprocessable (`damaged_image`)."""
    from PIL import Image, UnidentifiedImageError

    # Checked below, with an error of our own.
    Image.MAX_IMAGE_PIXELS = None
    try:
        image = Image.open(io.BytesIO(data), formats=_DECODERS)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, ArithmeticError) as error:
        raise damaged() from error
    _check_size(image)
    return image


def damaged() -> Unprocessable:
    """Return the error for an image that cannot be decoded."""
    msg = "This image is damaged or incomplete. Open and save it again, or upload it once more."
    return Unprocessable(msg, code="damaged_image")


def _check_size(image: Image) -> None:
    if image.width * image.height > MAX_IMAGE_PIXELS:
        msg = (
            f"The image has {image.width:,} x {image.height:,} pixels; at most "
            f"{MAX_IMAGE_PIXELS // 1_000_000} million are read. Make it smaller and try again."
        )
        raise TooLarge(msg)


def _decoded(data: bytes, page: int) -> NDArray[Any]:
    import numpy as np
    from PIL import ImageOps

    image = open_image(data)
    try:
        if page > 1:
            image.seek(page - 1)
            _check_size(image)  # frames differ
        size = _size_within(image.width, image.height)
        image.draft("RGB", size)  # a JPEG is decoded in a smaller size at once
        decoded = _in_8_bits(image)
        upright = ImageOps.exif_transpose(decoded.resize(size) if decoded.size != size else decoded)
    except (TooLarge, MemoryError):
        raise
    # Pillow's decoders raise nearly every built-in exception on damage.
    except Exception as error:
        raise damaged() from error
    return np.ascontiguousarray(np.asarray(_on_white(upright).convert("RGB"))[:, :, ::-1])


def _in_8_bits(image: Image) -> Image:
    """Convert images of bits, of palettes and of deep colours, which cannot be resized well."""
    import numpy as np
    from PIL import Image as Pillow

    if image.mode in {"L", "RGB", "RGBA", "LA", "CMYK"}:
        image.load()
        return image
    if image.mode.startswith(("I", "F")):
        values = np.asarray(image, dtype="float32")
        largest = float(values.max()) or 1.0
        return Pillow.fromarray((values * (255 / largest)).clip(0, 255).astype("uint8"))
    if image.mode == "1":
        return image.convert("L")
    return image.convert("RGBA" if "transparency" in image.info else "RGB")


def _on_white(image: Image) -> Image:
    """Put a transparent image on white paper."""
    from PIL import Image as Pillow

    if image.mode not in {"RGBA", "LA"}:
        return image
    image = image.convert("RGBA")
    paper = Pillow.new("RGBA", image.size, "white")
    paper.alpha_composite(image)
    return paper


def _rendered(data: bytes, page: int) -> NDArray[Any]:
    import numpy as np
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(data)
        try:
            sheet = document[page - 1]
            width, height = sheet.get_size()
            scale = _DPI / _POINTS_PER_INCH
            scale *= min(1.0, math.sqrt(MAX_PAGE_PIXELS / (width * height * scale**2)))
            bitmap = sheet.render(scale=scale, rev_byteorder=False)
            pixels = np.array(bitmap.to_numpy()[:, :, :3])
        finally:
            document.close()
    except (pypdfium2.PdfiumError, IndexError, ArithmeticError, ValueError) as error:
        msg = "A page of this PDF cannot be rendered."
        raise Unprocessable(msg, code="damaged_pdf") from error
    return np.ascontiguousarray(pixels)


def _size_within(width: int, height: int) -> tuple[int, int]:
    scale = min(1.0, math.sqrt(MAX_PAGE_PIXELS / (width * height)))
    return max(int(width * scale), 1), max(int(height * scale), 1)
