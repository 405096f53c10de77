"""Multipart forms with extended file names, such as `filename*=UTF-8''na%C3%AFve.txt`."""

from __future__ import annotations

import contextlib
import re
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

if TYPE_CHECKING:
    from starlette.datastructures import FormData

_PLAIN = re.compile(rb";\s*filename\s*=", re.IGNORECASE)
_EXTENDED = re.compile(
    rb";\s*filename\*\s*=\s*(utf-8|iso-8859-1)'[\w-]*'([^\s;\"']+)", re.IGNORECASE
)


class MultipartRequest(Request):
    """A request whose form is read with extended file names.

    python-multipart ignores them, as RFC 7578 forbids them; `requests` and other clients send
    them, without a plain name, for names that are not ASCII.
    """

    async def _get_form(self, **bounds: float) -> FormData:
        content_type = self.headers.get("content-type", "")
        if content_type.partition(";")[0].strip().lower() != "multipart/form-data":
            return await super()._get_form(**bounds)  # type: ignore[arg-type]
        if self._form is None:
            try:
                async with contextlib.aclosing(self.stream()) as stream:
                    parser = _Parser(self.headers, stream, **bounds)  # type: ignore[arg-type]
                    self._form = await parser.parse()
            except MultiPartException as error:
                raise HTTPException(HTTPStatus.BAD_REQUEST, error.message) from None
        return self._form


class _Parser(MultiPartParser):
    def on_headers_finished(self) -> None:
        part = self._current_part
        if part.content_disposition is not None:
            part.content_disposition = with_plain_name(part.content_disposition)
        super().on_headers_finished()


def with_plain_name(disposition: bytes) -> bytes:
    """Add the plain form of an extended file name to a Content-Disposition header without one."""
    extended = _EXTENDED.search(disposition)
    if extended is None or _PLAIN.search(disposition):
        return disposition
    try:
        name = unquote_to_bytes(extended[2]).decode(extended[1].decode())
    except UnicodeDecodeError:
        return disposition
    plain = name.replace("\\", "\\\\").replace('"', '\\"').encode()
    return disposition + b'; filename="' + plain + b'"'
