"""Schemas at the real language model: hostile ones are refused, honest ones are followed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.grammars import (
    ATTACK,
    DOCUMENTED,
    MODERATION,
    response_format,
    structural_tags,
    tool,
)
from tests.support.service import Service, ray_session

MARKER = "MARKER42"


def body(service: Service, **fields: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": "Name the capital of France."}]
    asked = {"model": service.model, "messages": messages, "max_tokens": 24, "temperature": 0}
    return asked | fields


def ask(http: httpx.Client, service: Service, **fields: Any) -> httpx.Response:
    return http.post("/v1/chat/completions", json=body(service, **fields))


def test_a_schema_that_took_the_model_away_is_refused_at_once(
    http: httpx.Client, service: Service
) -> None:
    attack = body(service, response_format=response_format(ATTACK))
    attack["messages"] = [{"role": "user", "content": "x"}]
    others = {"authorization": f"Bearer {service.others_key}"}

    def another_asks() -> httpx.Response:
        with httpx.Client(base_url=service.url, headers=others, timeout=60) as client:
            return client.post("/v1/chat/completions", json=body(service))

    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(another_asks)
        refused = [http.post("/v1/chat/completions", json=attack) for _ in range(10)]
        assert other.result().status_code == 200
    for answer in refused:
        error = answer.json()["error"]
        assert (answer.status_code, error["param"]) == (400, "response_format")
        assert "30000 repetitions in a pattern are over the bound of 1000" in error["message"]


@pytest.mark.parametrize("name", ["moderation", "linked list", "user interface", "500 enum values"])
def test_documented_schemas_are_followed(http: httpx.Client, service: Service, name: str) -> None:
    answer = ask(http, service, response_format=response_format(DOCUMENTED[name]), max_tokens=48)
    assert answer.status_code == 200, answer.text
    (choice,) = answer.json()["choices"]
    first, *_ = DOCUMENTED[name]["properties"]
    assert re.match(rf'\s*{{\s*"{first}"\s*:', choice["message"]["content"])
    if choice["finish_reason"] == "stop":
        assert set(json.loads(choice["message"]["content"])) == set(DOCUMENTED[name]["properties"])


def test_faults_of_a_request_are_400_and_leave_the_engine_at_work(
    http: httpx.Client, service: Service
) -> None:
    deep = "[" * 10_000
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": deep}}
    user = {"role": "user", "content": "x"}
    *_, regex, grammar, unknown = structural_tags()
    faults: dict[str, dict[str, Any]] = {
        "slow to validate": {
            "response_format": response_format({"type": "string", "pattern": "[a-z]{1,990}a" * 4})
        },
        "slow to compile": {
            "tools": [
                tool(
                    {"type": "object", "properties": {"a": {"type": "string", "maxLength": n}}},
                    f"t{n}",
                )
                for n in range(900, 904)
            ]
        },
        "unsatisfiable": {"response_format": response_format({"$ref": "#"})},
        "not a pattern": {"response_format": response_format({"type": "string", "pattern": "(["})},
        "of no library": {
            "response_format": response_format(
                {
                    "type": "object",
                    "properties": {"a": {"type": "integer", "multipleOf": 3}},
                    "patternProperties": {"^b": {"type": "string"}},
                }
            )
        },
        "deep schema": {"response_format": response_format(json.loads("[" * 60 + "]" * 60))},
        "regex": {"response_format": regex.schema},
        "grammar": {"response_format": grammar.schema},
        "unknown tag": {"response_format": unknown.schema},
        "deep arguments": {"messages": [user, {"role": "assistant", "tool_calls": [call]}, user]},
        "no function": {"tools": [{"type": "function"}]},
        "no such choice": {"tools": [tool(MODERATION)], "tool_choice": {"type": "function"}},
        "schema of another type": {"response_format": {"type": "json_schema", "json_schema": 3}},
    }
    for name, fields in faults.items():
        answer = ask(http, service, **fields)
        assert answer.status_code == 400, (name, answer.text)
        assert answer.json()["error"]["type"] == "invalid_request_error", name
        stream = ask(http, service, stream=True, **fields)
        assert stream.status_code == 400, (name, stream.text)
    assert ask(http, service).status_code == 200


def test_logs_of_replicas_quote_no_pattern(http: httpx.Client, service: Service) -> None:
    pattern = f"^(?={MARKER})[A-Z]{{2}}$"
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": pattern}}}
    assert MARKER in warnings_of_xgrammar(schema), "there is nothing to hide"
    answer = ask(http, service, response_format=response_format(schema))
    assert answer.status_code == 200, answer.text
    bad = {"type": "string", "pattern": f"{MARKER}(["}
    assert ask(http, service, response_format=response_format(bad)).status_code == 400
    last = f"last-{MARKER[::-1]}"
    http.get("/v1/models", headers={"x-request-id": last})
    logs = ray_session(service.processes()) / "logs"
    end = time.monotonic() + 60
    while not quoting(logs, last):  # they are written behind
        assert time.monotonic() < end, "the logs name no request"
        time.sleep(0.5)
    assert quoting(logs, MARKER) == []


def quoting(logs: Path, text: str) -> list[str]:
    """Return the names of the log files that contain a text."""
    files = [path for path in logs.rglob("*") if path.is_file()]
    return [path.name for path in files if text.encode() in path.read_bytes()]


def warnings_of_xgrammar(schema: dict[str, Any]) -> str:
    """Return what the library prints about a schema, without our filter."""
    program = "import sys, xgrammar; xgrammar.Grammar.from_json_schema(sys.argv[1])"
    command = [sys.executable, "-c", program, json.dumps(schema)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stderr
