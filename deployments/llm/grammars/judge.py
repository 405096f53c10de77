"""Verdicts on grammars: cached by digest, else reached in a process that can be killed."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import signal
import sys
import tempfile
from collections import OrderedDict, deque
from dataclasses import asdict
from pathlib import Path
from subprocess import PIPE, Popen
from typing import TYPE_CHECKING, Any, Protocol

from loguru import logger

from deployments.errors import InvalidRequest, Overloaded, Unavailable
from deployments.llm.grammars.bounds import Constraint, check_constraints, constraints_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

_PROGRAM = "deployments.llm.grammars.judge_process"
_ROOT = Path(__file__).parents[3]
_KEPT_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "PYTHONHOME", "LANG", "LC_ALL", "TMPDIR")
_VERDICTS = 2048
_WAITING = 32
_WAITING_OF_ONE = 4
_START_TIMEOUT_S = 120.0  # of loading xgrammar on a busy machine
_REPLY_TIMEOUT_S = 30.0


class Process(Protocol):
    """What compiles grammars elsewhere."""

    async def judge(self, constraints: Sequence[Constraint]) -> dict[str, Any]:
        """Return the reply of `judge_process`."""
        ...

    async def close(self) -> None:
        """End the process."""
        ...


class GrammarJudge:
    """Refuses the requests whose schemas or grammars vLLM could not compile quickly.

    What is over a bound is refused at once, what is surely cheap is let through at once; the rest
    is compiled in another process first, one request at a time, by turns of the callers.
    """

    def __init__(self, process: Process) -> None:
        self._process = process
        self._verdicts: OrderedDict[str, InvalidRequest | None] = OrderedDict()
        self._judging: dict[str, asyncio.Future[None]] = {}
        self._turns = _Turns()

    async def check(self, body: Mapping[str, Any]) -> bool:
        """Return whether the request has a constraint at all.

        Raises:
            InvalidRequest: a bound is exceeded, the constraint is not valid, or it takes too long.
            Overloaded: too many wait to be judged.
        """
        size = check_constraints(body)
        if not size.values:
            return False
        if not size.cheap:
            constraints = list(constraints_of(body))
            # Salts differ between callers: see `cache_salt`.
            await self._judged(constraints, str(body.get("cache_salt", "")))
        return True

    async def close(self) -> None:
        await self._process.close()

    async def _judged(self, constraints: list[Constraint], caller: str) -> None:
        text = json.dumps([(each.field, each.kind, each.spec) for each in constraints])
        digest = hashlib.sha256(text.encode()).hexdigest()
        while digest not in self._verdicts:
            if (judging := self._judging.get(digest)) is not None:
                # The same constraint is being judged: its outcome is this one's too.
                await asyncio.shield(judging)
                continue
            self._judging[digest] = done = asyncio.get_running_loop().create_future()
            try:
                async with self._turns.turn(caller):
                    self._keep(digest, await self._verdict(constraints))
            finally:
                del self._judging[digest]
                done.set_result(None)
        self._verdicts.move_to_end(digest)
        if (refusal := self._verdicts[digest]) is not None:
            raise InvalidRequest(refusal.message, code=refusal.code, param=refusal.param)

    async def _verdict(self, constraints: list[Constraint]) -> InvalidRequest | None:
        reply = await self._process.judge(constraints)
        if reply.get("late"):
            msg = "the machine is too busy to compile this schema; try again shortly"
            raise Overloaded(msg)
        if reply["verdict"] is None:
            return None
        field = reply["field"] or constraints[0].field
        message = f"{field}: {reply['verdict']}"
        return InvalidRequest(message, code="schema_too_complex", param=field)

    def _keep(self, digest: str, verdict: InvalidRequest | None) -> None:
        self._verdicts[digest] = verdict
        while len(self._verdicts) > _VERDICTS:
            self._verdicts.popitem(last=False)


class _Turns:
    """One place, given to waiting callers by turns."""

    def __init__(self) -> None:
        self._taken = False
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @contextlib.asynccontextmanager
    async def turn(self, caller: str) -> AsyncIterator[None]:
        if self._taken:
            await self._wait(caller)
        self._taken = True
        try:
            yield
        finally:
            self._taken = self._hand_over()

    async def _wait(self, caller: str) -> None:
        queue = self._waiting.setdefault(caller, deque())
        if len(queue) >= _WAITING_OF_ONE or sum(map(len, self._waiting.values())) >= _WAITING:
            msg = "too many new schemas are waiting to be checked; try again shortly"
            raise Overloaded(msg)
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self._taken = self._hand_over()
            raise

    def _hand_over(self) -> bool:
        """Give the place to the next caller in turn; return whether there was one."""
        while self._waiting:
            caller, queue = self._waiting.popitem(last=False)
            while queue:
                place = queue.popleft()
                if not place.done():
                    place.set_result(None)
                    if queue:
                        self._waiting[caller] = queue  # at the end: the others come first
                    return True
        return False


class JudgeProcess:
    """The running `judge_process`; started again when it died.

    `subprocess` rather than asyncio, for the reason given in `deployments.parser.sandbox`.
    """

    def __init__(self, vocabulary: str) -> None:
        """Start the program for a vocabulary, as xgrammar serializes it; do not wait for it."""
        with tempfile.NamedTemporaryFile(
            "w", prefix="genserve-vocabulary-", encoding="utf-8", delete=False
        ) as file:
            file.write(vocabulary)
        self._vocabulary_file = Path(file.name)
        self._process = self._started()
        self._ready = False

    async def judge(self, constraints: Sequence[Constraint]) -> dict[str, Any]:
        task = json.dumps({"constraints": [asdict(each) for each in constraints]})
        try:
            async with asyncio.timeout(_REPLY_TIMEOUT_S if self._ready else _START_TIMEOUT_S):
                reply = await asyncio.to_thread(self._exchange, task.encode() + b"\n")
            self._ready = True
        except (TimeoutError, OSError, ValueError):
            self._kill()
            logger.warning("the process that checks schemas stopped; it is started again")
            msg = "the schema could not be checked; try again shortly"
            raise Unavailable(msg) from None
        except BaseException:
            # The reply to this task must not be read as that of the next.
            self._kill()
            raise
        return reply

    async def close(self) -> None:
        self._kill()
        self._vocabulary_file.unlink(missing_ok=True)

    def _exchange(self, line: bytes) -> dict[str, Any]:
        if self._process.poll() is not None:
            self._process = self._started()
            self._ready = False
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None  # noqa: S101 - it was asked for
        assert stdout is not None  # noqa: S101 - as above
        if not self._ready:
            stdout.readline()
        stdin.write(line)
        stdin.flush()
        reply: dict[str, Any] = json.loads(stdout.readline())
        return reply

    def _started(self) -> Popen[bytes]:
        environment = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
        paths = [str(_ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
        return Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", _PROGRAM, str(self._vocabulary_file)],
            stdin=PIPE,
            stdout=PIPE,
            env=environment | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )

    def _kill(self) -> None:
        """Kill the program and the fork at work, which ends the thread that reads from it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._ready = False
