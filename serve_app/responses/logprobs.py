"""Convert log probabilities of tokens to the forms of output text and of its events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def output_logprobs(choice: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the log probabilities of an engine's choice in the form of output text."""
    given = (choice.get("logprobs") or {}).get("content") or []
    return [
        _logprob(one) | {"top_logprobs": [_logprob(other) for other in one["top_logprobs"] or ()]}
        for one in given
    ]


def shown_logprobs(logprobs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return log probabilities of output text in the form of events."""
    return [
        {
            "token": one["token"],
            "logprob": one["logprob"],
            "top_logprobs": [
                {"token": other["token"], "logprob": other["logprob"]}
                for other in one["top_logprobs"]
            ],
        }
        for one in logprobs
    ]


def _logprob(given: Mapping[str, Any]) -> dict[str, Any]:
    read = given.get("bytes")
    return {
        "token": given["token"],
        "logprob": given["logprob"],
        "bytes": list(given["token"].encode()) if read is None else read,
    }
