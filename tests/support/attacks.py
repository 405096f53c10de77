"""Attacks of one caller: `python -m tests.support.attacks URL KEY WEB_PORT NAME...`.

Every attack repeats itself until the process is stopped, within bounds on its own rate and on the
number of its connections. Of this machine only: URL must be a loopback address.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import random
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web

_MODEL = "SmolLM2-135M-Instruct"
_CHAT = "/v1/chat/completions"
_PAUSE_S = 0.5
_TIMEOUT_S = 300.0
_BODIES, _HEADERS, _DOWNLOADS, _WATCHERS = 258, 100, 40, 130
_FILE_BYTES = 30_000_000
_PATTERN = "[a-z]{1,30000}a"


@dataclass
class Attacker:
    """A session with the attacker's key, and where its pages are."""

    http: aiohttp.ClientSession
    url: str
    key: str
    web_port: int

    async def post(self, path: str, **request: Any) -> Any:
        """Send a request; return the JSON of the answer, None if there is none."""
        with contextlib.suppress(aiohttp.ClientError, TimeoutError, ValueError):
            async with self.http.post(self.url + path, **request) as answer:
                return await answer.json(content_type=None)
        await asyncio.sleep(_PAUSE_S)
        return None

    async def chat(self, content: str, **fields: Any) -> Any:
        """Ask the bare model."""
        messages = [{"role": "user", "content": content}]
        return await self.post(_CHAT, json={"model": _MODEL, "messages": messages} | fields)

    async def upload(self, name: str, data: bytes, path: str = "/upload", **fields: str) -> Any:
        """Upload a file."""
        form = aiohttp.FormData(fields)
        form.add_field("file", data, filename=name)
        return await self.post(path, data=form)

    @contextlib.asynccontextmanager
    async def connection(
        self, path: str, *headers: str, method: str = "GET", whole: bool = True
    ) -> AsyncIterator[tuple[socket.socket, asyncio.AbstractEventLoop]]:
        """Open a connection that receives little, and send its headers, to their end if `whole`."""
        loop, parts = asyncio.get_running_loop(), urlsplit(self.url)
        lines = (
            f"{method} {path} HTTP/1.1",
            f"host: {parts.netloc}",
            f"authorization: Bearer {self.key}",
            *headers,
        )
        with socket.socket() as one:
            one.setblocking(False)  # noqa: FBT003
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            await loop.sock_connect(one, (parts.hostname, parts.port))
            end = "\r\n\r\n" if whole else ""
            await loop.sock_sendall(one, ("\r\n".join(lines) + end).encode())
            yield one, loop


async def hostile_schemas(attacker: Attacker) -> None:
    """Structured output whose grammar does not end."""
    properties = {name: {"type": "string", "pattern": _PATTERN} for name in "abcd"}
    schema = {"type": "object", "properties": properties}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    await _repeat(4, lambda: attacker.chat("x", response_format=form, max_tokens=1))


async def unfinished_bodies(attacker: Attacker) -> None:
    """Requests whose bodies or headers never end."""
    headers = ("content-type: application/json", "content-length: 1000")

    async def one(*begun: str, whole: bool) -> None:
        connection = attacker.connection(_CHAT, *headers, *begun, method="POST", whole=whole)
        with contextlib.suppress(OSError):
            async with connection as (sent, loop):
                await loop.sock_recv(sent, 4096)

    async with asyncio.TaskGroup() as group:
        body = partial(one, "", '{"model": "', whole=True)
        group.create_task(_repeat(_BODIES, body, pause_s=2.0))
        group.create_task(_repeat(_HEADERS, partial(one, whole=False), pause_s=2.0))


async def unread_downloads(attacker: Attacker) -> None:
    """Downloads that are begun and not read."""
    file = await attacker.upload("x.txt", os.urandom(_FILE_BYTES), "/v1/files", purpose="user_data")

    async def one() -> None:
        with contextlib.suppress(OSError):
            async with attacker.connection(f"/v1/files/{file['id']}/content"):
                await asyncio.sleep(_TIMEOUT_S)

    await _repeat(_DOWNLOADS, one)


async def hostile_markdown(attacker: Attacker) -> None:
    """Markdown whose emphasis and brackets never close."""
    texts = itertools.cycle((b"*a **b " * 150_000, b"[" * 1_000_000))
    await _uploads(attacker, "md", texts)


async def hostile_html(attacker: Attacker) -> None:
    """Tables with a thousand million columns."""
    cell = b"<table><tr><td colspan=1000000000 rowspan=1000000000>x</td></tr></table>"
    await _uploads(attacker, "html", itertools.repeat(b"<html><body>" + cell * 50))


async def short_texts(attacker: Attacker) -> None:
    """Very many files that are very short."""
    await _uploads(attacker, "txt", itertools.repeat(b"Snow is white."), workers=16, pause_s=0.0)


