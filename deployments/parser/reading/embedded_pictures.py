"""Pictures in documents: select those for OCR, and return the texts that OCR has read."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from deployments.errors import TooLarge, Unprocessable
from deployments.parser.reading.content import clean
from deployments.parser.reading.flow import flow
from deployments.parser.reading.images import kind_of, looks_readable, open_image
from deployments.types import DocumentWarning, WarningCode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from PIL.Image import Image

    from deployments.parser.reading.zip_members import ZipMembers

MIN_PICTURE_PIXELS: Final = 40_000
"""A smaller picture, such as a logo, is not read. 200 x 200 pixels are 40,000."""
MIN_PICTURE_SIDE_PX: Final = 40
"""The minimum of the shorter side: room for two lines of text."""
MAX_PICTURES: Final = 1_000
"""The most pictures and scanned pages of an uploaded file that are sent to OCR."""
MAX_STORED_BYTES: Final = 64 * 1024**2
"""The most bytes of the pictures of an uploaded file that are sent to OCR."""
MAX_PICTURE_BYTES: Final = 32 * 1024**2
MAX_LOADED_BYTES: Final = 256 * 1024**2
"""The most bytes of the pictures of an uploaded file that are unpacked to read their dimensions."""
MAX_LOADED: Final = 5_000
"""The most pictures of an uploaded file whose dimensions are read."""

_READABLE_SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".gif", ".bmp")
_SMALL: Final = f"{{:,}} smaller than {MIN_PICTURE_PIXELS:,} pixels, such as logos"
_LARGE: Final = "{:,} too large"
_MANY: Final = "{:,} over the limit for one file"
_DAMAGED: Final = "{:,} damaged"
_OTHER_FORMAT: Final = "{:,} in other formats than PNG, JPEG, TIFF, WebP, GIF and BMP"


class OcrRequest(NamedTuple):
    """A page of a picture or scan for OCR, stored as `size` bytes of a file from byte `start` on.

    Without a size, the picture ends with the file.
    """

    key: str
    media_type: str
    page: int
    start: int
    size: int | None = None


class PictureStore(Protocol):
    """A file to which pictures are appended."""

    def append(self, data: bytes) -> None:
        """Append a picture."""


class Pictures:
    """The pictures in one uploaded file, also of files within it; each is read once.

    A file is read twice: the first reading collects `ocr_requests` and appends their pictures to
    the `store`, if there is one; the second gets `texts`, the recognised texts by the keys of these
    requests. Both readings find the same pictures.
    """

    def __init__(
        self, texts: Mapping[str, str] | None = None, store: PictureStore | None = None
    ) -> None:
        self._texts = texts or {}
        self._store = store
        self._stored_bytes = 0
        self._loaded = 0
        self._loaded_bytes = 0
        self._requested: set[str] = set()
        self._shown: set[str] = set()
        self._unread: Counter[str] = Counter()
        self.ocr_requests: list[OcrRequest] = []

    def begin_document(self) -> None:
        """Begin a file within the uploaded one, which may repeat pictures of earlier files."""
        self._shown.clear()

    def text(self, load: Callable[[int], bytes]) -> str:
        """Return the text of a picture at its first place in a document, "" at later ones.

        `load` returns its content, and raises TooLarge if that has more bytes than its argument.
        """
        data = self._loaded_by(load)
        digest = _digest(data)
        if not data or digest in self._shown:
            return ""
        self._shown.add(digest)
        try:
            image = open_image(data)
        except TooLarge:
            self._unread[_LARGE] += 1
        except Unprocessable:
            self._unread[_DAMAGED if looks_readable(data) else _OTHER_FORMAT] += 1
        else:
            if not is_small(image):
                found = self.page_texts(data, kind_of(image), (1,)).get(1, "")
                return flow([clean(found).split("\n")])[0]
            self._unread[_SMALL] += 1
        return ""

    def _loaded_by(self, load: Callable[[int], bytes]) -> bytes:
        """Return the content of a picture; empty if it is damaged or over a limit."""
        if self._loaded >= MAX_LOADED or self._loaded_bytes >= MAX_LOADED_BYTES:
            self._unread[_MANY] += 1
            return b""
        self._loaded += 1
        try:
            data = load(MAX_PICTURE_BYTES)
        except TooLarge:
            self._loaded_bytes += MAX_PICTURE_BYTES
            self._unread[_LARGE] += 1
        except Unprocessable:
            self._unread[_DAMAGED] += 1
        else:
            self._loaded_bytes += len(data)
            return data
        return b""

    def page_texts(self, data: bytes, media_type: str, pages: Sequence[int]) -> dict[int, str]:
        """Return the recognised texts of pages of a scan, by page number."""
        digest = _digest(data)
        keys = {page: f"{digest}.{page}" for page in pages}
        if new := [page for page, key in keys.items() if key not in self._requested]:
            self._requested.update(keys.values())
            self._request(digest, data, media_type, new)
        return {page: self._texts[key] for page, key in keys.items() if key in self._texts}

    def _request(self, digest: str, data: bytes, media_type: str, pages: Sequence[int]) -> None:
        if self._stored_bytes + len(data) > MAX_STORED_BYTES:
            self._unread[_LARGE] += len(pages)
            return
        room = MAX_PICTURES - len(self.ocr_requests)
        self._unread[_MANY] += len(pages[room:])
        if not pages[:room]:
            return
        self.ocr_requests += [
            OcrRequest(f"{digest}.{page}", media_type, page, self._stored_bytes, len(data))
            for page in pages[:room]
        ]
        self._stored_bytes += len(data)
        if self._store is not None:
            self._store.append(data)

    def warnings(self) -> tuple[DocumentWarning, ...]:
        """Return a warning that counts the pictures not sent to OCR, with the reasons."""
        total = self._unread.total()
        if not total:
            return ()
        reasons = ", ".join(reason.format(n) for reason, n in self._unread.items() if n)
        were = "1 picture was" if total == 1 else f"{total:,} pictures were"
        return (DocumentWarning(WarningCode.PICTURES_NOT_READ, f"{were} not read: {reasons}."),)


class MemberPictures:
    """The pictures in a ZIP file, such as an Office document, by their paths."""

    def __init__(self, members: ZipMembers, pictures: Pictures) -> None:
        self._members, self._pictures = members, pictures
        self._seen: set[str] = set()

    def text(self, path: str) -> str:
        """Return the text of a picture at its first place in a document, "" at later ones."""
        if path in self._seen or path not in self._members:
            return ""
        self._seen.add(path)
        return self._pictures.text(lambda most: self._members.read_bounded(path, most))

    def rest(self, prefix: str) -> Iterator[str]:
        """Yield the texts of the other pictures whose paths begin with `prefix`."""
        for path in list(self._members.names(prefix)):
            if path.lower().endswith(_READABLE_SUFFIXES) and (text := self.text(path)):
                yield text


def is_small(image: Image) -> bool:
    """Return whether a picture is too small to be read."""
    return image.width * image.height < MIN_PICTURE_PIXELS or min(image.size) < MIN_PICTURE_SIDE_PX


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=12).hexdigest()
