"""The client: a closed loop of OpenAI chat requests over HTTP, with the time of every event.

It shares the cores with the server it measures, so it parses no JSON: it looks for a few
bytes in each server-sent event.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import aiohttp

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping

T = TypeVar("T")
R = TypeVar("R")

OUTPUT_TOKENS = 64
_REQUEST_TIMEOUT_S = 120.0
_LOOP_TIMEOUT_S = 900.0
_OK = 200

# vLLM writes no space after a colon, the naive service may; a quote inside a text is escaped.
_TEXT = re.compile(rb'"content":\s?"(?!")')
_USAGE = re.compile(rb'"completion_tokens":\s?(\d+)')
_END = b"data: [DONE]"

_ASKS = (
    "Explain to a child",
    "Describe in plain words",
    "Give three facts about",
    "Write a short story about",
    "What would change without",
    "Tell the history of",
    "Name the uses of",
    "Compare two views of",
    "Write a letter about",
    "Argue in favour of",
    "List common mistakes about",
    "Write a riddle about",
    "Teach a beginner",
    "Summarise what is known of",
    "Imagine a museum of",
    "Plan a day around",
)
_TOPICS = (
    "rivers, bread, bicycles, volcanoes, the moon, bees, paper, harbours, clocks, rain, maps, "
    "bridges, salt, glass, whales, gardens, trains, music, deserts, coffee, lighthouses, stone, "
    "chess, wind, libraries, ice, markets, silk, mountains, letters, forests, tides"
).split(", ")


@dataclass(frozen=True)
class Target:
    """Where to ask, for which model, whether it streams, and how long all answers are."""

    url: str
    model: str
    streams: bool = True
    tokens: int = OUTPUT_TOKENS

    def body(self, prompt: str) -> dict[str, object]:
        """Greedy, and always of the same length: the same work whoever does it."""
        body: dict[str, object] = {
            "model": self.model,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": 0,
            "max_tokens": self.tokens,
            "ignore_eos": True,
            "stream": self.streams,
        }
        if self.streams:
            body["stream_options"] = {"include_usage": True}
        return body


@dataclass(frozen=True)
class Answer:
    """What one request took; `token_times_s` count from its start, one for each text event."""

    whole_s: float = 0.0
    token_times_s: tuple[float, ...] = ()
    tokens: int = 0
    error: str | None = None

    @property
    def first_s(self) -> float:
        """Time to the first text."""
        return self.token_times_s[0]

    @property
    def gaps_s(self) -> list[float]:
        """Between an event with text and the next one."""
        return [later - earlier for earlier, later in itertools.pairwise(self.token_times_s)]


@dataclass
class EventTimes:
    """Reads a stream of server-sent events as it arrives, in pieces of any size."""

    token_times: list[float] = field(default_factory=list)
    tokens: int = 0
    ended: bool = False
    _rest: bytes = b""

    def feed(self, data: bytes, now: float) -> None:
        """Take the next bytes, read at the time `now`."""
        *events, self._rest = (self._rest + data).split(b"\n\n")
        for event in events:
            if _TEXT.search(event):
                self.token_times.append(now)
            elif usage := _USAGE.search(event):
                self.tokens = int(usage[1])
            elif event == _END:
                self.ended = True


@dataclass(frozen=True)
class Run:
    """All answers of one closed loop, and the time from its start to its end."""

    answers: list[Answer]
    seconds: float

    @property
    def errors(self) -> list[str]:
        """What went wrong, one entry for each failed request."""
        return [answer.error for answer in self.answers if answer.error is not None]


async def each(work: Callable[[T], Awaitable[R]], items: Iterable[T], callers: int) -> list[R]:
    """Do the work for each item, by so many callers at once; keep the order."""
    limit = asyncio.Semaphore(callers)

    async def one(item: T) -> R:
        async with limit:
            return await work(item)

    return await asyncio.gather(*map(one, items))


def questions() -> Iterator[str]:
    """Short prompts, the same ones at every call; they repeat after 512."""
    return itertools.cycle(f"{ask} {topic}." for topic in _TOPICS for ask in _ASKS)


def connections(clients: int, headers: Mapping[str, str] | None = None) -> aiohttp.ClientSession:
    """Make one kept connection for each client."""
    return aiohttp.ClientSession(
        headers=headers,
        connector=aiohttp.TCPConnector(limit=clients, keepalive_timeout=60),
        timeout=aiohttp.ClientTimeout(total=_REQUEST_TIMEOUT_S),
    )


async def closed_loop(
    session: aiohttp.ClientSession,
    target: Target,
    prompts: Iterable[str],
    clients: int,
    apart_s: float = 0.0,
) -> Run:
    """Ask every prompt once; each client asks its next one when its answer is whole.

    It waits for a random time of up to `apart_s` seconds before each. Raises TimeoutError if all
    of it takes over a quarter of an hour.
    """
    waiting = iter(list(prompts))
    answers: list[Answer] = []

    async def client() -> None:
        for prompt in waiting:  # shared by all clients: each takes the next
            if apart_s:
                await asyncio.sleep(random.uniform(0, apart_s))  # noqa: S311 - not for secrets
            answers.append(await ask(session, target, prompt))

    began = time.perf_counter()
    async with asyncio.timeout(_LOOP_TIMEOUT_S), asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(client())
    return Run(answers, time.perf_counter() - began)


async def ask(session: aiohttp.ClientSession, target: Target, prompt: str) -> Answer:
    """Ask once; what goes wrong is in the answer."""
    began = time.perf_counter()
    events = EventTimes()
    try:
        async with session.post(target.url, json=target.body(prompt)) as response:
            if response.status != _OK:
                return Answer(error=f"status {response.status}")
            if target.streams:
                async for data in response.content.iter_any():
                    events.feed(data, time.perf_counter())
            else:
                usage = _USAGE.search(await response.read())
                tokens = int(usage[1]) if usage else 0
                events = EventTimes([time.perf_counter()], tokens, ended=True)
    except (aiohttp.ClientError, TimeoutError) as error:
        return Answer(error=type(error).__name__)
    ended = time.perf_counter()
    if not events.ended or not events.token_times or events.tokens != target.tokens:
        return Answer(error=f"broke off, or was not {target.tokens} tokens long")
    times = tuple(at - began for at in events.token_times)
    return Answer(ended - began, times, events.tokens)
