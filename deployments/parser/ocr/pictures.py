"""Pictures of pages: decode an image, or render a page of a PDF, within bounds of pixels."""

from __future__ import annotations

import math
from itertools import islice
from typing import TYPE_CHECKING, Any

from deployments.errors import TooLarge, Unprocessable
from deployments.parser.reading.formats import Format
from deployments.parser.reading.images import MAX_IMAGE_PIXELS, check_size, damaged, open_image

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image
    from pypdfium2 import PdfPage

MAX_PAGE_PIXELS = 8_000_000
"""Of what is recognised; a page of A4 at 200 dpi has 4 million."""
MAX_PAGE_IMAGE_PIXELS = 2 * MAX_IMAGE_PIXELS
"""Of all images on a page of a PDF, which are decoded to render it."""
_MAX_OBJECTS = 20_000  # on a page
_DPI = 200
_POINTS_PER_INCH = 72


def picture(data: bytes, media_type: str, page: int) -> NDArray[Any]:
    """Return a page, from 1, of a file as 8-bit blue, green and red.

    Raises:
        TooLarge: an image has more than `images.MAX_IMAGE_PIXELS`, or those on a page of a PDF
            have more than `MAX_PAGE_IMAGE_PIXELS`.
        Unprocessable: the image or the page is damaged.
    """
    return _rendered(data, page) if media_type == Format.PDF else _decoded(data, page)


def _decoded(data: bytes, page: int) -> NDArray[Any]:
    import numpy as np
    from PIL import ImageOps

    image = open_image(data)
    try:
        if page > 1:
            image.seek(page - 1)
            check_size(image)  # frames differ
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
            _check_images(sheet)
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


def _check_images(sheet: PdfPage) -> None:
    """Raise TooLarge if the images on a page say that they have too many pixels."""
    from pypdfium2.raw import FPDF_PAGEOBJ_IMAGE

    pixels = 0
    for item in islice(sheet.get_objects(), _MAX_OBJECTS):
        if item.type == FPDF_PAGEOBJ_IMAGE:
            width, height = item.get_px_size()
            pixels += width * height
            if pixels > MAX_PAGE_IMAGE_PIXELS:
                msg = f"The images on a page have more than {MAX_PAGE_IMAGE_PIXELS:,} pixels."
                raise TooLarge(msg)


def _size_within(width: int, height: int) -> tuple[int, int]:
    scale = min(1.0, math.sqrt(MAX_PAGE_PIXELS / (width * height)))
    return max(int(width * scale), 1), max(int(height * scale), 1)
