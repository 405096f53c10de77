"""`GET /` and `GET /page/{name}`: the web page, from memory, forbidden to load anything else."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Header, Response

from deployments.errors import NotFound

router = APIRouter(include_in_schema=False)

_FOLDER = Path(__file__).parents[1] / "page"
_INDEX = "index.html"
_METHODS = ["GET", "HEAD"]
_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# Answers and documents are other people's text: should one ever reach the page as markup, it
# can neither run, nor load, nor send anything.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; font-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Vary": "Accept-Encoding",
    "Cache-Control": "no-cache",  # asked for each time; unchanged, it is not sent again
}


@dataclass(frozen=True)
class _File:
    """A file of the page, ready to be sent, and packed for those who take it so."""

    content: bytes
    packed: bytes
    media_type: str
    digest: str


def _read(path: Path) -> _File:
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()[:32]
    return _File(content, gzip.compress(content, mtime=0), _MEDIA_TYPES[path.suffix], digest)


# Names come from requests, so they are looked up here and never become a path.
_FILES = {path.name: _read(path) for path in _FOLDER.iterdir() if path.suffix in _MEDIA_TYPES}

IfNoneMatch = Annotated[str | None, Header()]
AcceptEncoding = Annotated[str, Header()]


@router.api_route("/", methods=_METHODS, response_class=Response)
async def index(
    if_none_match: IfNoneMatch = None, accept_encoding: AcceptEncoding = ""
) -> Response:
    """Send the page itself."""
    return _sent(_INDEX, if_none_match, accept_encoding)


@router.api_route("/page/{name}", methods=_METHODS, response_class=Response)
async def page_file(
    name: str, if_none_match: IfNoneMatch = None, accept_encoding: AcceptEncoding = ""
) -> Response:
    """Send one of the files that the page is made of.

    Raises:
        NotFound: if the page has no such file.
    """
    return _sent(name, if_none_match, accept_encoding)


def _sent(name: str, if_none_match: str | None, accept_encoding: str) -> Response:
    file = _FILES.get(name)
    if file is None:
        msg = "there is no such file"
        raise NotFound(msg)
    content, etag, headers = file.content, f'"{file.digest}"', _HEADERS
    if "gzip" in accept_encoding:
        content, etag = file.packed, f'"{file.digest}-gzip"'
        headers = headers | {"Content-Encoding": "gzip"}
    headers = headers | {"ETag": etag}
    known = {tag.strip().removeprefix("W/") for tag in (if_none_match or "").split(",")}
    if etag in known or "*" in known:
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    return Response(content, media_type=file.media_type, headers=headers)
