"""JSON bodies: what is refused before a parser or pydantic sees it, and what the caller is told."""

from __future__ import annotations

import contextlib
import json
import time
from typing import Any

import pytest
from starlette.exceptions import HTTPException

from serve_app.app import _routes
from serve_app.http.body_route import BodyRoute
from serve_app.http.json_bodies import read_json

MIB = 1024**2


@pytest.mark.parametrize(
    "value",
    [
        {"a": [1, -2.5e-7, None, True, 'quote " and \\ backslash', "\U0001f600", "[[[[{{{{"]},
        [[[[]]]],
        "text",
        json.loads("[" * 100 + "]" * 100),
        [1] * 5000 + [int("9" * 99)],
        {f"key {number}": [] for number in range(1000)},
        "\\ud800 is written out",
    ],
)
@pytest.mark.parametrize("ascii_only", [True, False])
def test_json_is_read(value: Any, *, ascii_only: bool) -> None:
    assert read_json(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


def test_a_byte_order_mark_is_skipped() -> None:
    assert read_json(b"\xef\xbb\xbf{}") == {}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"[" * 101 + b"]" * 101, "nested more than 100 levels"),
        (b"[" * 10_000, "nested more than 100 levels"),
        (b'{"a":' * 10_000, "nested more than 100 levels"),
        (b"[" + b"[]," * 200_000 + b"[]]", "more than 310000 values"),
        (b'{"a": 1,\n "b": }', "see line 2, column 7"),
        (b"", "not valid JSON, see line 1, column 1"),
        (b'"\xff"', "not UTF-8, see byte 1"),
        (b'{"a": "\\ud800"}', "unpaired surrogate"),
        (b'["\\\\\\uDC00"]', "unpaired surrogate"),
        (b'{"\\udfff": 1}', "unpaired surrogate"),
        (b'"\xed\xa0\x80"', "not UTF-8"),
        (b'{"a": NaN}', "NaN, which is not JSON"),
        (b"[-Infinity]", "Infinity"),
        (b'{"a": 1e400}', "1e400 in the body is too large"),
        (b"[" + b"1" * 5000 + b"]", "100 characters or more"),
        (b"[" + b"1" * 100 + b"]", "100 characters or more"),
        (b'{"a": {' + b'"b":1,' * 1000 + b'"c":[]}}', "more than 1000 keys"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_reason(body: bytes, reason: str) -> None:
    with pytest.raises(HTTPException, match="body") as caught:
        read_json(body)
    assert caught.value.status_code == 400
    assert reason in caught.value.detail


@pytest.mark.parametrize(
    "body",
    [
        b'"' + b'\\"' * MIB,
        b'"' + b"\\" * MIB,
        b'"' * MIB,
        b'["' + b"\\u00e9" * MIB + b'"]',
        b"1" * MIB,
        b"-" * MIB,
        b"[" + b"1," * MIB,
        (b"1" * 99 + b" ") * 10_000,
    ],
)
def test_scanning_takes_linear_time(body: bytes) -> None:
    began = time.thread_time()
    with contextlib.suppress(HTTPException):
        read_json(body)
    assert time.thread_time() - began < 2  # some 0.1 s


def test_every_route_with_a_body_reads_it_so() -> None:
    forgotten = [
        route
        for route in _routes()
        if getattr(route, "body_field", None) and not isinstance(route, BodyRoute)
    ]
    assert not forgotten
