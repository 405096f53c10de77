"""Bounds of schemas and grammars, and the verdicts on what is neither cheap nor over a bound."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import xgrammar

from deployments.errors import InvalidRequest, Overloaded, Unavailable
from deployments.llm.grammars.bounds import (
    Constraint,
    ConstraintSize,
    check_compiled,
    check_constraints,
    constraints_of,
)
from deployments.llm.grammars.judge import GrammarJudge, JudgeProcess
from deployments.llm.grammars.judge_process import (
    MAX_COMPILE_CPU_S,
    MAX_VALIDATION_S,
    _slowest_step,
)
from deployments.llm.grammars.patterns import pattern_size
from deployments.llm.grammars.tools import tool_constraints
from serve_app.schemas.chat import ChatRequest
from serve_app.schemas.completions import CompletionRequest
from tests.support.grammars import (
    ATTACK,
    DOCUMENTED,
    TEXT,
    FakeProcess,
    cases,
    closed,
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
        {"response_format": {"type": "structural_tag", "format": {"content": schema}}},
    ):
        with pytest.raises(InvalidRequest, match=bound) as caught:
            check_constraints(body)
        assert caught.value.param == "response_format"
    with pytest.raises(InvalidRequest, match=bound) as caught:
        check_compiled(Constraint("tools", "json", json.dumps(schema)))
    assert caught.value.param == "tools"


def test_nesting_is_bounded_without_recursion() -> None:
    schema: Any = {}
    for _ in range(100_000):
        schema = {"items": schema}
    with pytest.raises(InvalidRequest, match="51 levels of nesting are over the bound of 50"):
        measured(schema)
    while schema:  # taken apart step by step: Python would recurse
        schema = schema["items"]


def hermes_tag(*schemas: Any) -> Constraint:
    """The structural tag of vLLM's hermes parser, which has two forms of each tool."""
    tags = [
        {"begin": f"<{number}", "content": {"type": "json_schema", "json_schema": schema}}
        for number, schema in enumerate(schemas)
        for _ in range(2)
    ]
    return Constraint("tools", "structural_tag", json.dumps({"format": {"tags": tags}}))


def test_all_constraints_of_a_request_share_one_budget() -> None:
    schemas = [{"enum": list(range(number, number + 100))} for number in range(11)]
    check_compiled(hermes_tag(*schemas[:10]))
    with pytest.raises(InvalidRequest, match="1100 enum entries"):
        check_compiled(hermes_tag(*schemas))


def test_tools_that_vllm_may_leave_free_are_bounded_by_size_only() -> None:
    tools = [tool(ATTACK), tool({"enum": list(range(2000))}), tool({"pattern": "x" * 2000})]
    assert not check_constraints({"tools": tools}).cheap
    with pytest.raises(InvalidRequest, match=r"tools: .* bytes are over the bound of 131072"):
        check_constraints({"tools": [tool({"description": "x" * 140_000})]})


@pytest.mark.parametrize("name", ["math tutor", "research paper", "moderation", "either"])
def test_documented_schemas_are_cheap(name: str) -> None:
    assert measured(DOCUMENTED[name]).cheap


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"type": "string", "pattern": "a"},
        {"type": "string", "maxLength": 3},
        {"type": "object", "properties": {"a": {}}, "additionalProperties": True},
        {"type": "object", "properties": {"a": {}}, "additionalProperties": {"type": "string"}},
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
    spent = []
    for case in cases():
        began = time.thread_time()
        try:
            measured(case.schema)
        except InvalidRequest:
            assert not case.honest, case.name
            refused += 1
        spent.append(time.thread_time() - began)
    assert refused > 20
    assert sum(spent) / len(spent) < 0.05  # under 1 ms


def test_the_constraint_of_the_response_format_is_found() -> None:
    tag = next(structural_tags()).schema
    body = {"response_format": response_format({"type": "string"}), "tools": [tool(ATTACK), 3]}
    assert list(constraints_of(body)) == [
        Constraint("response_format", "json", '{"type": "string"}')
    ]
    assert list(constraints_of({"response_format": tag})) == [
        Constraint("response_format", "structural_tag", json.dumps(tag))
    ]
    assert list(constraints_of({"response_format": {"type": "json_object"}})) == []


