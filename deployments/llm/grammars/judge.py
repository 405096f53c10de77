"""Verdicts on grammars: cached, or reached by compiling them in a process that can be killed."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import signal
import sys
from collections import OrderedDict
from dataclasses import asdict, replace
from subprocess import PIPE, Popen
from typing import TYPE_CHECKING, Any, Protocol

from loguru import logger

from deployments.child_processes import environment
from deployments.errors import InvalidRequest, Overloaded, Unavailable
from deployments.fair_places import FairPlaces
from deployments.llm.grammars.bounds import (
    Constraint,
    ConstraintSize,
    check_compiled,
    check_constraints_in_thread,
    constraints_of,
)
from deployments.memory_files import memory_file

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_PROGRAM = "deployments.llm.grammars.judge_process"
_VERDICTS = 2048
_WAITING = 32
_WAITING_OF_ONE = 4
_START_TIMEOUT_S = 120.0  # of loading xgrammar on a busy machine
_REPLY_TIMEOUT_S = 30.0


class Process(Protocol):
    """Compiles grammars in another process."""

    async def judge(self, constraints: Sequence[Constraint]) -> dict[str, Any]:
        """Return the reply of `judge_process`."""
        ...

    async def close(self) -> None:
        """End the process."""
        ...


class GrammarJudge:
    """Refuses the requests whose schemas or grammars vLLM could not compile quickly.

    A constraint over a bound is refused at once, and a cheap one is accepted at once. Any other is
    compiled in another process first: one request at a time, callers taking turns. A caller that
    disconnects does not stop that; the verdict is cached for the next request.
    """

    def __init__(
        self, process: Process, for_guidance: Callable[[Any], bool] = lambda _: False
    ) -> None:
        """Set the process, and which schemas vLLM has llguidance validate, not xgrammar."""
        self._process = process
        self._for_guidance = for_guidance
        self._verdicts: OrderedDict[str, InvalidRequest | None] = OrderedDict()
        self._judging: dict[str, asyncio.Task[None]] = {}
        self._places = FairPlaces(
            1,
            max_waiting=_WAITING,
            max_waiting_of_one=_WAITING_OF_ONE,
            what="new schemas to be checked",
        )

    async def check(self, body: Mapping[str, Any]) -> ConstraintSize:
        """Judge the response format, and bound the size of the tools; return the sizes.

        Raises:
            InvalidRequest: a bound is exceeded, the constraint is not valid, or it takes too long.
            Overloaded: too many requests wait for a verdict.
        """
        size = await check_constraints_in_thread(body)
        constraints = [] if size.cheap else await asyncio.to_thread(list, constraints_of(body))
        if constraints:
            # Salts differ between callers: see `cache_salt`.
            await self._judged(constraints, str(body.get("cache_salt", "")))
        return size

    async def check_tools(self, constraints: list[Constraint], caller: str) -> None:
        """Judge what vLLM compiles for tools; raises as `check`."""
        for constraint in constraints:
            await asyncio.to_thread(check_compiled, constraint)
        if constraints:
            await self._judged(constraints, caller)

    async def close(self) -> None:
        for task in self._judging.values():
            task.cancel()
        await self._process.close()

    async def _judged(self, constraints: list[Constraint], caller: str) -> None:
        constraints, digest = await asyncio.to_thread(self._prepared, constraints)
        while digest not in self._verdicts:
            other = self._judging.get(digest)
            judging = other or self._start(digest, constraints, caller)
            try:
                await asyncio.shield(judging)
            except Overloaded:
                if judging is not other:
                    raise  # otherwise another caller had too many waiting: judge it for this one
        self._verdicts.move_to_end(digest)
        if (refusal := self._verdicts[digest]) is not None:
            raise InvalidRequest(refusal.message, code=refusal.code, param=refusal.param)

    def _prepared(self, constraints: list[Constraint]) -> tuple[list[Constraint], str]:
        """Return what is to be judged, and its digest."""
        constraints = constraints + [
            replace(each, kind="guidance")
            for each in constraints
            if each.kind == "json" and self._for_guidance(json.loads(each.spec))
        ]
        text = json.dumps([(each.field, each.kind, each.spec) for each in constraints])
        return constraints, hashlib.sha256(text.encode()).hexdigest()

    def _start(self, digest: str, constraints: list[Constraint], caller: str) -> asyncio.Task[None]:
        async def judge() -> None:
            try:
                async with self._places.place(caller):
                    self._keep(digest, await self._verdict(constraints))
            finally:
                # Not in a callback: until that ran, callers that find the ended task would await it
                # over and over without suspending.
                self._judging.pop(digest, None)

        def ended(task: asyncio.Task[None]) -> None:
            if not task.cancelled():
                task.exception()  # retrieved here, since the caller may have disconnected

        self._judging[digest] = task = asyncio.create_task(judge())
        task.add_done_callback(ended)
        return task

    async def _verdict(self, constraints: list[Constraint]) -> InvalidRequest | None:
        reply = await self._process.judge(constraints)
        if reply.get("late"):
            msg = "the service is too busy to check this schema; try again shortly"
            raise Overloaded(msg)
        if reply["verdict"] is None:
            return None
        field = reply["field"] or constraints[0].field
        message = f"{field}: the schema or grammar was refused: {reply['verdict']}"
        return InvalidRequest(message, code="schema_too_complex", param=field)

    def _keep(self, digest: str, verdict: InvalidRequest | None) -> None:
        self._verdicts[digest] = verdict
        while len(self._verdicts) > _VERDICTS:
            self._verdicts.popitem(last=False)


class JudgeProcess:
    """Run `judge_process`, and restart it when it died. One call at a time.

    `subprocess` rather than asyncio, for the reason given in `deployments.parser.sandbox`.
    """

    def __init__(self, vocabulary: str) -> None:
        """Start the program for a vocabulary, as xgrammar serializes it; do not wait for it."""
        self._vocabulary_file = memory_file("vocabulary", vocabulary)
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
            logger.warning("the process that checks schemas stopped and is being restarted")
            msg = "the schema could not be checked; try again shortly"
            raise Unavailable(msg) from None
        except BaseException:
            # The reply to this task must not be read as that of the next.
            self._kill()
            raise
        return reply

    async def close(self) -> None:
        self._kill()

    def _exchange(self, line: bytes) -> dict[str, Any]:
        if self._process.poll() is not None:
            self._ended()
            self._process = self._started()
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
        return Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", _PROGRAM, self._vocabulary_file],
            stdin=PIPE,
            stdout=PIPE,
            env=environment("TMPDIR"),
            start_new_session=True,
        )

    def _kill(self) -> None:
        """Kill the program and the fork at work, which ends the thread that reads from it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._ended()

    def _ended(self) -> None:
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):  # what was not written
                    pipe.close()
        self._ready = False
