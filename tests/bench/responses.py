"""`python -m tests.bench.responses`: stored responses over two ingress replicas that are killed.

Clients of several keys continue chains and conversations, some of it in the background, while
replicas are killed. Afterwards every acknowledged turn is looked for by its own key and by another.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import random
import secrets
import sqlite3
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx

from tests.bench import command
from tests.bench.fast_engine import configuration, make_model
from tests.bench.report import Check, Section, checks_table, say
from tests.support.faults import Node
from tests.support.systems import CPU, Configuration, ours

_TURNS, _QUICK_TURNS = 1000, 80
_KEYS, _CLIENTS_PER_KEY = 4, 2
_TURNS_PER_THREAD = (4, 12)
_BACKGROUND_SHARE, _CONVERSATION_SHARE, _STREAM_SHARE = 0.15, 0.5, 0.4
_TOKENS = 12
_KILLS, _QUICK_KILLS = 8, 2
_VICTIMS = ("Ingress", "Ingress", "Jobs")
_PAUSE_S = (1.0, 4.0)
_KILLING_S = 180.0  # after which nothing is killed any more
_TURN_S, _POLL_S, _RETRY_S = 180.0, 0.3, 0.5
_SEED = 19
_ENDS = {"response.completed", "response.incomplete", "response.failed"}


@dataclass
class Turn:
    """An acknowledged turn; `word` is in its input, and in nothing else."""

    key: int
    word: str
    id: str
    output: str
    previous: str | None = None
    conversation: str | None = None
    background: bool = False


@dataclass
class Ledger:
    """What was acknowledged, by all clients."""

    wanted: int
    turns: list[Turn] = field(default_factory=list)
    repeated: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def is_full(self) -> bool:
        return len(self.turns) >= self.wanted

    def add(self, turn: Turn) -> None:
        with self.lock:
            self.turns.append(turn)


class Client:
    """Continues one chain or conversation after the other, with one key."""

    def __init__(self, url: str, key: int, secret: str, ledger: Ledger, seed: int) -> None:
        self._http = httpx.Client(
            base_url=url,
            headers={"authorization": f"Bearer {secret}"},
            timeout=_TURN_S,
            trust_env=False,
        )
        self._key = key
        self._ledger = ledger
        self._draw = random.Random(seed)  # noqa: S311

    def run(self) -> None:
        while not self._ledger.is_full:
            conversation = None
            if self._draw.random() < _CONVERSATION_SHARE:
                conversation = self._sent("POST", "/v1/conversations", {})["id"]
            previous: Turn | None = None
            for _ in range(self._draw.randint(*_TURNS_PER_THREAD)):
                if self._ledger.is_full:
                    return
                if (turn := self._turn(conversation, previous)) is None:
                    break
                self._ledger.add(turn)
                previous = turn

    def _turn(self, conversation: str | None, previous: Turn | None) -> Turn | None:
        word = f"zebra{secrets.token_hex(8)}"
        background = self._draw.random() < _BACKGROUND_SHARE
        body: dict[str, Any] = {
            "model": "fast",
            "input": word,
            "max_output_tokens": _TOKENS,
            "background": background,
            "truncation": "auto",
        }
        if conversation is not None:
            body["conversation"] = conversation
        elif previous is not None:
            body["previous_response_id"] = previous.id
        key = {"Idempotency-Key": word} if background else {}
        if not background and self._draw.random() < _STREAM_SHARE:
            response = self._streamed(body)
        else:
            response = self._sent("POST", "/v1/responses", body, key)
        end = time.monotonic() + _TURN_S
        while response["status"] in {"queued", "in_progress"}:
            if time.monotonic() > end:
                break
            time.sleep(_POLL_S)
            response = self._sent("GET", f"/v1/responses/{response['id']}")
        if response["status"] not in {"completed", "incomplete"}:
            error = (response.get("error") or {}).get("message")
            self._ledger.failures[f"{response['status']}: {error}"] += 1
            return None
        earlier = previous.id if previous and conversation is None else None
        return Turn(
            *(self._key, word, response["id"], text_of(response)),
            *(earlier, conversation, background),
        )

    def _sent(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> Any:
        """Send a request until it is answered; one whose answer is lost may have been done."""
        while True:
            with contextlib.suppress(httpx.TransportError):
                answer = self._http.request(method, path, json=body, headers=headers)
                if self._is_answer(answer):
                    return answer.json()
            self._repeat()

    def _streamed(self, body: dict[str, Any]) -> Any:
        while True:
            with (
                contextlib.suppress(httpx.TransportError),
                self._http.stream("POST", "/v1/responses", json=body | {"stream": True}) as answer,
            ):
                if self._is_answer(answer):
                    for line in answer.iter_lines():
                        if not line.startswith("data: "):
                            continue
                        event = json.loads(line.removeprefix("data: "))
                        if event["type"] in _ENDS:
                            return event["response"]
            self._repeat()

    def _is_answer(self, answer: httpx.Response) -> bool:
        """Return whether a request succeeded; raise RuntimeError if it never will."""
        if answer.is_success or answer.status_code in {429, 500, 502, 503, 504}:
            return answer.is_success
        text = answer.read().decode()[:120]
        with self._ledger.lock:
            self._ledger.failures[f"{answer.status_code}: {text}"] += 1
        msg = f"{answer.request.url}: {answer.status_code}"
        raise RuntimeError(msg)

    def _repeat(self) -> None:
        with self._ledger.lock:
            self._ledger.repeated += 1
        time.sleep(_RETRY_S)


def text_of(response: dict[str, Any]) -> str:
    """Return the text of the output of a response."""
    parts = [part for item in response["output"] for part in item.get("content", ())]
    return "".join(part.get("text", "") for part in parts)


def main() -> int:
    """Run the bench; return its exit status."""
    options = command.parser("tests.bench.responses", __doc__)
    options.add_argument("--turns", type=int, default=_TURNS)
    options.add_argument("--kills", type=int, default=_KILLS)
    return command.run(options, measure, errors=(RuntimeError,))


def measure(options: argparse.Namespace) -> Iterator[Section]:
    """Continue chains and conversations under kills, and audit them."""
    turns = _QUICK_TURNS if options.quick else options.turns
    kills = _QUICK_KILLS if options.quick else options.kills
    with tempfile.TemporaryDirectory(prefix="genserve-responses-") as text:
        folder = Path(text)
        secrets_of = [secrets.token_hex(16) for _ in range(_KEYS)]
        node = Node(_command(folder, secrets_of), folder)
        say("==> starting the service, with two replicas of the ingress")
        node.start()
        try:
            ledger = Ledger(turns)
            seconds = _under_kills(node, ledger, secrets_of, kills)
            say(f"==> looking for {len(ledger.turns)} turns")
            found = _audit(node.url, ledger, secrets_of)
        finally:
            node.stop()
        found |= _rows_left(folder, found.pop("deleted"))
    yield _section(ledger, node.kills, kills, seconds, found)


def _command(folder: Path, secrets_of: Sequence[str]) -> Any:
    default = Configuration.read(CPU)
    make_model(folder / "model", default.model)
    prepared = configuration(default, folder / "model", 32)
    document = copy.deepcopy(dict(prepared.document))
    for deployment in document["applications"][0]["deployments"]:
        if deployment["name"] == "Ingress":
            deployment["num_replicas"] = 2
    system = ours(replace(prepared, document=document), folder / "service")
    keys = ",".join(f"key{number}:{secret}" for number, secret in enumerate(secrets_of))
    return replace(system.command, env={**system.command.env, "GENSERVE_API_KEYS": keys})


def _under_kills(node: Node, ledger: Ledger, secrets_of: Sequence[str], kills: int) -> float:
    began, draw = time.monotonic(), random.Random(_SEED)  # noqa: S311
    threads = [
        threading.Thread(
            target=Client(
                node.url, number, secret, ledger, _SEED + number * _CLIENTS_PER_KEY + place
            ).run,
            daemon=True,
        )
        for number, secret in enumerate(secrets_of)
        for place in range(_CLIENTS_PER_KEY)
    ]
    for thread in threads:
        thread.start()
    for number in range(kills):
        time.sleep(draw.uniform(*_PAUSE_S))
        if ledger.is_full or time.monotonic() > began + _KILLING_S:
            break
        kill = node.strike(_VICTIMS[number % len(_VICTIMS)], draw)
        say(f"    {number + 1:3}. {kill.victim}; {len(ledger.turns)} turns acknowledged")
    for thread in threads:
        thread.join()
    return time.monotonic() - began


def _audit(url: str, ledger: Ledger, secrets_of: Sequence[str]) -> dict[str, Any]:
    """Look for every turn by its own key and by another, then delete half of them."""
    found: Counter[str] = Counter()
    https = [
        httpx.Client(
            base_url=url, headers={"authorization": f"Bearer {secret}"}, timeout=60, trust_env=False
        )
        for secret in secrets_of
    ]
    words = {turn.word: turn.key for turn in ledger.turns}
    conversations: dict[str, list[Turn]] = defaultdict(list)
    for turn in ledger.turns:
        own, other = https[turn.key], https[(turn.key + 1) % len(https)]
        kept = own.get(f"/v1/responses/{turn.id}")
        found["lost"] += not (kept.is_success and text_of(kept.json()) == turn.output)
        items = own.get(f"/v1/responses/{turn.id}/input_items")
        found["input lost"] += turn.word not in items.text
        if turn.previous:
            found["chain broken"] += kept.json().get("previous_response_id") != turn.previous
        for path in ("", "/input_items", "?stream=true"):
            theirs = other.get(f"/v1/responses/{turn.id}{path}")
            found["seen by another key"] += theirs.status_code != httpx.codes.NOT_FOUND
        if turn.conversation:
            conversations[turn.conversation].append(turn)
    for conversation, turns in conversations.items():
        own, other = https[turns[0].key], https[(turns[0].key + 1) % len(https)]
        theirs = other.get(f"/v1/conversations/{conversation}/items")
        found["seen by another key"] += theirs.status_code != httpx.codes.NOT_FOUND
        text = _all_items(own, conversation)
        places = [text.find(turn.word) for turn in turns]
        found["lost from a conversation"] += sum(place < 0 for place in places)
        found["out of order"] += places != sorted(places)
        strangers = [word for word, key in words.items() if key != turns[0].key and word in text]
        found["seen by another key"] += len(strangers)
    deleted = [turn for number, turn in enumerate(ledger.turns) if number % 2]
    gone = list(conversations)[::2]
    for turn in deleted:
        own = https[turn.key]
        found["not deleted"] += not own.delete(f"/v1/responses/{turn.id}").is_success
        again = own.get(f"/v1/responses/{turn.id}")
        found["not deleted"] += again.status_code != httpx.codes.NOT_FOUND
    for conversation in gone:
        own = https[conversations[conversation][0].key]
        found["not deleted"] += not own.delete(f"/v1/conversations/{conversation}").is_success
        again = own.get(f"/v1/conversations/{conversation}/items")
        found["not deleted"] += again.status_code != httpx.codes.NOT_FOUND
    of_gone = [turn.word for turn in deleted if turn.conversation in {None, *gone}]
    return {
        **found,
        "conversations": len(conversations),
        "deleted": ([t.id for t in deleted], of_gone),
    }


def _all_items(http: httpx.Client, conversation: str) -> str:
    text = ""
    params: dict[str, str | int] = {"order": "asc", "limit": 100}
    while True:
        answer = http.get(
            f"/v1/conversations/{conversation}/items",
            params=params,
        ).raise_for_status()
        text += answer.text
        if not answer.json()["has_more"]:
            return text
        params["after"] = answer.json()["last_id"]


def _rows_left(folder: Path, deleted: tuple[Sequence[str], Sequence[str]]) -> dict[str, int]:
    """Count the rows of what was deleted that the database still has."""
    ids, words = deleted
    (path,) = (folder / "service" / "data").glob("jobs.sqlite")
    with contextlib.closing(sqlite3.connect(path)) as database:
        kept = {
            row[0]
            for row in database.execute(
                "SELECT id FROM genserve_responses"
                " UNION SELECT response_id FROM genserve_response_events"
            )
        }
        rows = database.execute(
            "SELECT input FROM genserve_responses UNION ALL SELECT request FROM genserve_responses"
            " UNION ALL SELECT item FROM genserve_conversation_items"
            " UNION ALL SELECT inputs FROM workflow_status"
        )
        text = "\n".join(str(row[0]) for row in rows)
    left = len(kept.intersection(ids))
    return {"rows of what was deleted": left + sum(word in text for word in words)}


def _section(
    ledger: Ledger, kills: int, wanted_kills: int, seconds: float, found: dict[str, Any]
) -> Section:
    wrong = (
        "lost",
        "input lost",
        "chain broken",
        "lost from a conversation",
        "out of order",
        "seen by another key",
        "not deleted",
        "rows of what was deleted",
    )
    checks = [Check.equal(name, found.get(name, 0)) for name in wrong]
    checks.append(Check.at_least("turns", len(ledger.turns), ledger.wanted))
    checks.append(Check.at_least("kills", kills, min(wanted_kills, 4)))
    count, background = len(ledger.turns), sum(turn.background for turn in ledger.turns)
    failed = "; ".join(f"{count} x {text}" for text, count in ledger.failures.items()) or "none"
    body = f"""\
## Stored responses under SIGKILL

`make bench-responses`: {count} acknowledged turns of {_KEYS} keys in {seconds:.0f} s, in
chains and in {found["conversations"]} conversations, {background} of them in the background, over
two replicas of the ingress with {kills} kills of ingress and Jobs replicas. Afterwards every turn
was asked for by its own key and by another one, and half of them were deleted.

{checks_table(checks)}

Requests repeated because something was down: {ledger.repeated}. Responses that failed and said so:
{failed}."""
    raw = {
        "turns": len(ledger.turns),
        "background": background,
        "kills": kills,
        "seconds": round(seconds),
        "repeated": ledger.repeated,
        "failed": dict(ledger.failures),
        "wrong": {name: found.get(name, 0) for name in wrong},
    }
    return Section("responses", body, checks, raw)


if __name__ == "__main__":
    sys.exit(main())