@pytest.fixture(scope="module")
def compiled_by_vllm() -> Callable[..., list[Constraint]]:
    """What vLLM compiles for tools, by its hermes parser and a `tool_strict_level`."""
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.parser.parser_manager import ParserManager

    def constraints(level: str, **fields: Any) -> list[Constraint]:
        parser = ParserManager.get_parser(
            tool_parser_name="hermes",
            reasoning_parser_name="",
            enable_auto_tools=True,
            tool_strict_level=level,
        )
        messages = [{"role": "user", "content": "x"}]
        request = ChatCompletionRequest(model="m", messages=messages, **fields)
        before = request.model_dump()
        found = tool_constraints(request, lambda given: parser(object(), given.tools))
        assert request.model_dump() == before
        return found

    return constraints


def test_tools_are_compiled_as_vllm_combines_them(
    compiled_by_vllm: Callable[..., list[Constraint]],
) -> None:
    strict = [tool({"const": "alpha"}, "one"), tool({"const": "omega"}, "two")]
    free = [{**each, "function": {**each["function"], "strict": None}} for each in strict]
    named = {"type": "function", "function": {"name": "two"}}

    def texts(level: str, tools: Any, choice: Any, **fields: Any) -> tuple[bool, ...]:
        found = compiled_by_vllm(level, tools=tools, tool_choice=choice, **fields)
        if not found:
            return ()
        (constraint,) = found
        assert (constraint.field, constraint.kind) == ("tools", "structural_tag")
        return tuple(text in constraint.spec for text in ("alpha", "omega", "a format"))

    assert texts("auto", free, "auto") == texts("auto", strict, "none") == ()
    assert texts("auto", free, "required") == (False, False, False)  # only the names
    assert texts("auto", strict, "auto") == texts("auto", strict, "required") == (True, True, False)
    assert texts("auto", strict, named) == (False, True, False)
    assert texts("parameter", free, "auto") == (True, True, False)
    with_format = {"response_format": response_format({"const": "a format"})}
    assert texts("parameter", free, "auto", **with_format) == (True, True, True)


def test_an_agent_with_60_tools_of_2_kb_is_within_all_bounds(
    compiled_by_vllm: Callable[..., list[Constraint]],
) -> None:
    names = [f"argument_{number}" for number in range(10)]
    argument = {"type": "string", "description": "what the argument means to the tool " * 3}
    schema = closed(**dict.fromkeys(names, argument))
    tools = [tool(schema | {"title": f"{number}"}, f"tool_{number}") for number in range(60)]
    assert 1900 < len(json.dumps(tools[0])) < 2200
    check_constraints({"tools": tools, "tool_choice": "auto"})
    for choice in ("auto", "required"):
        (constraint,) = compiled_by_vllm("parameter", tools=tools, tool_choice=choice)
        check_compiled(constraint)


def test_no_other_field_carries_a_schema_or_a_grammar() -> None:
    """Whoever lets a field through to vLLM says here that it holds no grammar, or measures it."""
    plain = {
        *("model", "temperature", "top_p", "top_k", "min_p", "repetition_penalty"),
        *("presence_penalty", "frequency_penalty", "max_tokens", "min_tokens", "n", "stop", "seed"),
        *("ignore_eos", "logit_bias", "stream", "stream_options", "user", "messages", "logprobs"),
        *("max_completion_tokens", "top_logprobs", "parallel_tool_calls", "metadata", "store"),
        *("service_tier", "safety_identifier", "prompt_cache_key", "context", "prompt", "echo"),
        *("suffix", "best_of", "tools", "tool_choice", "response_format"),
        # Not given to vLLM:
        *("audio", "function_call", "functions", "modalities", "moderation", "prediction"),
        *("prompt_cache_options", "prompt_cache_retention", "reasoning_effort", "verbosity"),
        "web_search_options",
    }
    assert set(ChatRequest.model_fields) | set(CompletionRequest.model_fields) == plain


DOUBTFUL = {"response_format": response_format({"type": "string", "maxLength": 300})}


async def test_a_verdict_is_reached_once() -> None:
    process = FakeProcess()
    judge = GrammarJudge(process)
    assert (await judge.check(DOUBTFUL)).values
    assert (await judge.check(DOUBTFUL)).values
    tools = json_schema(pattern="a", field="tools")
    await asyncio.gather(*(judge.check_tools(tools, "one") for _ in range(5)))
    assert len(process.judged) == 2
    assert (await judge.check({"response_format": response_format(DOCUMENTED["math tutor"])})).cheap
    assert not (await judge.check({"messages": []})).values
    assert not (await judge.check({"tools": [tool(ATTACK)]})).cheap  # vLLM may leave it free
    assert len(process.judged) == 2
    with pytest.raises(InvalidRequest, match="30000 repetitions"):
        await judge.check_tools([Constraint("tools", "json", json.dumps(ATTACK))], "one")


