"""One running Chromium: isolated, with a proxy for each page that it shows at once."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import shutil
import signal
import socket
import sys
from contextlib import AsyncExitStack
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final, Self

from loguru import logger

from deployments.errors import Unavailable
from deployments.renderer import launcher
from deployments.renderer.browser_folder import browser_folder, remove_leftovers
from deployments.renderer.process_memory import session_bytes
from deployments.renderer.proxy import FilteringProxy, TrafficBounds

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.async_api import Browser

    from deployments.renderer.destinations import Destinations

_START_TIMEOUT_S: Final = 20.0
_CLOSE_TIMEOUT_S: Final = 5.0
_MEMORY_INTERVAL_S: Final = 0.2
_SCRIPT_MEMORY_MB: Final = 256
_FLAGS: Final = (
    "--disable-quic",
    "--force-webrtc-ip-handling-policy=disable_non_proxied_udp",
    "--webrtc-ip-handling-policy=disable_non_proxied_udp",
    # The proxy resolves names; the browser itself finds none.
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
    "--dns-prefetch-disable",
    "--no-pings",
    "--disable-gpu",
    "--disable-breakpad",
    "--disable-crash-reporter",
    "--blink-settings=imagesEnabled=false",
    f"--js-flags=--max-old-space-size={_SCRIPT_MEMORY_MB}",
)


class Chromium:
    """A browser process and its proxies; `free` holds the proxies that serve no page."""

    def __init__(  # noqa: PLR0913 - what tests set
        self,
        executable: str,
        destinations: Destinations,
        *,
        pages: int,
        memory_bytes: int,
        traffic: TrafficBounds | None = None,
        own_network: bool = True,
    ) -> None:
        """Keep the parts; without a network of its own, only flags and proxy confine it."""
        self._executable, self._destinations, self._pages = executable, destinations, pages
        self._memory_bytes, self._traffic = memory_bytes, traffic or TrafficBounds()
        self._network = launcher.OWN_NETWORK if own_network else ""
        self._resources = AsyncExitStack()
        self.free: asyncio.Queue[FilteringProxy] = asyncio.Queue()
        self.peak_bytes, self._ended = 0, False

    async def start(self) -> Self:
        """Start the browser; raise Unavailable if it cannot be started or isolated."""
        executable = find_browser(self._executable)
        async with AsyncExitStack() as stack:
            await asyncio.to_thread(remove_leftovers)
            folder = stack.enter_context(browser_folder())
            control = stack.enter_context(socket.socket(socket.AF_UNIX))
            control.bind(str(folder / "control"))
            control.listen(1)
            control.settimeout(_START_TIMEOUT_S)
            await self._launch(stack, executable, folder, control)
            watch = asyncio.create_task(self._watch_memory())
            stack.callback(watch.cancel)
            self._resources = stack.pop_all()
        return self

    @property
    def browser(self) -> Browser:
        """The browser, by Playwright."""
        return self._browser

    @property
    def alive(self) -> bool:
        """Whether the browser still runs."""
        return self._browser.is_connected()

    async def close(self) -> None:
        """End the browser and all of its processes."""
        await self._resources.aclose()

    def kill(self) -> None:
        """End all processes of the browser at once."""
        if not self._ended:  # later, its process id may be that of another
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._pid, signal.SIGKILL)

    def _end_rest(self, _: Browser) -> None:
        """End what is left of a browser whose main process has ended."""
        self.kill()
        self._ended = True

    async def _launch(
        self,
        stack: AsyncExitStack,
        executable: str,
        folder: Path,
        control: socket.socket,
    ) -> None:
        from playwright.async_api import Error, async_playwright

        script = folder / "chromium"
        script.write_text(self._script(executable, folder), encoding="utf-8")
        script.chmod(0o755)
        playwright = await stack.enter_async_context(async_playwright())
        handed_over = asyncio.ensure_future(asyncio.to_thread(_receive, control, self._pages + 1))
        try:
            self._browser = await playwright.chromium.launch(
                executable_path=str(script),
                chromium_sandbox=True,
                args=list(_FLAGS),
                timeout=_START_TIMEOUT_S * 1000,
                handle_sigint=False,
                handle_sigterm=False,
                handle_sighup=False,
            )
        except Error as error:
            control.settimeout(0.1)
            reported = await asyncio.gather(handed_over, return_exceptions=True)
            reason = next((str(e) for e in reported if isinstance(e, Unavailable)), "")
            raise Unavailable(reason or f"Chromium does not start: {_reason(error)}") from error
        self._pid, listeners = await handed_over
        self._browser.on("disconnected", self._end_rest)
        stack.callback(self.kill)
        stack.push_async_callback(self._end)
        proxies = []
        for listener in listeners:
            proxy = FilteringProxy(listener, self._destinations, self._traffic)
            proxies.append(await proxy.start())
            stack.push_async_callback(proxy.close)
        for proxy in proxies[1:]:  # the first refuses what belongs to no page
            self.free.put_nowait(proxy)

    def _script(self, executable: str, folder: Path) -> str:
        command = [sys.executable, "-I", launcher.__file__]
        command += [str(folder / "control"), str(folder / "home"), self._network]
        command += [str(self._pages + 1), str(self._memory_bytes), executable]
        return f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n'

    async def _end(self) -> None:
        from playwright.async_api import Error

        with contextlib.suppress(Error, TimeoutError):
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await self._browser.close()

    async def _watch_memory(self) -> None:
        while self.alive:
            used = await asyncio.to_thread(session_bytes, self._pid)
            self.peak_bytes = max(self.peak_bytes, used)
            if used > self._memory_bytes:
                logger.warning(
                    "Chromium used {} MB, more than `renderer.memory_bytes`: killed", used // 10**6
                )
                self.kill()
            await asyncio.sleep(_MEMORY_INTERVAL_S)


def find_browser(executable: str) -> str:
    """Return the path of the browser; raise Unavailable if it, or Playwright, is missing."""
    if find_spec("playwright") is None:
        msg = "Playwright is not installed (pip install 'genserve[renderer]')"
        raise Unavailable(msg)
    found = shutil.which(executable)
    if found is None:
        msg = f"there is no browser `{executable}` (apt-get install chromium)"
        raise Unavailable(msg)
    return found


def _receive(control: socket.socket, listeners: int) -> tuple[int, list[socket.socket]]:
    """Return the browser's process id and listening sockets, as the launcher sends them."""
    try:
        connection, _ = control.accept()
    except OSError as error:
        msg = "Chromium does not start: its launcher did not answer"
        raise Unavailable(msg) from error
    with connection:
        message, descriptors, _, _ = socket.recv_fds(connection, 500, listeners)
    sockets = [socket.socket(fileno=each) for each in descriptors]
    if not message.isdigit() or len(sockets) != listeners:
        text = message.decode("utf-8", "replace").removeprefix("error ")
        msg = f"Chromium cannot be isolated and is not started: {text}"
        raise Unavailable(msg)
    return int(message), sockets


def _reason(error: Exception) -> str:
    """Return the first line of Playwright's message, which goes on with the browser's log."""
    return str(error).partition("\n")[0]
