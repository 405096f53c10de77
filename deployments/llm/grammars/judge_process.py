"""Program that compiles the grammars of requests, each in a fork of its own that is killed.

It reads one JSON line per task on standard input and writes one JSON line per reply on standard
output. The parent process loads xgrammar and the vocabulary once; a fork takes milliseconds.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

MAX_VALIDATION_S = 0.05
MAX_COMPILE_CPU_S = 2.0
MAX_GUIDANCE_S = 0.1
MAX_STEP_S = 0.05

# Processor time measured on a busy machine is up to a quarter more than on an idle one.
_NOISE = 1.25
_MEMORY_BYTES = 1024**3
_WALL_S = 20.0
_STEPS = 256
_WALK_CPU_S = 0.5
_ENDINGS = ('"', "}", "]", ",")  # of a JSON value
_ADVICE = "use fewer or simpler properties, patterns and repetitions"
_TOO_SLOW = f"it takes more than {MAX_COMPILE_CPU_S:g} s of processor time to compile; {_ADVICE}"
_NICE = 5  # below requests, above background work


def main() -> int:
    """Serve tasks until standard input ends; the first reply says that the program is ready."""
    replies = os.fdopen(os.dup(1), "w")
    # xgrammar prints warnings that quote the schema.
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    import llguidance  # noqa: F401 - for the forks
    import xgrammar

    with open(sys.argv[1], encoding="utf-8") as file:  # noqa: PTH123 - one line
        vocabulary = xgrammar.TokenizerInfo.deserialize_json(file.read())
    os.nice(_NICE)
    print(json.dumps({"ready": True}), file=replies, flush=True)
    for line in sys.stdin:
        reply = _judged_in_fork(json.loads(line)["constraints"], vocabulary)
        print(json.dumps(reply), file=replies, flush=True)
    return 0


def _judged_in_fork(constraints: list[dict[str, str]], vocabulary: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return {"verdict": None or a reason, ...}, or {"late": True} if there is no verdict now."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reading)
            _confine()
            os.write(writing, json.dumps(_judge(constraints, vocabulary)).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    reply, late = _read(reading)
    if late:
        os.kill(child, signal.SIGKILL)
    os.close(reading)
    _, status = os.waitpid(child, 0)
    if late or (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL):
        return {"late": True}  # killed by this process, or by the kernel for lack of memory
    if reply and status == 0:
        found: dict[str, Any] = json.loads(reply)
        return found
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU:
        return {"verdict": _TOO_SLOW, "field": None}
    # A crash of the library, such as one for lack of memory.
    return {"verdict": f"it is too complex to compile; {_ADVICE}", "field": None}


def _read(pipe: int) -> tuple[bytes, bool]:
    """Read to the end; return what came and whether the time was up before."""
    deadline = time.monotonic() + _WALL_S
    parts: list[bytes] = []
    while select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
        part = os.read(pipe, 65536)
        if not part:
            return b"".join(parts), False
        parts.append(part)
    return b"", True


class _Refused(Exception):
    """The constraint must not reach vLLM, for the reason that is the message."""


def _judge(constraints: list[dict[str, str]], vocabulary: Any) -> dict[str, Any]:  # noqa: ANN401
    """Validate and compile as vLLM would, and take the first steps of a generation."""
    import xgrammar

    costs = _Costs()
    # With a cache, as vLLM has one: some patterns fail to compile only then.
    compiler = xgrammar.GrammarCompiler(vocabulary, max_threads=1, cache_enabled=True)
    for constraint in constraints:
        try:
            _judge_one(constraint["kind"], constraint["spec"], compiler, vocabulary, costs)
        except _Refused as error:
            return {"verdict": str(error), "field": constraint["field"]}
    return {"verdict": None, **asdict(costs)}


@dataclass
class _Costs:
    validation_s: float = 0.0
    compile_s: float = 0.0
    step_s: float = 0.0  # the slowest

    def check(self) -> None:
        if self.validation_s > MAX_VALIDATION_S * _NOISE:
            msg = f"it takes more than {MAX_VALIDATION_S * 1000:g} ms to validate; {_ADVICE}"
            raise _Refused(msg)
        if self.compile_s > MAX_COMPILE_CPU_S * _NOISE:
            raise _Refused(_TOO_SLOW)
        if self.step_s > MAX_STEP_S * _NOISE:
            msg = f"it takes more than {MAX_STEP_S * 1000:g} ms for each token; {_ADVICE}"
            raise _Refused(msg)


def _judge_by_guidance(spec: str) -> None:
    """Validate as vLLM does where xgrammar supports a schema only in part."""
    from llguidance import LLMatcher

    began = time.process_time()
    try:
        grammar = LLMatcher.grammar_from_json_schema(spec, defaults={"whitespace_flexible": True})
        fault = LLMatcher.validate_grammar(grammar)
    except (ValueError, TypeError) as error:
        fault = str(error)
    if time.process_time() - began > MAX_GUIDANCE_S * _NOISE:
        msg = f"it takes more than {MAX_GUIDANCE_S:g} s of processor time to validate; {_ADVICE}"
        raise _Refused(msg)
    if fault:
        msg = f"it is not valid: {fault[:200]}"
        raise _Refused(msg)


def _judge_one(kind: str, spec: str, compiler: Any, vocabulary: Any, costs: _Costs) -> None:  # noqa: ANN401
    if kind == "guidance":
        _judge_by_guidance(spec)
        return
    try:
        began = time.process_time()
        _validate(kind, spec)
        costs.validation_s += time.process_time() - began
        costs.check()
        began = time.process_time()
        compiled = _compiled(compiler, kind, spec)
        costs.compile_s += time.process_time() - began
        costs.check()
    except MemoryError:
        msg = f"it takes more than 1 GiB of memory to compile; {_ADVICE}"
        raise _Refused(msg) from None
    except _Refused:
        raise
    except Exception as error:  # noqa: BLE001 - the library names no types
        raise _Refused(_reason(error)) from None
    costs.step_s = max(costs.step_s, _slowest_step(compiled, vocabulary.vocab_size))
    costs.check()


def _validate(kind: str, spec: str) -> None:
    import xgrammar

    if kind == "json":
        xgrammar.Grammar.from_json_schema(spec)
    elif "structures" in (tag := json.loads(spec)):
        xgrammar.Grammar.from_structural_tag(_legacy_tags(tag), tag["triggers"])
    else:
        xgrammar.Grammar.from_structural_tag(spec)


def _compiled(compiler: Any, kind: str, spec: str) -> Any:  # noqa: ANN401
    if kind == "json":
        return compiler.compile_json_schema(spec)
    if "structures" in (tag := json.loads(spec)):
        return compiler.compile_structural_tag(_legacy_tags(tag), tag["triggers"])
    return compiler.compile_structural_tag(spec)


def _legacy_tags(tag: dict[str, Any]) -> list[Any]:
    import xgrammar

    return [
        xgrammar.StructuralTagItem(
            begin=each["begin"], schema=json.dumps(each["schema"]), end=each["end"]
        )
        for each in tag["structures"]
    ]


def _slowest_step(compiled: Any, vocabulary_size: int) -> float:  # noqa: ANN401
    """Generate from a fixed seed and return the processor seconds of the slowest step.

    vLLM computes the allowed tokens of every step on its scheduler's loop. The walk skips fixed
    text, and every other step ends the current value if it may end, so that later parts of the
    grammar are reached as well.
    """
    import random

    import numpy as np
    import xgrammar

    matcher = xgrammar.GrammarMatcher(compiled)
    mask = xgrammar.allocate_token_bitmask(1, vocabulary_size)
    chosen = random.Random(0)  # noqa: S311 - no secret
    slowest = 0.0
    walk_began = time.thread_time()
    for step in range(_STEPS):
        if matcher.is_terminated() or time.thread_time() - walk_began > _WALK_CPU_S:
            break
        began = time.thread_time()
        matcher.fill_next_token_bitmask(mask)
        slowest = max(slowest, time.thread_time() - began)
        if (fixed := matcher.find_jump_forward_string()) and matcher.accept_string(fixed):
            continue
        if step % 2 and any(map(matcher.accept_string, _ENDINGS)):
            continue
        bits = np.unpackbits(mask[0].numpy().view(np.uint8), bitorder="little")
        allowed = np.flatnonzero(bits[:vocabulary_size])
        if not len(allowed):
            msg = "no text satisfies it"
            raise _Refused(msg)
        matcher.accept_token(int(allowed[chosen.randrange(len(allowed))]))
    return slowest


def _reason(error: Exception) -> str:
    """Return xgrammar's message without its place in the source; it may quote the schema."""
    text = str(error).strip().rsplit("] ", 1)[-1]
    if "Check failed" in text:  # inside the compiler
        return "it cannot be compiled"
    if ".cc:" in text.split(" ", 1)[0]:
        text = text.split(" ", 1)[-1]
    return f"it is not valid: {text[:200]}"


def _confine() -> None:
    cpu_s = int(MAX_COMPILE_CPU_S * _NOISE) + 2
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - one line
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + _MEMORY_BYTES, used + _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.alarm(int(_WALL_S) + 1)


if __name__ == "__main__":
    sys.exit(main())
