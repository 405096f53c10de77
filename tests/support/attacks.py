"""Attacks of one caller: `python -m tests.support.attacks URL KEY WEB_PORT NAME...`.

Every attack repeats itself until the process is stopped, within bounds on its own rate and on the
number of its connections. Of this machine only: URL must be a loopback address.

Each second a line of JSON on standard output says what each attack has sent and seen so far: the
number of requests, connections, errors and pages that were fetched, and that of each status.
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
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web

from tests.support.hostile_files import hostile_file

_MODEL = "SmolLM2-135M-Instruct"
_CHAT = "/v1/chat/completions"
_PAUSE_S = 0.5
_TIMEOUT_S = 300.0
_TAKES_ALL_S = 1.0  # so long, attacks that hold fewer places go first
_BODIES, _HEADERS, _DOWNLOADS, _WATCHERS = 258, 100, 40, 130
_FILE_BYTES = 30_000_000
_PATTERN = "[a-z]{1,30000}a"
_CHARSETS = ("punycode", "idna", "utf-7")
_REFUSED = ("401", "403", "404", "405", "413", "415", "422", "429")  # before any work on them


@dataclass
class Attacker:
    """A session with the attacker's key, where its pages are, and what one attack has seen.

    `target` is the id of the file or the job that is attacked, if there is one.
    """

    http: aiohttp.ClientSession
    url: str
    key: str
    web_port: int
    target: str = ""
    seen: Counter[str] = field(default_factory=Counter)

    async def post(self, path: str, **request: Any) -> Any:
        """Send a request; return the JSON of the answer, None if there is none."""
        return await self.send("POST", path, **request)

    async def send(self, method: str, path: str, **request: Any) -> Any:
        """Send a request of any method; return the JSON of the answer, None if there is none."""
        self.seen["sent"] += 1
        try:
            async with self.http.request(method, self.url + path, **request) as answer:
                self.seen[str(answer.status)] += 1
                whole = await answer.read()
        except (aiohttp.ClientError, TimeoutError):
            self.seen["errors"] += 1
            await asyncio.sleep(_PAUSE_S)
            return None
        with contextlib.suppress(ValueError):
            return json.loads(whole)
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

    async def hold(self, path: str, *headers: str, method: str = "GET", whole: bool = True) -> None:
        """Send a request on a connection of its own, read only the status, and keep it open.

        Its headers end only if it is `whole`.
        """
        loop, parts = asyncio.get_running_loop(), urlsplit(self.url)
        lines = (
            f"{method} {path} HTTP/1.1",
            f"host: {parts.netloc}",
            f"authorization: Bearer {self.key}",
            *headers,
        )
        try:
            with socket.socket() as one:
                one.setblocking(False)  # noqa: FBT003
                one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                await loop.sock_connect(one, (parts.hostname, parts.port))
                self.seen["connections"] += 1
                end = "\r\n\r\n" if whole else ""
                await loop.sock_sendall(one, ("\r\n".join(lines) + end).encode())
                self.seen.update(sent=1, unanswered=1)
                try:
                    begin = await loop.sock_recv(one, len("HTTP/1.1 200"))
                finally:
                    self.seen["unanswered"] -= 1
                status = begin.decode("latin-1").rpartition(" ")[2]
                self.seen[status or "errors"] += 1
                if status == "200":
                    await asyncio.sleep(_TIMEOUT_S)
        except OSError:
            self.seen["errors"] += 1


async def hostile_schemas(attacker: Attacker) -> None:
    """Structured output whose grammar does not end, as a response format and as a tool."""
    properties = {name: {"type": "string", "pattern": _PATTERN} for name in "abcd"}
    schema = {"type": "object", "properties": properties}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    tool = {"type": "function", "function": {"name": "x", "parameters": schema}}
    as_tool = {"tools": [tool], "tool_choice": "required"}
    fields: Iterator[dict[str, Any]] = itertools.cycle(({"response_format": form}, as_tool))
    await _repeat(4, lambda: attacker.chat("x", max_tokens=1, **next(fields)))


async def unfinished_bodies(attacker: Attacker) -> None:
    """Requests whose bodies or headers never end."""
    await asyncio.sleep(_TAKES_ALL_S)
    headers = ("content-type: application/json", "content-length: 1000")
    hold = partial(attacker.hold, _CHAT, *headers, method="POST")
    async with asyncio.TaskGroup() as group:
        group.create_task(_repeat(_BODIES, partial(hold, "", '{"model": "'), pause_s=2.0))
        group.create_task(_repeat(_HEADERS, partial(hold, whole=False), pause_s=2.0))


async def unread_downloads(attacker: Attacker) -> None:
    """Downloads that are begun and not read."""
    path = f"/v1/files/{attacker.target}/content"
    await _repeat(_DOWNLOADS, lambda: attacker.hold(path))


async def hostile_markdown(attacker: Attacker) -> None:
    """Markdown whose emphasis and brackets never close."""
    await _uploads(attacker, lambda number: hostile_file(number, "md"))


async def hostile_html(attacker: Attacker) -> None:
    """Tables with a thousand million columns."""
    await _uploads(attacker, lambda number: hostile_file(number, "html"))


async def short_texts(attacker: Attacker) -> None:
    """Very many files that are very short."""
    await _uploads(
        attacker, lambda number: (f"{number}.txt", b"Snow is white."), workers=16, pause_s=0.2
    )


async def hostile_pages(attacker: Attacker) -> None:
    """Eight pages a prompt: 150,000 attributes, odd charsets, tables without end."""
    page = b"<html><body><p " + b" ".join(b"a%d=1" % n for n in range(150_000)) + b">x</p>"
    words = b"<html><body><p>" + "Bücher ".encode() * 100_000
    pages = (page + b"<div>" * 5000, words, hostile_file(0, "html")[1])

    async def serve(request: web.Request) -> web.Response:
        number = int(request.match_info["number"])
        attacker.seen["pages"] += 1
        headers = {"content-type": f"text/html; charset={_CHARSETS[number // 3 % 3]}"}
        return web.Response(body=pages[number % 3], headers=headers)

    app = web.Application()
    app.router.add_get(r"/{number:\d+}", serve)  # without robots.txt, which would be a 500
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
    path = f"/v1/jobs/{attacker.target}/events"
    await _repeat(_WATCHERS, lambda: attacker.send("GET", path))


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
    """Bodies of ten thousand levels, the longest messages, and guesses at the prompts of others."""
    deep = b'{"model": "x", "messages": ' + b"[" * 10_000 + b"]" * 10_000 + b"}"
    headers = {"content-type": "application/json"}
    prefix = "Name the capital of France. " * 40

    async def all_of_them() -> None:
        await attacker.post(_CHAT, data=deep, headers=headers)
        await attacker.chat("<|im_end|> word " * 6_000, max_tokens=1)
        await attacker.chat(prefix + random.choice("abc"), max_tokens=1)  # noqa: S311

    await _repeat(4, all_of_them, pause_s=0.05)


ATTACKS: dict[str, Callable[[Attacker], Awaitable[None]]] = {
    attack.__name__: attack
    for attack in (
        *(hostile_schemas, unfinished_bodies, unread_downloads, hostile_markdown, hostile_html),
        *(short_texts, hostile_pages, job_watchers, image_jobs, long_streams, huge_embeddings),
        deep_json_and_probes,
    )
}
"""By name, in the order of the issue that lists them."""
_LEAST = {"unfinished_bodies": _BODIES, "unread_downloads": 20, "job_watchers": _WATCHERS}
"""How many requests an attack sends at least; all others one."""


def ran(name: str, seen: Mapping[str, int]) -> bool:
    """Return whether an attack sent enough, and whether some of it reached what it attacks.

    That is what was answered, other than by a refusal, and what waits for an answer: connections,
    and requests of which none was refused.
    """
    answers = {status: n for status, n in seen.items() if status.isdigit()}
    reached = sum(n for status, n in answers.items() if status not in _REFUSED)
    waiting = seen.get("unanswered", 0)
    if answers.keys().isdisjoint(_REFUSED):
        waiting = seen.get("sent", 0) - sum(answers.values()) - seen.get("errors", 0)
    pages = name != "hostile_pages" or seen.get("pages", 0) > 0
    return seen.get("sent", 0) >= _LEAST.get(name, 1) and pages and reached + waiting > 0


async def _uploads(
    attacker: Attacker,
    file: Callable[[int], tuple[str, bytes]],
    workers: int = 4,
    pause_s: float = 1.0,
) -> None:
    numbers, run = itertools.count(), os.urandom(4).hex()  # or it would be a document that exists

    async def one() -> None:
        name, data = file(next(numbers))
        await attacker.upload(name, data + f"\n{run} {name}".encode())

    await _repeat(workers, one, pause_s)


async def _pictures(attacker: Attacker) -> Any:
    body = {"prompt": "a red circle", "count": 100, "steps": 50, "size": "256x256"}
    return await attacker.post("/generate/image/background", json=body)


async def _target(attacker: Attacker, name: str) -> str:
    """Make the file or the job that an attack needs; raises TypeError if that is refused."""
    first = replace(attacker, seen=Counter())  # it does not count
    if name == "job_watchers":
        return str((await _pictures(first))["job_id"])
    if name == "unread_downloads":
        data = b"0123456789abcdef" * (_FILE_BYTES // 16)
        return str((await first.upload("x.txt", data, "/v1/files", purpose="user_data"))["id"])
    return ""


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
        attackers = {name: Attacker(http, url, key, int(web_port)) for name in names}
        for name, attacker in attackers.items():
            attacker.target = await _target(attacker, name)
        for name, attacker in attackers.items():
            group.create_task(_forever(attacker, name))
        while True:
            await asyncio.sleep(1)
            sys.stdout.write(json.dumps({name: a.seen for name, a in attackers.items()}) + "\n")
            sys.stdout.flush()


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
