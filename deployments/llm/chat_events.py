"""The events of a streamed chat, straight from what vLLM's engine returns.

vLLM's own generator makes a pydantic model of each token and writes it as JSON, which costs as much
as all else that the token takes in this process. It is used only for answers that have more than
text, reasoning, tool calls and usage.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

from deployments.answer_events import AnswerEvent, Opening, Piece, TokenUsage
from deployments.llm.output_hold import parts_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence

    from deployments.llm.output_hold import Part

_ONLY_VLLM_HAS = ("logprobs", "echo", "return_token_ids", "return_prompt_text", "use_beam_search")
"""Fields of a request for more in its answer than events have."""


class ChatEvents:
    """Replaces `chat_completion_stream_generator` of one of vLLM's serving layers."""

    def __init__(self, serving: Any) -> None:  # noqa: ANN401 - vLLM's types are not importable here
        self._serving = serving
        self._blocks: Callable[..., AsyncGenerator[str, None]] = (
            serving.chat_completion_stream_generator
        )
        self._plain = not (
            serving.enable_log_outputs
            or serving.enable_per_request_metrics
            or serving.enable_force_include_usage
            or serving.engine_client.vllm_config.speculative_config is not None
        )
        self._parses_tools_only = serving.parser_cls is None or _parses_tools_only(serving)

    def __call__(  # noqa: PLR0913, PLR0917 - vLLM's parameters
        self,
        request: Any,  # noqa: ANN401 - as above
        results: AsyncGenerator[Any, None],
        request_id: str,
        model_name: str,
        conversation: Any,  # noqa: ANN401 - as above
        tokenizer: Any,  # noqa: ANN401 - as above
        metadata: Any,  # noqa: ANN401 - as above
        *,
        chat_template_kwargs: dict[str, Any] | None = None,
        mm_token_counts: Mapping[str, int] | None = None,
    ) -> AsyncGenerator[str | Sequence[AnswerEvent], None]:
        """Return the stream of a request: events or, for some requests, vLLM's blocks."""
        options = request.stream_options
        if (
            not self._plain
            or (request.n or 1) > 1
            or (options and options.continuous_usage_stats)
            or (request.tools and request.parallel_tool_calls is False)
            or any(getattr(request, name) for name in _ONLY_VLLM_HAS)
        ):
            return self._blocks(
                request,
                results,
                request_id,
                model_name,
                conversation,
                tokenizer,
                metadata,
                chat_template_kwargs=chat_template_kwargs,
                mm_token_counts=mm_token_counts,
            )
        parser = None
        if not self._parses_tools_only or (
            self._serving.parser_cls is not None and request.tool_choice != "none"
        ):
            parser = self._serving._make_parser(request, tokenizer, chat_template_kwargs)  # noqa: SLF001
        opening = Opening(
            {
                "id": request_id,
                "object": "chat.completion.chunk",
                "created": int(time.time()),
                "model": model_name,
            }
        )
        return self._events(request, results, opening, parser, mm_token_counts)

    async def _events(
        self,
        request: Any,  # noqa: ANN401 - as above
        results: AsyncGenerator[Any, None],
        opening: Opening,
        parser: Any,  # noqa: ANN401 - as above
        mm_token_counts: Mapping[str, int] | None,
    ) -> AsyncGenerator[Sequence[AnswerEvent], None]:
        fingerprint = self._serving.system_fingerprint
        last = {"system_fingerprint": fingerprint} if fingerprint is not None else None
        with_usage = bool(request.stream_options and request.stream_options.include_usage)
        prompt_tokens = 0
        answer = _Answer(request, parser)
        first: Any = None
        async with contextlib.aclosing(results):
            async for result in results:
                if result.prompt_token_ids is not None:
                    prompt_tokens = len(result.prompt_token_ids)
                events: list[AnswerEvent] = []
                if first is None:
                    first = result
                    role = self._serving.get_chat_request_role(request)
                    events += (opening, Piece("", delta={"role": role}))
                reason = result.outputs[0].finish_reason
                self._serving._raise_if_error(reason, opening.fields["id"])  # noqa: SLF001
                events += answer.pieces(result, chunk=None if with_usage else last)
                yield events
        if with_usage and first is not None:
            completion_tokens = len(answer.token_ids)
            usage: dict[str, Any] = {
                "prompt_tokens": prompt_tokens,
                "total_tokens": prompt_tokens + completion_tokens,
                "completion_tokens": completion_tokens,
            }
            if self._serving._include_reasoning_tokens_details:  # noqa: SLF001
                ids = tuple(answer.token_ids)
                reasoning = parser.count_reasoning_tokens(ids) if parser else 0
                usage["completion_tokens_details"] = {"reasoning_tokens": reasoning}
            if self._serving.enable_prompt_tokens_details:
                usage |= _prompt_details(first, mm_token_counts)
            yield [TokenUsage(usage, last)]


