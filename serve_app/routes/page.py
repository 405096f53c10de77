"""`GET /` and `GET /page/…`: the web page; its policy forbids it to load anything else."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import APIRouter, Response
from starlette.datastructures import Headers
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import FileResponse
from starlette.routing import Route
from starlette.staticfiles import NotModifiedResponse, StaticFiles

from serve_app.routes.dependencies import SettingsDep  # noqa: TC001 - FastAPI reads annotations
from serve_app.schemas.page import Capabilities

if TYPE_CHECKING:
    import os

    from fastapi import FastAPI
    from starlette.types import ASGIApp, Scope

router = APIRouter(include_in_schema=False)

_FOLDER = Path(__file__).parents[1] / "page"
# Answers and documents contain text of strangers. Should any of it ever become markup, it can
# neither run, nor load, nor send anything.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; font-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'"
)
_REVALIDATE = {"Cache-Control": "no-cache"}  # on every load, so that an upgrade is seen
_HEADERS = _REVALIDATE | {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


class PageFiles(StaticFiles):
    """The files of the page, with its security headers and an ETag of their content."""

    def file_response(
        self,
        full_path: str | os.PathLike[str],
        stat_result: os.stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        """Return the file, or 304 if the client has it.

        Starlette makes its ETag of size and modification time. Package builds set one time for
        all files, so a file of the same size would look unchanged after an upgrade.
        """
        etag = _etag(str(full_path), stat_result.st_mtime_ns)
        response: Response = FileResponse(
            full_path, status_code, {"ETag": etag}, stat_result=stat_result
        )
        if self.is_not_modified(response.headers, Headers(scope=scope)):
            response = NotModifiedResponse(response.headers)
        response.headers.update(_HEADERS)
        return response


@router.get("/page/capabilities")
async def capabilities(settings: SettingsDep, response: Response) -> Capabilities:
    """Say what the operator's settings allow the page to offer."""
    response.headers.update(_REVALIDATE)
    answer, limits = settings.answer, settings.limits
    return Capabilities(
        web=answer.web, documents=answer.documents, max_upload_bytes=limits.max_upload_bytes
    )


def install(app: FastAPI) -> None:
    """Serve the page at the root of the application, and its files below `/page`."""
    app.include_router(router)  # before the folder, which would claim its path
    app.router.routes.append(Route("/", _compressed(html=True), include_in_schema=False))
    app.mount("/page", _compressed(html=False))


def _compressed(*, html: bool) -> ASGIApp:
    return GZipMiddleware(PageFiles(directory=_FOLDER, html=html))


@functools.cache
def _etag(path: str, _modified_ns: int) -> str:
    return f'"{hashlib.sha256(Path(path).read_bytes()).hexdigest()[:32]}"'
