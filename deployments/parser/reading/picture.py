"""Read images: their text, which OCR has recognised; each frame of a TIFF is a page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deployments.errors import TooLarge
from deployments.parser.page_warnings import page_warning
from deployments.parser.reading.content import Content, check_text, clean, title_of_filename
from deployments.parser.reading.flow import flow
from deployments.parser.reading.formats import Format
from deployments.parser.reading.images import damaged, kind_of, open_image
from deployments.types import DocumentWarning, WarningCode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from PIL.Image import Image


def read_picture(
    data: bytes,
    filename: str,
    *,
    max_pages: int,
    max_chars: int,
    ocr: Mapping[int, str] | None = None,
) -> Content:
    """Return the texts in `ocr`, or name the pages that need them.

    Raises:
        Unprocessable: `damaged_image`.
        TooLarge: too many pixels, pages or characters.
    """
    image = open_image(data)
    kind = kind_of(image)
    count = _frames(image, max_pages) if kind is Format.TIFF else 1
    texts = {page: clean(text) for page, text in (ocr or {}).items()}
    text, starts = flow([texts.get(page, "").split("\n") for page in range(1, count + 1)])
    read = [page for page in range(1, count + 1) if texts.get(page, "").strip()]
    wanted = [page for page in range(1, count + 1) if page not in read]
    if read:
        check_text(text, max_chars)
    return Content(
        title_of_filename(filename),
        kind,
        text,
        page_starts=starts,
        warnings=_warnings(read, wanted),
        ocr_pages=frozenset(read),
        ocr_wanted=tuple(wanted),
    )


def _frames(image: Image, max_pages: int) -> int:
    """Count the frames of a TIFF."""
    count = 1
    try:
        while count <= max_pages:
            image.seek(count)
            count += 1
    except EOFError:
        return count
    except MemoryError:
        raise
    # Pillow raises nearly every built-in exception on damage.
    except Exception as error:
        raise damaged() from error
    msg = f"The image has more than {max_pages:,} pages, which is the most that is read."
    raise TooLarge(msg)


def _warnings(read: Sequence[int], wanted: Sequence[int]) -> tuple[DocumentWarning, ...]:
    warnings = []
    if read:
        subject = "this image" if len(read) == 1 else f"{len(read)} pages"
        msg = f"The text of {subject} was recognised by OCR, and may have mistakes."
        warnings.append(page_warning(WarningCode.PAGES_BY_OCR, msg, read))
    if wanted:
        subject = "1 page of this image holds" if len(wanted) == 1 else f"{len(wanted)} pages hold"
        msg = f"{subject} no text that was read."
        warnings.append(page_warning(WarningCode.PAGES_WITHOUT_TEXT, msg, wanted))
    return tuple(warnings)
