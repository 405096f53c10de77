"""Remove null fields that OpenAI's types do not have from completions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_NULL_AT_OPENAI = {"content", "refusal", "logprobs", "finish_reason"}


def without_nulls(completion: Mapping[str, Any]) -> dict[str, Any]:
    """Return a completion, its choices, messages and usage without null fields.

    Keeps the null fields that OpenAI's API sends. vLLM sends all its fields, such as
    `kv_transfer_params`.
    """
    shown = _of_object(completion)
    shown["choices"] = [_of_choice(choice) for choice in completion["choices"]]
    if usage := shown.get("usage"):
        shown["usage"] = _of_object(usage)
    return shown


def _of_choice(choice: Mapping[str, Any]) -> dict[str, Any]:
    shown = _of_object(choice)
    if message := shown.get("message"):
        shown["message"] = {"content": None, "refusal": None} | _of_object(message)
    return shown


def _of_object(given: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value for name, value in given.items() if value is not None or name in _NULL_AT_OPENAI
    }
