"""Bounds of schemas and grammars, and the verdicts on what is neither cheap nor over a bound."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import signal
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import xgrammar

from deployments.errors import InvalidRequest, Overloaded, Unavailable
from deployments.llm.grammars.bounds import (
    Constraint,
    ConstraintSize,
    check_constraints,
    constraints_of,
)
from deployments.llm.grammars.judge import GrammarJudge, JudgeProcess
from deployments.llm.grammars.patterns import pattern_size
from serve_app.schemas.chat import ChatRequest
from serve_app.schemas.completions import CompletionRequest
from tests.support.grammars import (
    ATTACK,
    DOCUMENTED,
    FakeProcess,
    cases,
    response_format,
    structural_tags,
    tool,
)

pytestmark = pytest.mark.anyio


def measured(schema: Any) -> ConstraintSize:
    return check_constraints({"response_format": response_format(schema)})


@pytest.mark.parametrize(
    ("pattern", "repetitions", "states"),
    [
        ("abc", 0, 3),
        ("[a-z]{1,30000}a", 30_000, 30_001),
        ("(ab){3}", 3, 6),
        ("((ab){10}c){10,20}", 20, 420),
        ("(a|b){5,}", 5, 10),
        (r"\{3\}", 0, 3),
        ("[{3}]", 0, 1),
        ("[]a]{2}", 2, 2),
        (r"[\]]{2}", 2, 2),
        ("(?:ab){2}", 2, 4),
        ("a{999999999}", 999_999_999, 999_999_999),
        ("a*b+c?", 0, 3),
        (")))((([", 0, 4),
        ("", 0, 0),
    ],
)
def test_a_pattern_counts_with_its_repetitions_written_out(
    pattern: str, repetitions: int, states: int
) -> None:
    assert pattern_size(pattern) == (repetitions, states)


def test_measuring_a_pattern_takes_linear_time() -> None:
    began = time.thread_time()
    for part in ("(", "[", "\\", "a{1", "{9}", "[^]", "((((a){2}){2}){2})"):
        pattern_size(part * 20_000)
    assert time.thread_time() - began < 5  # some 0.2 s


@pytest.mark.parametrize(
    ("schema", "bound"),
    [
        (ATTACK, "30000 repetitions in a pattern are over the bound of 1000"),
        ({"pattern": "(a{1,900}){1,900}"}, "over the bound of 4000"),
        ({"pattern": "x" * 1001}, "characters of a pattern"),
        ({"patternProperties": {"a{5000}": {}}}, "5000 repetitions"),
        ({"enum": list(range(1001))}, "1001 enum entries are over the bound of 1000"),
        ({"anyOf": [{}] * 501}, "branches"),
        ({"items": [{"$ref": "#"}] * 501}, "references"),
        ({"items": [1] * 10_001}, "values are over the bound of 10000"),
        ({"description": "x" * 140_000}, "bytes are over the bound of 131072"),
        ({"properties": {"x" * 140_000: {}}}, "bytes"),
    ],
)
def test_a_schema_over_a_bound_is_refused_and_the_bound_named(schema: Any, bound: str) -> None:
    for body in (
        {"response_format": response_format(schema)},
        {"tools": [tool(schema)]},
        {"response_format": {"type": "structural_tag", "format": {"content": schema}}},
    ):
        with pytest.raises(InvalidRequest, match=bound) as caught:
            check_constraints(body)
        assert caught.value.param in {"response_format", "tools"}


def test_nesting_is_bounded_without_recursion() -> None:
    schema: Any = {}
    for _ in range(100_000):
        schema = {"items": schema}
    with pytest.raises(InvalidRequest, match="51 levels of nesting are over the bound of 50"):
        measured(schema)
    while schema:  # taken apart step by step: Python would recurse
        schema = schema["items"]


def test_all_constraints_of_a_request_share_one_budget() -> None:
    tools = [tool({"enum": list(range(100))}, f"tool_{number}") for number in range(11)]
    check_constraints({"tools": tools[:10]})
    with pytest.raises(InvalidRequest, match="1100 enum entries"):
        check_constraints({"tools": tools})


@pytest.mark.parametrize("name", ["math tutor", "research paper", "moderation", "either"])
def test_documented_schemas_are_cheap(name: str) -> None:
    assert measured(DOCUMENTED[name]).cheap


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"type": "string", "pattern": "a"},
        {"type": "string", "maxLength": 3},
        {"type": "object", "properties": {"a": {"type": "string", "format": "email"}}},
        {"anyOf": [{"type": "object", "properties": {"pattern": {"pattern": "a"}}}]},
    ],
)
def test_what_may_be_dear_is_not_cheap(schema: Any) -> None:
    assert not measured(schema).cheap


def test_names_of_properties_are_no_keywords() -> None:
    named = {"type": "object", "properties": {"pattern": {"type": "string"}, "$ref": {}}}
    assert measured(named).cheap


def test_every_generated_schema_is_measured_in_a_few_milliseconds() -> None:
    refused = 0
    gc.collect()
    for case in cases():
        began = time.thread_time()
        try:
            measured(case.schema)
        except InvalidRequest:
            assert not case.honest, case.name
            refused += 1
        assert time.thread_time() - began < 0.05, case.name
    assert refused > 20


def test_what_vllm_compiles_is_found() -> None:
    tag = next(structural_tags()).schema
    body = {"response_format": response_format({"type": "string"}), "tools": [tool(ATTACK), 3]}
    assert list(constraints_of(body)) == [
        Constraint("response_format", "json", '{"type": "string"}'),
        Constraint("tools", "json", json.dumps(ATTACK)),
    ]
    assert list(constraints_of({"response_format": tag})) == [
        Constraint("response_format", "structural_tag", json.dumps(tag))
    ]
    assert list(constraints_of({"response_format": {"type": "json_object"}})) == []


def test_no_other_field_carries_a_schema_or_a_grammar() -> None:
    """Whoever lets a field through to vLLM says here that it holds no grammar, or measures it."""
    plain = {
        *("model", "temperature", "top_p", "top_k", "min_p", "repetition_penalty"),
        *("presence_penalty", "frequency_penalty", "max_tokens", "min_tokens", "n", "stop", "seed"),
        *("ignore_eos", "logit_bias", "stream", "stream_options", "user", "messages", "logprobs"),
        *("max_completion_tokens", "top_logprobs", "parallel_tool_calls", "metadata", "store"),
        *("service_tier", "safety_identifier", "prompt_cache_key", "context", "prompt", "echo"),
        *("suffix", "best_of", "tools", "tool_choice", "response_format"),
    }
    assert set(ChatRequest.model_fields) | set(CompletionRequest.model_fields) == plain


DOUBTFUL = {"response_format": response_format({"type": "string", "maxLength": 300})}


async def test_a_verdict_is_reached_once() -> None:
    process = FakeProcess()
    judge = GrammarJudge(process)
    assert await judge.check(DOUBTFUL)
    assert await judge.check(DOUBTFUL)
    await asyncio.gather(*(judge.check(DOUBTFUL | {"tools": [tool({})]}) for _ in range(5)))
    assert len(process.judged) == 2
    assert await judge.check({"response_format": response_format(DOCUMENTED["math tutor"])})
    assert not await judge.check({"messages": []})
    assert len(process.judged) == 2


async def test_a_refusal_is_kept_and_names_the_field() -> None:
    process = FakeProcess("it takes more than 2 s of processor time to compile")
    judge = GrammarJudge(process)
    for _ in range(2):
        with pytest.raises(
            InvalidRequest, match="response_format: it takes more than 2 s"
        ) as caught:
            await judge.check(DOUBTFUL)
        assert caught.value.param == "response_format"
    assert len(process.judged) == 1


async def test_verdicts_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployments.llm.grammars.judge._VERDICTS", 2)
    process = FakeProcess()
    judge = GrammarJudge(process)
    for length in (1, 2, 3, 1):
        schema = {"type": "string", "maxLength": length}
        await judge.check({"response_format": response_format(schema)})
    assert len(process.judged) == 4


class SlowProcess(FakeProcess):
    """Judges when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.goes_on = asyncio.Event()

    async def judge(self, constraints: Sequence[Constraint]) -> dict[str, Any]:
        await self.goes_on.wait()
        return await super().judge(constraints)


