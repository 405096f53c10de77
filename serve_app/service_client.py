"""A running service, as the commands call it: with retries, by the API of everybody else."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlencode, urlsplit

from serve_app.http.urls import is_loopback

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Mapping

T = TypeVar("T")

URL_VARIABLE, KEY_VARIABLE = "GENSERVE_URL", "GENSERVE_API_KEY"
ATTEMPTS = 8
"""In a row, without progress."""
BUSY = {408, 429, 502, 503, 504}
"""Statuses of a service that may answer later."""
_DEFAULT_URL = "http://127.0.0.1:8000"
_TIMEOUT_S = 120.0
_PAUSE_S = 0.5
_MAX_PAUSE_S = 30.0
_MAX_ERROR_BYTES = 64 * 1024


class CommandError(Exception):
    """The command cannot be completed; the message says why."""


class Refusal(CommandError):
    """The service refuses a request."""

    def __init__(self, message: str, status: int, code: str, retry_after_s: float | None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.retry_after_s = retry_after_s


class Interruption(Exception):
    """A connection that could not be made, or broke off."""


class Service:
    """The service at an address; the environment may name it, and holds the API key."""

    def __init__(self, url: str) -> None:
        self._url, proxied = checked_address(url)
        self._key = os.environ.get(KEY_VARIABLE, "")
        direct = [] if proxied else [urllib.request.ProxyHandler({})]
        self._opener = urllib.request.build_opener(*direct)

    def open(
        self,
        path: str,
        query: Mapping[str, object] | None = None,
        *,
        method: str = "GET",
        body: bytes | None = None,
        media_type: str = "application/octet-stream",
    ) -> http.client.HTTPResponse:
        """Send a request and return the response to read; raise Refusal or Interruption."""
        given = {name: value for name, value in (query or {}).items() if value is not None}
        url = f"{self._url}{path}" + (f"?{urlencode(given)}" if given else "")
        headers = {"Content-Type": media_type} if body is not None else {}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        request = urllib.request.Request(url, body, headers, method=method)  # noqa: S310 - http(s)
        try:
            response: http.client.HTTPResponse = self._opener.open(request, timeout=_TIMEOUT_S)
        except urllib.error.HTTPError as error:
            with error:
                raise _refusal(error) from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            msg = f"{self._url} cannot be reached: {reason}"
            raise Interruption(msg) from error
        return response

    def json(
        self, path: str, *, method: str = "GET", body: bytes | None = None, **fields: object
    ) -> Any:  # noqa: ANN401 - any JSON
        """Return the JSON that a request is answered with; `fields` are its body as JSON."""
        media_type = "application/octet-stream"
        if fields:
            body, media_type = json.dumps(fields).encode(), "application/json"

        def ask() -> Any:  # noqa: ANN401 - as above
            response = self.open(path, method=method, body=body, media_type=media_type)
            with response, interruptions():
                return json.loads(response.read())

        return retried(ask)


def add_address(parser: argparse.ArgumentParser) -> None:
    """Add the option that names the service."""
    parser.add_argument(
        "--url",
        metavar="URL",
        default=os.environ.get(URL_VARIABLE) or _DEFAULT_URL,
        help=f"the service (default: {URL_VARIABLE}, or {_DEFAULT_URL}); {KEY_VARIABLE} in the "
        "environment is its API key",
    )


def checked_address(url: str) -> tuple[str, bool]:
    """Return what all addresses of a service begin with, and whether proxies may be used.

    Raises CommandError.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        msg = f"{url}: not an address like {_DEFAULT_URL}"
        raise CommandError(msg)
    # The environment's HTTP proxy is not for addresses of this machine.
    return url.rstrip("/").removesuffix("/v1"), not is_loopback(parts.hostname)


@contextlib.contextmanager
def interruptions() -> Iterator[None]:
    """Raise Interruption for a connection that breaks while a response is read."""
    try:
        yield
    except (OSError, http.client.HTTPException, ValueError) as error:
        msg = f"the connection broke off: {error or type(error).__name__}"
        raise Interruption(msg) from error


def retried(work: Callable[[], T], progress: Callable[[], object] = lambda: None) -> T:
    """Return what `work` returns, again after interruptions and while the service is busy.

    Raises CommandError after several attempts in a row in which `progress` stayed the same.
    """
    failed, before = 0, progress()
    while True:
        try:
            return work()
        except (Interruption, Refusal) as error:
            if isinstance(error, Refusal) and error.status not in BUSY:
                raise
            failed = failed + 1 if progress() == before else 1
            before = progress()
            if failed >= ATTEMPTS:
                raise CommandError(str(error)) from error
            time.sleep(pause_s(error, failed))


def pause_s(error: Interruption | Refusal, failed: int) -> float:
    """Return the seconds to wait after so many attempts in a row that failed."""
    wait_s = getattr(error, "retry_after_s", None) or _PAUSE_S * 2**failed
    return float(min(wait_s, _MAX_PAUSE_S))


def refusal(status: int, body: bytes, retry_after: str | None) -> Refusal:
    """Make the error of a response from its body and its `Retry-After`."""
    message, code = f"the service answered {status}", ""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        told = json.loads(body)["error"]
        message, code = str(told["message"]), str(told["code"])
    retry_after_s = None
    with contextlib.suppress(ValueError):
        retry_after_s = float(retry_after or "")
    return Refusal(message, status, code, retry_after_s)


def _refusal(error: urllib.error.HTTPError) -> Refusal:
    body = b""
    with contextlib.suppress(OSError, http.client.HTTPException):
        body = error.read(_MAX_ERROR_BYTES)
    return refusal(error.code, body, error.headers.get("Retry-After"))
