"""Neutralise the model's control tokens in the messages and tools of a chat request.

vLLM renders the chat template into one text and tokenizes all of it, so a control token in a
message would work like one of the template. vLLM cannot tokenize messages separately with
`split_special_tokens`; this module inserts an invisible character into each control token instead.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Self

from loguru import logger

from deployments.errors import InvalidRequest
from deployments.text.control_tokens import SEPARATOR, ControlTokens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

_WORD_JOINER = "\u2060"
_MIDDLE_DOT = "\u00b7"  # visible, for a tokenizer that drops invisible characters


class OutsideText:
    """Rewrites the parts of a request that the caller chose.

    Special tokens are neutralised everywhere. The tokens that are not special but written by the
    chat template, such as `<tool_call>`, stay in messages of the assistant: the model writes them
    itself, and templates look for them there (`</think>`).
    """

    def __init__(
        self,
        tokenizer: Any,  # noqa: ANN401 - transformers' type
        special: ControlTokens,
        written: ControlTokens,
    ) -> None:
        """Set the special tokens, and the union of them and the tokens of the template."""
        self._tokenizer = tokenizer
        self._special = special
        self._written = written

    @classmethod
    def of(cls, tokenizer: Any, template: str) -> Self:  # noqa: ANN401
        """Read the control tokens of a Hugging Face tokenizer and of its chat template."""
        added = list(getattr(tokenizer, "added_tokens_decoder", {}).items())
        special = {str(token) for _, token in added if token.special}
        special.update(map(str, getattr(tokenizer, "all_special_tokens", ())))
        written = {str(token) for _, token in added if str(token) in template}
        ids = {number for number, token in added if str(token) in special | written}
        ids.update(getattr(tokenizer, "all_special_ids", ()))
        for separator in (SEPARATOR, _WORD_JOINER, _MIDDLE_DOT):
            every = ControlTokens(special | written, separator)
            texts = [every.neutral(token) for token in every]
            encoded = _encoded(tokenizer, texts)
            if ids.isdisjoint(number for numbers in encoded for number in numbers):
                break
        else:
            logger.warning(
                "some control tokens in messages cannot be neutralised for this tokenizer"
            )
        return cls(tokenizer, ControlTokens(special, separator), every)

    def neutral(self, text: str) -> str:
        """Return a text without control tokens."""
        return self._written.neutral(text)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Count the tokens of each text in a message, without special tokens."""
        neutral = list(map(self.neutral, texts))
        backend = getattr(self._tokenizer, "backend_tokenizer", None)
        if backend is None or not neutral:
            return [len(ids) for ids in _encoded(self._tokenizer, neutral)]
        # Faster: it releases the GIL and makes no Python list of the tokens.
        return [len(each) for each in backend.encode_batch(neutral, add_special_tokens=False)]

    def request(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return a chat request whose messages, tools and tool choice have no control tokens.

        Raises InvalidRequest for values that are nested too deeply.
        """
        changed = dict(body)
        try:
            changed["messages"] = [self._message(message) for message in body["messages"]]
            for name in ("tools", "tool_choice"):
                if name in body:
                    changed[name] = _mapped(body[name], self.neutral)
        except RecursionError:
            msg = (
                "the messages or tools are nested too deeply; "
                "send fewer levels of lists and objects"
            )
            raise InvalidRequest(msg, param="messages") from None
        return changed

    def _message(self, message: Mapping[str, Any]) -> dict[str, Any]:
        tokens = self._special if message["role"] == "assistant" else self._written
        joined = {**message, "content": _joined(message.get("content"))}
        result: dict[str, Any] = _mapped(joined, tokens.neutral)
        for call in result.get("tool_calls") or ():
            function = call.get("function") if isinstance(call, dict) else None
            if isinstance(function, dict) and isinstance(function.get("arguments"), str):
                function["arguments"] = _arguments(function["arguments"], tokens.neutral)
        return result


def _encoded(tokenizer: Any, texts: Iterable[str]) -> list[list[int]]:  # noqa: ANN401
    given = list(texts)
    if not given:
        return []
    ids: list[list[int]] = tokenizer(given, add_special_tokens=False)["input_ids"]
    return ids


def _joined(content: Any) -> Any:  # noqa: ANN401 - any JSON
    """Join text parts by newlines as vLLM does; some templates would join them without."""
    if isinstance(content, list) and all(part.get("type") == "text" for part in content):
        return "\n".join(part["text"] for part in content)
    return content


def _arguments(text: str, neutral: Callable[[str], str]) -> str:
    """Rewrite the strings inside a JSON text, where escapes could hide a control token."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return json.dumps(_mapped(value, neutral), ensure_ascii=False)


def _mapped(value: Any, neutral: Callable[[str], str]) -> Any:  # noqa: ANN401 - any JSON
    """Rewrite every string of a JSON value, names of fields included."""
    if isinstance(value, str):
        return neutral(value)
    if isinstance(value, list):
        return [_mapped(item, neutral) for item in value]
    if isinstance(value, dict):
        return {neutral(name): _mapped(item, neutral) for name, item in value.items()}
    return value
