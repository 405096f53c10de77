"""Any OpenAI-compatible endpoint as the language model: a hosted API, or a `vllm serve`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from typing import TYPE_CHECKING, Any

from deployments.answer_events import ChunkReader
from deployments.errors import Overloaded, ServiceError, Unavailable
from deployments.llm.completion_nulls import without_nulls
from deployments.llm.request_errors import refusal
from deployments.llm.usage import EngineUsage
from deployments.types import ModelCard

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from pydantic import SecretStr

    from deployments.answer_events import AnswerEvent
    from deployments.settings import LLMSettings

# A low guess, so that an estimated budget errs on the safe side: pieces of words, each digit and
# each sign, as tokenizers of today have them.
_ABOUT_A_TOKEN = re.compile(r"[^\W\d_]{1,3}|[\d_]|[^\w\s]|\s+", re.ASCII)
_BYTES_PER_TOKEN = 3  # of other scripts
_TOO_MANY, _SERVER_ERROR = 429, 500
_CONNECT_TIMEOUT_S = 10.0
_READ_TIMEOUT_S = 120.0  # the longest silence between two pieces of an answer
_ATTEMPTS = 4
_RETRY_TIMEOUT_S = 20.0
# The model's id is another one there, and `cache_salt` is for a vLLM of our own: an endpoint may
# refuse the field.
_NOT_FORWARDED = {"model", "cache_salt"}


class OpenAIEngine:
    """An engine that forwards, backing off on 429 and 5xx before the first token only.

    After the first token a failure is the caller's to see: a repeated request would be a
    second generation, paid for and different.
    """

    def __init__(
        self, settings: LLMSettings, api_key: SecretStr | None, *, attempts: int = _ATTEMPTS
    ) -> None:
        from openai import AsyncOpenAI, Timeout

        self._settings = settings
        self._attempts = attempts
        self._prompt_tokens = self._completion_tokens = 0
        self._client = AsyncOpenAI(
            base_url=settings.base_url,
            api_key=api_key.get_secret_value() if api_key else "none",
            max_retries=0,
            timeout=Timeout(_READ_TIMEOUT_S, connect=_CONNECT_TIMEOUT_S),
        )

    async def chat(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Forward a request and return the endpoint's completion object."""
        return await self._whole(self._client.chat.completions, body)

    def chat_events(self, body: Mapping[str, Any]) -> AsyncGenerator[Sequence[AnswerEvent], None]:
        """Yield the events of the endpoint's answer; closing this closes the connection to it."""
        return self._stream(self._client.chat.completions, body)

    async def complete(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Forward a request to go on with a text."""
        return await self._whole(self._client.completions, body)

    def completion_events(
        self, body: Mapping[str, Any]
    ) -> AsyncGenerator[Sequence[AnswerEvent], None]:
        """Forward a request to go on with a text; as `chat_events`."""
        return self._stream(self._client.completions, body)

    async def _whole(self, resource: Any, body: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ANN401
        answer = await self._with_retries(resource, {**body, "stream": False})
        self._note(answer.usage)
        if not answer.choices:
            msg = "the language model's endpoint answered without any text"
            raise Unavailable(msg)
        return without_nulls(answer.to_dict()) | {"model": self._settings.served_name}

    async def _stream(
        self,
        resource: Any,  # noqa: ANN401
        body: Mapping[str, Any],
    ) -> AsyncGenerator[Sequence[AnswerEvent], None]:
        answer, event = await self._with_retries(resource, {**body, "stream": True})
        if event is None:
            await answer.close()
            msg = "the language model's endpoint ended its answer before it began"
            raise Unavailable(msg)
        reader, usage = ChunkReader(), None
        try:
            with _translated():
                while event is not None:
                    usage = event.usage or usage
                    chunk = event.to_dict(mode="json") | {"model": self._settings.served_name}
                    yield list(reader.events(chunk))
                    event = await anext(answer, None)
        finally:
            await answer.close()
            self._note(usage)

    async def _with_retries(self, resource: Any, body: dict[str, Any]) -> Any:  # noqa: ANN401 - the SDK's types
        import stamina

        with _translated():
            async for attempt in stamina.retry_context(
                on=_wait_or_not,
                attempts=self._attempts,
                timeout=_RETRY_TIMEOUT_S,
            ):
                with attempt:
                    return await self._send(resource, body)
        raise AssertionError  # pragma: no cover - the last attempt returns or raises

    async def _send(self, resource: Any, body: dict[str, Any]) -> Any:  # noqa: ANN401
        named = {name: body[name] for name in ("messages", "prompt", "stream") if name in body}
        answer = await resource.create(
            model=self._settings.model,
            **named,
            extra_body={
                name: value
                for name, value in body.items()
                if name not in _NOT_FORWARDED and name not in named
            },
        )
        if not body["stream"]:
            return answer
        try:
            return answer, await anext(answer, None)
        except BaseException:
            await answer.close()
            raise

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Estimate, erring high: the endpoint's tokenizer is not known here."""
        return await asyncio.to_thread(lambda: [_estimated_tokens(text) for text in texts])

    async def prompt_tokens(self, body: Mapping[str, Any]) -> int:
        """Return an estimate that errs high: the endpoint's chat template is not known."""
        messages, tools = body["messages"], body.get("tools") or ()
        texts = [json.dumps(each, ensure_ascii=False) for each in (*messages, *tools)]
        return sum(await self.count_tokens(texts))

    async def card(self) -> ModelCard:
        """Name the model as clients call it, with the window from the settings."""
        return ModelCard(
            id=self._settings.served_name, context_tokens=self._settings.context_tokens
        )

    def usage(self) -> EngineUsage:
        """Return the tokens that the endpoint reported; in streams it does on request."""
        return EngineUsage(
            prompt_tokens=self._prompt_tokens, completion_tokens=self._completion_tokens
        )

    def _note(self, usage: Any) -> None:  # noqa: ANN401 - the SDK's, or None
        if usage is not None:  # the SDK does not mind what is missing in it
            self._prompt_tokens += usage.prompt_tokens or 0
            self._completion_tokens += usage.completion_tokens or 0

    async def check_health(self) -> None:
        """Always well: another process's trouble is not cured by restarting this one."""

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()


def _estimated_tokens(text: str) -> int:
    others = len(text.encode()) - sum(map(str.isascii, text))
    ascii_text = text.encode("ascii", "ignore").decode()
    return sum(1 for _ in _ABOUT_A_TOKEN.finditer(ascii_text)) - (-others // _BYTES_PER_TOKEN)


def _wait_or_not(error: Exception) -> bool | float:
    """Say whether to try again; as long as the endpoint asks for, if it does."""
    import openai

    if isinstance(error, openai.APIConnectionError):
        return True
    if not isinstance(error, openai.APIStatusError):
        return False
    if error.status_code != _TOO_MANY and error.status_code < _SERVER_ERROR:
        return False
    with contextlib.suppress(KeyError, ValueError):
        return float(error.response.headers["retry-after"])
    return True


class _translated:  # noqa: N801 - used as a function
    """Turn the SDK's errors into ours; never repeat the endpoint's address."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        import openai

        if isinstance(error, openai.APITimeoutError | openai.APIConnectionError):
            msg = "the language model's endpoint does not answer"
            raise Unavailable(msg) from error
        if isinstance(error, openai.RateLimitError):
            msg = "the language model's endpoint is over its rate limit"
            raise Overloaded(msg) from error
        if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
            msg = "the language model's endpoint refused the service's key"
            raise Unavailable(msg) from error
        if isinstance(error, openai.APIStatusError) and error.status_code < _SERVER_ERROR:
            raise refusal(_message(error), error.param) from error
        if isinstance(error, openai.APIError):
            msg = "the language model's endpoint failed"
            raise Unavailable(msg) from error
        if isinstance(error, openai.OpenAIError):
            msg = "the language model's endpoint failed"
            raise ServiceError(msg) from error


def _message(error: Any) -> str:  # noqa: ANN401
    body = error.body
    return str(body.get("message", body)) if isinstance(body, dict) else "request refused"