def asking(judge: GrammarJudge, caller: str, length: int) -> asyncio.Task[bool]:
    schema = {"type": "string", "maxLength": length}
    body = {"response_format": response_format(schema), "cache_salt": caller}
    return asyncio.create_task(judge.check(body))


async def test_callers_take_turns_and_each_may_wait_for_a_few_only() -> None:
    process = SlowProcess()
    judge = GrammarJudge(process)
    greedy = [asking(judge, "greedy", length) for length in range(1, 7)]
    await asyncio.sleep(0)
    modest = asking(judge, "modest", 100)
    await asyncio.sleep(0.01)
    with pytest.raises(Overloaded, match="too many new schemas"):
        await greedy[-1]  # one is judged and four wait
    process.goes_on.set()
    await asyncio.gather(modest, *greedy[:5])
    lengths = [json.loads(spec.spec)["maxLength"] for (spec,) in process.judged]
    assert lengths == [1, 2, 100, 3, 4, 5]


async def test_a_caller_that_leaves_stops_no_judging() -> None:
    process = SlowProcess()
    judge = GrammarJudge(process)
    first, second, third = (asking(judge, "one", length) for length in (1, 2, 3))
    same = asking(judge, "other", 1)
    await asyncio.sleep(0.01)
    first.cancel()
    second.cancel()
    process.goes_on.set()
    assert await third
    assert await same
    assert await asking(judge, "one", 2)
    assert len(process.judged) == 3


