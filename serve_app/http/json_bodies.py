"""JSON bodies: bounded in depth, width and number of values before a parser sees them."""

from __future__ import annotations

import json
import math
import re
from http import HTTPStatus
from typing import Any, NoReturn

from starlette.exceptions import HTTPException

MAX_LEVELS = 100
MAX_VALUES = 310_000
"""OpenAI's clients send up to 300,000 token ids in a request."""
MAX_NUMBER_CHARS = 100
MAX_KEYS = 1000
"""Of one object: a field that is unknown costs an error message, made on the event loop."""
_BOM = b"\xef\xbb\xbf"

# A string, also one without an end, a sign of structure, or a long number, which is only looked for
# where a number begins.
_TOKEN = re.compile(
    rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|[\[\]{},]|(?<![\d.eE+-])[\d.eE+-]{%d}'
    % MAX_NUMBER_CHARS,
    re.DOTALL,
)
_CLOSING = frozenset(b"]}")
_OBJECT, _LIST, _COMMA, _QUOTE = b'{[,"'
_UNBOUNDED = -MAX_VALUES  # of the keys of a list


def read_json(body: bytes) -> Any:  # noqa: ANN401 - any JSON
    """Return the value of a JSON text.

    Raises HTTPException 400, which says what is wrong and where: text that is not UTF-8 or not
    JSON, more than MAX_LEVELS levels or MAX_VALUES values and separators, an unpaired surrogate,
    NaN and infinity, numbers out of the range of floats or of MAX_NUMBER_CHARS characters, and
    objects of over MAX_KEYS keys.
    """
    _check_structure(body)
    try:
        text = body.removeprefix(_BOM).decode()
    except UnicodeDecodeError as error:
        msg = f"the body is not UTF-8, see byte {error.start}"
        raise _Refused(msg) from None
    try:
        value = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        msg = f"the body is not valid JSON, see {place}: {error.msg}"
        raise _Refused(msg) from None
    if "\\ud" in text or "\\uD" in text:
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            msg = "the body contains an unpaired surrogate (\\ud800 to \\udfff)"
            raise _Refused(msg) from None
    return value


def _check_structure(body: bytes) -> None:
    values = 0
    keys: list[int] = []  # of each container that is open
    for match in _TOKEN.finditer(body):
        sign = body[match.start()]
        if sign in _CLOSING:
            if keys:
                keys.pop()
            continue
        values += 1
        if values > MAX_VALUES:
            msg = f"the body contains more than {MAX_VALUES} values"
            raise _Refused(msg)
        if sign in {_OBJECT, _LIST}:
            keys.append(1 if sign == _OBJECT else _UNBOUNDED)
            if len(keys) > MAX_LEVELS:
                msg = f"the body is nested more than {MAX_LEVELS} levels deep"
                raise _Refused(msg)
        elif sign == _COMMA:
            _count_key(keys)
        elif sign != _QUOTE:
            msg = f"a number in the body has {MAX_NUMBER_CHARS} characters or more"
            raise _Refused(msg)


def _count_key(keys: list[int]) -> None:
    if keys:
        keys[-1] += 1
        if keys[-1] > MAX_KEYS:
            msg = f"an object in the body has more than {MAX_KEYS} keys"
            raise _Refused(msg)


def _refuse_constant(name: str) -> NoReturn:
    msg = f"the body contains {name}, which is not JSON"
    raise _Refused(msg)


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):  # it could not be written into an answer
        msg = f"the number {text} in the body is too large"
        raise _Refused(msg)
    return number


class _Refused(HTTPException):
    """The body is not read. Of all exceptions in the reading, FastAPI lets only this kind pass."""

    def __init__(self, message: str) -> None:
        super().__init__(HTTPStatus.BAD_REQUEST, message)
