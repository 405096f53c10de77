"""Translate vLLM's exceptions and error objects into ours.

Before vLLM accepts a request, an exception is the request's fault; afterwards it is the engine's.
"""

from __future__ import annotations

import re
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from deployments.errors import (
    CONTEXT_LENGTH_EXCEEDED,
    InvalidRequest,
    NotFound,
    Overloaded,
    ServiceError,
    Unavailable,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from deployments.llm.output_hold import OutputHold

DEAD = "the language model stopped; it is being restarted"
STALLED = "the language model has requests, and has produced no token"
FAILED = "the language model failed while it answered"
FULL = "the language model's queue is full; try again shortly"

_SERVER_ERROR = 500
_NOT_FOUND = 404
_TOO_LONG = re.compile(r"maximum (?:context|model) length|longer than the maximum", re.IGNORECASE)
_MALFORMED = (
    "a field of the request has the wrong type or lacks a value; compare it with OpenAI's API"
)

# What Python raises when code gets a value of an unexpected type.
CARELESS = (
    *(ValueError, TypeError, LookupError, AttributeError, ArithmeticError, AssertionError),
    *(RecursionError, NotImplementedError),
)
"""vLLM does not check every field: before it accepts a request, these are the request's fault."""


@dataclass
class Admission:
    """Whether the engine has accepted the request that the current task sends, and its outputs."""

    accepted: bool = False
    holds: list[OutputHold] = field(default_factory=list)


ADMISSION: ContextVar[Admission | None] = ContextVar("admission", default=None)


def from_exception(error: Exception, admission: Admission) -> ServiceError:
    """Return the error that a caller gets for what vLLM raised."""
    if isinstance(error, ServiceError):
        return error
    known = _of_vllm(error)
    if known is None and not admission.accepted:
        known = _of_reading(error)
    return known or Unavailable(FAILED)


def _of_vllm(error: Exception) -> ServiceError | None:
    from vllm.exceptions import GracefulHTTPError, VLLMClientError
    from vllm.v1.engine.exceptions import EngineDeadError

    if isinstance(error, EngineDeadError):
        return Unavailable(DEAD)
    if isinstance(error, GracefulHTTPError):
        # Admission control: the engine's own queue bound is reached.
        return Overloaded(FULL)
    if isinstance(error, VLLMClientError):
        message = str(error.args[0]) if error.args else str(error)
        return refusal(message, getattr(error, "parameter", None))
    return None


def _of_reading(error: Exception) -> InvalidRequest | None:
    from jinja2 import TemplateError
    from pydantic import ValidationError

    param = None
    match error:
        case ValidationError():
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            message = first["msg"]
            param = ".".join(str(part) for part in first["loc"]) or None
        case TemplateError():
            message, param = (
                "the model's chat template refuses these messages: check their roles and order",
                "messages",
            )
        case RecursionError():
            message = "the request is nested too deeply; send fewer levels of lists and objects"
        case UnicodeError():
            message = "the request contains text that is not valid Unicode"
        case ValueError() if error.args:
            return refusal(str(error.args[0]), None)
        case _ if isinstance(error, CARELESS):
            message = _MALFORMED
        case _:
            return None
    return InvalidRequest(message, param=param)


def from_response(error: Mapping[str, Any]) -> ServiceError:
    """Return the error that a caller gets for an error object in one of vLLM's answers."""
    status = int(error.get("code") or _SERVER_ERROR)
    if status == _SERVER_ERROR:
        return Unavailable(FAILED)
    if status > _SERVER_ERROR:
        return Unavailable(str(error["message"]))
    if status == _NOT_FOUND:
        return NotFound(error["message"], param=error["param"])
    return refusal(error["message"], error["param"])


def refusal(message: str, param: str | None) -> InvalidRequest:
    """Return the error for a request that an engine refuses, with OpenAI's code if it has one."""
    too_long = _TOO_LONG.search(message)
    return InvalidRequest(message, code=CONTEXT_LENGTH_EXCEEDED if too_long else None, param=param)