async def hostile_pages(attacker: Attacker) -> None:
    """Eight pages a prompt that are hard to read."""
    page = b"<html><body><p " + b" ".join(b"a%d=1" % n for n in range(150_000)) + b">x</p>"

    async def serve(_: web.Request) -> web.Response:
        headers = {"content-type": "text/html; charset=utf-7"}
        return web.Response(body=page + b"<div>" * 5000, headers=headers)

    app = web.Application()
    app.router.add_get("/{number}", serve)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", attacker.web_port).start()
    base = f"http://127.0.0.1:{attacker.web_port}"
    numbers = itertools.count()

    async def ask() -> None:
        urls = " ".join(f"{base}/{next(numbers)}" for _ in range(8))
        body = {"prompt": f"Summarise {urls}", "max_tokens": 1}
        await attacker.post("/generate/text", json=body)

    await _repeat(4, ask)


async def job_watchers(attacker: Attacker) -> None:
    """Streams that follow one job."""
    job = (await _pictures(attacker))["job_id"]

    async def watch() -> None:
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with attacker.http.get(f"{attacker.url}/v1/jobs/{job}/events") as answer:
                await answer.read()

    await _repeat(_WATCHERS, watch)


async def image_jobs(attacker: Attacker) -> None:
    """Jobs of a hundred pictures, in the background and waited for."""

    async def wait() -> None:
        await attacker.post("/v1/images/generations", json={"prompt": "a red circle", "n": 10})

    async with asyncio.TaskGroup() as group:
        group.create_task(_repeat(2, lambda: _pictures(attacker)))
        group.create_task(_repeat(32, wait))


async def long_streams(attacker: Attacker) -> None:
    """Answers of two thousand tokens, and questions that fill the window."""
    numbers = itertools.count()

    async def ask() -> None:
        number = next(numbers)
        long = {"max_tokens": 2048, "ignore_eos": True, "stream": True}
        if number % 4:
            await attacker.chat(f"{number} Tell me everything.", **long)
        else:
            await attacker.chat(f"{number} " + "word " * 3500, max_tokens=1)

    await _repeat(80, ask)


async def huge_embeddings(attacker: Attacker) -> None:
    """A megabyte of text to embed, over and over."""
    draw = random.Random(1)  # noqa: S311
    words = ["snow", "whale", "river", "granite", "lamp", "harbour"]
    texts = [" ".join(draw.choices(words, k=180)) for _ in range(800)]
    body = {"model": "all-MiniLM-L6-v2", "input": texts}
    await _repeat(8, lambda: attacker.post("/v1/embeddings", json=body))


async def deep_json_and_probes(attacker: Attacker) -> None:
    """Bodies of ten thousand levels, and guesses at what others have asked."""
    deep = b'{"model": "x", "messages": ' + b"[" * 10_000 + b"]" * 10_000 + b"}"
    headers = {"content-type": "application/json"}
    prefix = "Name the capital of France. " * 40

    async def both() -> None:
        await attacker.post(_CHAT, data=deep, headers=headers)
        await attacker.chat(prefix + random.choice("abc"), max_tokens=1)  # noqa: S311

    await _repeat(4, both, pause_s=0.05)


ATTACKS: dict[str, Callable[[Attacker], Awaitable[None]]] = {
    attack.__name__: attack
    for attack in (
        *(hostile_schemas, unfinished_bodies, unread_downloads, hostile_markdown, hostile_html),
        *(short_texts, hostile_pages, job_watchers, image_jobs, long_streams, huge_embeddings),
        deep_json_and_probes,
    )
}
"""By name, in the order of the issue that lists them."""


async def _uploads(
    attacker: Attacker,
    suffix: str,
    contents: Iterator[bytes],
    workers: int = 4,
    pause_s: float = 1.0,
) -> None:
    numbers = itertools.count()
    run = os.urandom(4).hex()  # or it would be a document that exists

    async def one() -> None:
        number = next(numbers)
        await attacker.upload(
            f"{number}.{suffix}", b"%d %s\n\n" % (number, run.encode()) + next(contents)
        )

    await _repeat(workers, one, pause_s)


async def _pictures(attacker: Attacker) -> Any:
    body = {"prompt": "a red circle", "count": 100, "steps": 50, "size": "256x256"}
    return await attacker.post("/generate/image/background", json=body)


async def _repeat(
    workers: int, work: Callable[[], Awaitable[Any]], pause_s: float = _PAUSE_S
) -> None:
    async def worker() -> None:
        while True:
            await work()
            await asyncio.sleep(pause_s)

    async with asyncio.TaskGroup() as group:
        for _ in range(workers):
            group.create_task(worker())


async def _main(url: str, key: str, web_port: str, *names: str) -> None:
    if urlsplit(url).hostname != "127.0.0.1":
        sys.exit("only a service on 127.0.0.1 is attacked")
    headers = {"authorization": f"Bearer {key}"}
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    connector = aiohttp.TCPConnector(limit=0)
    async with (
        aiohttp.ClientSession(headers=headers, timeout=timeout, connector=connector) as http,
        asyncio.TaskGroup() as group,
    ):
        attacker = Attacker(http, url, key, int(web_port))
        for name in names:
            group.create_task(_forever(attacker, name))


async def _forever(attacker: Attacker, name: str) -> None:
    while True:
        try:
            await ATTACKS[name](attacker)
        except Exception as error:  # noqa: BLE001 - refused just now, it tries again
            sys.stderr.write(f"{name}: {json.dumps(repr(error))}\n")
            await asyncio.sleep(_PAUSE_S)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_main(*sys.argv[1:]))