class _Answer:
    """What the model has written of one answer."""

    def __init__(self, request: Any, parser: Any) -> None:  # noqa: ANN401 - as above
        self._request = request
        self._parser = parser
        self._has_tool_calls = False
        self.token_ids: list[int] = []

    def pieces(self, result: Any, chunk: Mapping[str, Any] | None) -> Iterator[Piece]:  # noqa: ANN401 - as above
        """Yield the pieces of a result; `chunk` goes into the last one of the answer."""
        (output,) = result.outputs
        self.token_ids += output.token_ids
        *before, last = parts_of(result)
        for part in before:
            text, delta = self._parsed(part, result, ended=False)
            if text or delta:
                yield Piece(text, delta=delta)
        ended = output.finish_reason is not None
        text, delta = self._parsed(last, result, ended=ended)
        if ended:
            stop = output.stop_reason
            yield Piece(
                text,
                finish_reason=self._finish_reason(output.finish_reason),
                delta=delta,
                choice=None if stop is None else {"stop_reason": stop},
                chunk=chunk,
            )
        elif text or delta:
            yield Piece(text, delta=delta)

    def _parsed(
        self,
        part: Part,
        result: Any,  # noqa: ANN401 - as above
        *,
        ended: bool,
    ) -> tuple[str | None, dict[str, Any] | None]:
        """Return the text, and reasoning and tool calls, in a part."""
        if self._parser is None:
            return part.text, None
        message = self._parser.parse_delta(
            delta_text=part.text,
            delta_token_ids=list(part.token_ids),
            request=self._request,
            prompt_token_ids=result.prompt_token_ids,
            finished=ended,
        )
        if message is None:
            return None, None
        delta = message.model_dump(exclude_unset=True, exclude_none=True, mode="json")
        self._has_tool_calls = self._has_tool_calls or bool(delta.get("tool_calls"))
        return delta.pop("content", None), {n: v for n, v in delta.items() if v} or None

    def _finish_reason(self, reason: str) -> str:
        """As OpenAI: for a tool that the request has named, the reason is that of the text."""
        choice = self._request.tool_choice
        named = choice is not None and not isinstance(choice, str)
        return "tool_calls" if self._has_tool_calls and not named and reason == "stop" else reason


def _prompt_details(first: Any, mm_token_counts: Mapping[str, int] | None) -> dict[str, Any]:  # noqa: ANN401 - as above
    """Return the field of a usage that says what of the prompt was cached."""
    from vllm.entrypoints.openai.chat_completion.serving import _make_prompt_tokens_details

    details = _make_prompt_tokens_details(
        enable_prompt_tokens_details=True,
        num_cached_tokens=first.num_cached_tokens,
        num_cache_creation_tokens=first.num_cache_creation_tokens,
        mm_token_counts=mm_token_counts,
    )
    shown = details.model_dump(exclude_none=True) if details else None
    return {"prompt_tokens_details": shown} if shown else {}


def _parses_tools_only(serving: Any) -> bool:  # noqa: ANN401 - as above
    """Return whether the parser leaves the text alone where there are no tools.

    Some of vLLM's parsers combine reasoning, tools and text, and change it in any case.
    """
    from vllm.parser.abstract_parser import DelegatingParser

    parser = serving.parser_cls(
        serving.renderer.tokenizer,
        None,
        chat_template_kwargs=dict(serving.default_chat_template_kwargs),
        model_config=serving.model_config,
    )
    return (
        all(
            getattr(type(parser), name) is getattr(DelegatingParser, name)
            for name in ("parse_delta", "_extract_tool_calls_streaming")
        )
        and parser.reasoning_parser is None
        and not parser._engine_based  # noqa: SLF001
    )
