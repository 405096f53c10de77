"""Refusal of prompts far over the model's window, without encoding all of them.

vLLM encodes a prompt whole before it compares its length, and makes the tokens into Python's
numbers: a million of them hold the event loop for 0.3 s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deployments.errors import CONTEXT_LENGTH_EXCEEDED, InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

_SURELY_QUICK_CHARS = 32_000
_SLICE_CHARS = 16_000
_TIMES_THE_WINDOW = 2  # a text in slices has a few tokens more than the whole


async def check_prompt_length(
    body: Mapping[str, Any],
    window: int,
    count_tokens: Callable[[Sequence[str]], Awaitable[list[int]]],
) -> None:
    """Raise InvalidRequest for a prompt of more than twice the window, counting no further."""
    bound = _TIMES_THE_WINDOW * window
    for param, texts in _prompts(body):
        tokens = 0
        for part in _slices(texts):
            (found,) = await count_tokens([part])
            tokens += found
            if tokens > bound:
                # Clients recognise this error by its words.
                msg = (
                    f"This model's maximum context length is {window} tokens, and the prompt has "
                    f"more than {bound}."
                )
                raise InvalidRequest(msg, code=CONTEXT_LENGTH_EXCEEDED, param=param)


def _prompts(body: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """Return the field and the texts of each prompt; prompts of token ids are left out."""
    if "prompt" in body:
        given = body["prompt"]
        prompts = [given] if isinstance(given, str) else given
        return [("prompt", [prompt]) for prompt in prompts if isinstance(prompt, str)]
    written = [body.get("messages", ()), body.get("tools") or ()]  # whatever a template writes
    return [("messages", list(_strings(written)))]


def is_long(body: Mapping[str, Any]) -> bool:
    """Return whether it takes long to rewrite all texts of a request."""
    return any(_slices(texts) for _, texts in _prompts(body))


def _strings(value: Any) -> Iterator[str]:  # noqa: ANN401 - any JSON
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, dict):
            waiting += (*one, *one.values())
        elif isinstance(one, list | tuple):
            waiting += one


def _slices(texts: list[str]) -> list[str]:
    if sum(map(len, texts)) <= _SURELY_QUICK_CHARS:
        return []
    return [
        text[start : start + _SLICE_CHARS]
        for text in texts
        for start in range(0, len(text), _SLICE_CHARS)
    ]
