"""Filtering forward proxy on loopback: all that the browser reaches, it reaches through this."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

from deployments.renderer.destinations import DestinationUnreachable, ForbiddenDestination
from deployments.renderer.request_heads import BadHead, read_head

if TYPE_CHECKING:
    import socket
    from collections.abc import Coroutine, Iterator

    from deployments.renderer.destinations import Destinations, Resolved
    from deployments.renderer.request_heads import RequestHead

_PIECE_BYTES: Final = 65_536
_HEAD_TIMEOUT_S: Final = 10.0
_HEAD_BYTES: Final = 65_536
_ESTABLISHED: Final = b"HTTP/1.1 200 Connection established\r\n\r\n"


@dataclass(frozen=True, slots=True)
class TrafficBounds:
    """Bounds on what one page may load; its time is bounded by the deadline of the page."""

    max_bytes: int = 30_000_000
    """In both directions, as on the wire."""
    max_connections: int = 200
    max_connections_at_once: int = 32


class TrafficLimitExceeded(Exception):
    """The page has used up its bytes."""


@dataclass(slots=True)
class Traffic:
    """What one page has used so far."""

    bounds: TrafficBounds
    host: str
    """The host that the user has named, in lower case and without brackets."""
    bytes: int = 0
    connections: int = 0
    refused: int = 0
    """Connections to forbidden destinations, and over the bounds."""
    resolved: Resolved = field(default_factory=dict)
    """The addresses of the names that the page has used."""
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def admits(self) -> bool:
        """Tell whether one more connection is within the bounds."""
        return (
            self.connections < self.bounds.max_connections
            and len(self.tasks) < self.bounds.max_connections_at_once
            and self.bytes < self.bounds.max_bytes
        )

    def count(self, size: int) -> None:
        """Add bytes; raise TrafficLimitExceeded."""
        self.bytes += size
        if self.bytes > self.bounds.max_bytes:
            raise TrafficLimitExceeded


class FilteringProxy:
    """Serve HTTP proxy requests and CONNECT on one listening socket, for one page at a time.

    While no page is open, and for requests to forbidden destinations, nothing is connected to.
    """

    def __init__(
        self, listener: socket.socket, destinations: Destinations, bounds: TrafficBounds
    ) -> None:
        self._listener, self._destinations, self._bounds = listener, destinations, bounds
        self._traffic: Traffic | None = None
        self.port: int = listener.getsockname()[1]

    async def start(self) -> Self:
        """Begin to listen."""
        self._server = await asyncio.start_server(
            self._serve, sock=self._listener, limit=_HEAD_BYTES
        )
        return self

    async def close(self) -> None:
        """Stop listening and close all connections."""
        self._server.close()
        if self._traffic is not None:
            _cancel(self._traffic)

    @contextlib.contextmanager
    def page(self, host: str) -> Iterator[Traffic]:
        """Open the proxy for a page of this host; at the end close all of its connections."""
        traffic = self._traffic = Traffic(self._bounds, host)
        try:
            yield traffic
        finally:
            self._traffic = None
            _cancel(traffic)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        traffic, task = self._traffic, asyncio.current_task()
        if traffic is None or task is None or not traffic.admits():
            if traffic is not None:
                traffic.refused += 1
            writer.transport.abort()
            return
        traffic.connections += 1
        traffic.tasks.add(task)
        try:
            await self._forward(reader, writer, traffic)
        except (OSError, TrafficLimitExceeded, TimeoutError, asyncio.IncompleteReadError):
            writer.transport.abort()
        except asyncio.CancelledError:  # only by `_cancel`: the end of the page
            writer.transport.abort()
        finally:
            traffic.tasks.discard(task)
            writer.close()

    async def _forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, traffic: Traffic
    ) -> None:
        try:
            async with asyncio.timeout(_HEAD_TIMEOUT_S):
                head = read_head(await reader.readuntil(b"\r\n\r\n"))
            up_reader, up_writer = await self._destinations.connect(
                head.host,
                head.port,
                named=head.host == traffic.host,
                resolved=traffic.resolved,
            )
        except (BadHead, asyncio.LimitOverrunError):
            await _refuse(writer, "400 Bad Request")
            return
        except ForbiddenDestination:
            traffic.refused += 1
            await _refuse(writer, "403 Forbidden")
            return
        except DestinationUnreachable:
            await _refuse(writer, "502 Bad Gateway")
            return
        try:
            if head.tunnel:
                writer.write(_ESTABLISHED)
                up = _copy(reader, up_writer, traffic)
            else:
                up = _send(head, reader, up_writer, traffic)
            await _first_of(up, _copy(up_reader, writer, traffic))
        finally:
            up_writer.transport.abort()


async def _send(
    head: RequestHead,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    traffic: Traffic,
) -> None:
    """Send one request, and return when the browser sends another or closes the connection.

    A second request on this connection may be for another site; the browser repeats it on a
    connection of its own.
    """
    traffic.count(len(head.forwarded))
    writer.write(head.forwarded)
    left = head.body_bytes
    while left:
        piece = await reader.read(min(left, _PIECE_BYTES))
        if not piece:
            return
        left -= len(piece)
        traffic.count(len(piece))
        writer.write(piece)
        await writer.drain()
    await reader.read(1)


async def _copy(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, traffic: Traffic
) -> None:
    while piece := await reader.read(_PIECE_BYTES):
        traffic.count(len(piece))
        writer.write(piece)
        await writer.drain()


async def _first_of(*directions: Coroutine[None, None, None]) -> None:
    """Run both directions until one has ended; raise what it raised."""
    tasks = [asyncio.ensure_future(each) for each in directions]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _refuse(writer: asyncio.StreamWriter, status: str) -> None:
    answer = f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    writer.write(answer.encode("ascii"))
    await writer.drain()


def _cancel(traffic: Traffic) -> None:
    for task in list(traffic.tasks):
        task.cancel()
