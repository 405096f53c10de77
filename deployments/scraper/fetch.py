"""Download one URL: follow redirects, check each hop, and limit the size of the response."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import aiohttp
from yarl import URL

from deployments.scraper.session import ForbiddenAddress
from deployments.types import PageOutcome

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping

    from deployments.settings import ScraperSettings

    Permit = Callable[[URL], Awaitable[None]]

MAX_PAGE_BYTES: Final = 2_000_000
"""The most that is read of HTML or text, after decompression."""
_REDIRECTS: Final = frozenset((301, 302, 303, 307, 308))
_MAX_REDIRECTS: Final = 5
_MEDIA_TYPE: Final = re.compile(r"[a-z0-9.+-]{1,40}/[a-z0-9.+-]{1,60}")


class PageFailure(Exception):
    """A page could not be read; `detail` is written for the user who named it."""

    def __init__(self, outcome: PageOutcome, detail: str) -> None:
        super().__init__(outcome, detail)
        self.outcome = outcome
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Download:
    """A response body; `url` is the one after redirects, `media_type` is in lower case."""

    url: URL
    media_type: str
    charset: str | None
    data: bytes


class Redirects:
    """The redirects that one page may still use."""

    def __init__(self) -> None:
        self._left = _MAX_REDIRECTS

    def use(self) -> None:
        """Count one; raise PageFailure if it is one too many."""
        if not self._left:
            detail = f"redirected more than {_MAX_REDIRECTS} times"
            raise PageFailure(PageOutcome.HTTP_ERROR, detail)
        self._left -= 1


class WebClient:
    """Download URLs and check every redirect like the first URL; failures are PageFailure."""

    def __init__(self, session: aiohttp.ClientSession, settings: ScraperSettings) -> None:
        self._session = session
        self._ports = frozenset(settings.allowed_ports)

    async def download(
        self,
        url: URL,
        max_bytes: Mapping[str, int],
        permit: Permit | None = None,
        redirects: Redirects | None = None,
    ) -> Download:
        """Download a page.

        Args:
            url: An absolute http or https URL.
            max_bytes: The accepted media types, or patterns of them, each with its limit after
                decompression. The first that matches counts.
            permit: Awaited before each hop; raises PageFailure to forbid it.
            redirects: Those left to the page; by default all that a page may use.
        """
        async with self.open(url, permit, redirects) as response:
            if not HTTPStatus.OK <= response.status < HTTPStatus.MULTIPLE_CHOICES:
                raise PageFailure(PageOutcome.HTTP_ERROR, f"the site answered {_name(response)}")
            if response.status == HTTPStatus.NO_CONTENT or response.content_length == 0:
                raise PageFailure(PageOutcome.EMPTY, "the page is empty")
            media_type = response.content_type
            limit = _limit(media_type, max_bytes)
            if limit is None:
                kind = media_type if _MEDIA_TYPE.fullmatch(media_type) else "this kind of content"
                raise PageFailure(PageOutcome.UNSUPPORTED_TYPE, f"{kind} is not read")
            data, whole = await read_capped(response, limit)
            if not whole:
                raise PageFailure(PageOutcome.TOO_LARGE, f"larger than {limit / 1e6:.3g} MB")
            return Download(response.url, media_type, response.charset, data)

    @asynccontextmanager
    async def open(
        self, url: URL, permit: Permit | None = None, redirects: Redirects | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Follow redirects and yield the final response before its body is read."""
        redirects = redirects or Redirects()
        while True:
            self._check(url)
            if permit is not None:
                await permit(url)
            with _as_page_failure():
                async with self._session.get(url, allow_redirects=False) as response:
                    location = response.headers.get("Location")
                    if response.status not in _REDIRECTS or location is None:
                        yield response
                        return
                    url = response.url.join(URL(location))
            redirects.use()

    def _check(self, url: URL) -> None:
        if url.scheme not in {"http", "https"} or not url.host:
            raise PageFailure(PageOutcome.BLOCKED, "only http and https addresses are read")
        if url.user is not None or url.password is not None:
            raise PageFailure(PageOutcome.BLOCKED, "addresses with a user name are not read")
        if url.port not in self._ports:
            raise PageFailure(PageOutcome.BLOCKED, "addresses with this port are not read")


async def read_capped(response: aiohttp.ClientResponse, max_bytes: int) -> tuple[bytes, bool]:
    """Return at most `max_bytes` of the decompressed body, and whether it is complete."""
    data = bytearray()
    async for piece in response.content.iter_any():
        data += piece
        if len(data) > max_bytes:
            return bytes(data[:max_bytes]), False
    return bytes(data), True


def _limit(media_type: str, max_bytes: Mapping[str, int]) -> int | None:
    matching = (limit for kind, limit in max_bytes.items() if fnmatchcase(media_type, kind))
    return next(matching, None)


def _name(response: aiohttp.ClientResponse) -> str:
    # Not the reason phrase of the site, which would put its text into our message.
    try:
        return f"{response.status} {HTTPStatus(response.status).phrase}"
    except ValueError:
        return str(response.status)


@contextmanager
def _as_page_failure() -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise PageFailure(PageOutcome.TIMEOUT, "the site could not be reached in time") from error
    except aiohttp.ClientSSLError as error:
        detail = "no secure connection could be made to the site"
        raise PageFailure(PageOutcome.UNREACHABLE, detail) from error
    except aiohttp.ClientConnectorError as error:
        if isinstance(error.os_error, ForbiddenAddress):
            detail = "the address is not on the public internet"
            raise PageFailure(PageOutcome.BLOCKED, detail) from error
        if isinstance(error, aiohttp.ClientConnectorDNSError):
            raise PageFailure(PageOutcome.UNREACHABLE, "no site of this name is known") from error
        detail = "no connection could be made to the site"
        raise PageFailure(PageOutcome.UNREACHABLE, detail) from error
    except ValueError as error:  # from yarl, aiohttp (InvalidURL) and the IDNA codec
        raise PageFailure(PageOutcome.BLOCKED, "not a valid web address") from error
    except (aiohttp.ClientError, OSError) as error:
        detail = "the site broke off or did not speak HTTP"
        raise PageFailure(PageOutcome.UNREACHABLE, detail) from error