async def test_a_refusal_is_kept_and_names_the_field() -> None:
    process = FakeProcess("it takes more than 2 s of processor time to compile")
    judge = GrammarJudge(process)
    for _ in range(2):
        with pytest.raises(
            InvalidRequest, match="response_format: the schema or grammar was refused: it takes"
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


def asking(judge: GrammarJudge, caller: str, length: int) -> asyncio.Task[ConstraintSize]:
    schema = {"type": "string", "maxLength": length}
    body = {"response_format": response_format(schema), "cache_salt": caller}
    return asyncio.create_task(judge.check(body))


@pytest.fixture
def in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let callers come in the order in which they start, which threads do not keep."""

    async def at_once(work: Callable[..., Any], *args: Any) -> Any:
        return work(*args)

    monkeypatch.setattr(asyncio, "to_thread", at_once)


@pytest.mark.usefixtures("in_order")
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


@pytest.mark.usefixtures("in_order")
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


@pytest.mark.usefixtures("in_order")
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


BYTES = xgrammar.TokenizerInfo([bytes([byte]) for byte in range(256)] + [b"</s>"])


@pytest.fixture(scope="module")
def judge_process() -> Iterator[JudgeProcess]:
    """The real one, with a vocabulary of bytes."""
    process = JudgeProcess(BYTES.serialize_json())
    yield process
    asyncio.run(process.close())


def json_schema(field: str = "response_format", **schema: Any) -> list[Constraint]:
    return [Constraint(field, "json", json.dumps(schema))]


def test_the_walk_reaches_what_follows_fixed_text(monkeypatch: pytest.MonkeyPatch) -> None:
    matchers: list[xgrammar.GrammarMatcher] = []

    class Recorded(xgrammar.GrammarMatcher):  # type: ignore[misc]  # untyped
        def __init__(self, compiled: Any) -> None:
            super().__init__(compiled)
            matchers.append(self)

    monkeypatch.setattr(xgrammar, "GrammarMatcher", Recorded)
    schema = closed(a={"const": "fixed " * 100}, b=TEXT, c={"type": "array", "items": TEXT})
    compiler = xgrammar.GrammarCompiler(BYTES, max_threads=1)
    _slowest_step(compiler.compile_json_schema(json.dumps(schema)), BYTES.vocab_size)
    assert matchers[0].is_terminated()


EDGES: dict[str, Any] = {
    "enum entries": {"enum": ["x" * 35 + str(number) for number in range(200)]},
    "long enum entries": {"enum": ["x" * 700 + str(number) for number in range(11)]},
    "a constant": {"const": "words " * 1300},
    "a name": closed(**{"x" * 3900: TEXT}),
    "optional names": {"type": "object", "properties": {f"p{n}": {} for n in range(190)}},
    "long optional names": {"type": "object", "properties": {f"p{n}" * 5: {} for n in range(180)}},
    "branches": {"anyOf": [closed(**{f"k{n}": TEXT, "a": TEXT}) for n in range(20)]},
    "branches of enums": {"anyOf": [{"enum": ["y" * 300 + str(n)]} for n in range(20)]},
    "levels": closed(a=closed(b=closed(c=TEXT), d=closed(e=TEXT)), f=closed(g=closed(h=TEXT))),
}


@pytest.mark.parametrize("name", EDGES)
def test_what_is_barely_cheap_compiles_quickly(name: str) -> None:
    assert measured(EDGES[name]).cheap
    spec = json.dumps(EDGES[name])
    compiler = xgrammar.GrammarCompiler(BYTES, max_threads=1, cache_enabled=False)
    began = time.process_time()
    xgrammar.Grammar.from_json_schema(spec)
    validated = time.process_time()
    compiler.compile_json_schema(spec)
    assert validated - began < MAX_VALIDATION_S  # some 2 ms
    assert time.process_time() - validated < MAX_COMPILE_CPU_S  # at most some 0.3 s


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
    endless = {"type": "grammar", "grammar": 'root ::= "a" root'}  # its fixed text has no end
    text = json.dumps({"type": "structural_tag", "format": endless})
    tag = [Constraint("response_format", "structural_tag", text)]
    reply = await judge_process.judge(tag)
    assert reply.get("late") or reply["verdict"], "it would be accepted"
    stars = json_schema(type="string", pattern="^(a*)*{200}$")  # fails beside a cache alone
    assert (await judge_process.judge(stars))["verdict"] == "it cannot be compiled"
    bad = (await judge_process.judge(json_schema(type="string", pattern="([")))["verdict"]
    assert bad.startswith("it is not valid")
    os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(Unavailable):
        await judge_process.judge(honest)
    assert (await judge_process.judge(honest))["verdict"] is None
    assert judge_process._process.pid != pid