async def test_a_caller_does_not_pay_for_one_with_too_many_waiting() -> None:
    process = SlowProcess()
    judge = GrammarJudge(process)
    greedy = [asking(judge, "greedy", length) for length in range(6)]
    modest = asking(judge, "modest", 5)
    await asyncio.sleep(0.01)
    process.goes_on.set()
    assert await modest
    with pytest.raises(Overloaded):
        await asyncio.gather(*greedy)


@pytest.fixture(scope="module")
def judge_process() -> Iterator[JudgeProcess]:
    """The real one, with a vocabulary of bytes."""
    vocabulary = xgrammar.TokenizerInfo([bytes([byte]) for byte in range(256)] + [b"</s>"])
    process = JudgeProcess(vocabulary.serialize_json())
    yield process
    asyncio.run(process.close())


def json_schema(**schema: Any) -> list[Constraint]:
    return [Constraint("response_format", "json", json.dumps(schema))]


async def test_a_real_process_judges_and_is_started_again(judge_process: JudgeProcess) -> None:
    honest = json_schema(type="string", maxLength=20)
    judge = GrammarJudge(judge_process)
    assert await judge.check(DOUBTFUL)
    pid = judge_process._process.pid
    leaving = asking(judge, "one", 301)
    await asyncio.sleep(0.005)
    leaving.cancel()
    assert await asking(judge, "one", 302)
    assert judge_process._process.pid == pid
    slow = {"type": "string", "pattern": "[a-z]{1,990}a" * 4}
    assert "it takes more than" in (await judge_process.judge(json_schema(**slow)))["verdict"]
    names = [(f"a{number}", f"b{number}") for number in range(11)]
    branches = [
        {"anyOf": [{"type": "object", "properties": {name: {"type": "string"}}} for name in pair]}
        for pair in names
    ]
    wide = [Constraint("response_format", "guidance", json.dumps({"allOf": branches}))]
    assert "processor time to validate" in (await judge_process.judge(wide))["verdict"]
    few = [Constraint("response_format", "guidance", json.dumps({"allOf": branches[:2]}))]
    assert (await judge_process.judge(few))["verdict"] is None
    bad = (await judge_process.judge(json_schema(type="string", pattern="([")))["verdict"]
    assert bad.startswith("it is not valid")
    os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(Unavailable):
        await judge_process.judge(honest)
    assert (await judge_process.judge(honest))["verdict"] is None
    assert judge_process._process.pid != pid
