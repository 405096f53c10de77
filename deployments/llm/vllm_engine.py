"""vLLM in process: its engine, and its own OpenAI serving layer on top."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import secrets
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from loguru import logger

from deployments.answer_events import ChunkReader
from deployments.errors import InvalidRequest, ServiceError, Unavailable
from deployments.llm.chat_events import ChatEvents
from deployments.llm.completion_nulls import without_nulls
from deployments.llm.cpu_worker import CpuWorker
from deployments.llm.grammars.bounds import Constraint, constraints_of
from deployments.llm.grammars.judge import GrammarJudge, JudgeProcess
from deployments.llm.grammars.supported import check_supported
from deployments.llm.grammars.tools import tool_constraints
from deployments.llm.grammars.vocabulary import serialized_vocabulary
from deployments.llm.output_hold import Spacing
from deployments.llm.outside_text import OutsideText
from deployments.llm.prompt_length import check_prompt_length, is_long
from deployments.llm.request_errors import (
    ADMISSION,
    DEAD,
    STALLED,
    Admission,
    from_exception,
    from_response,
)
from deployments.llm.usage import EngineUsage
from deployments.llm.vllm_logs import quote_no_requests
from deployments.observability.tracing import LongSpan
from deployments.types import ModelCard

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence

    from deployments.answer_events import AnswerEvent

_ERROR = 'data: {"error"'
_NO_PROMPT = {"response_format"}
"""Fields that are not part of a prompt; vLLM might compile `response_format`."""
_STALL_TIMEOUT_S = 120.0
# Of vLLM's registry, in the order of EngineUsage.
_READ = (
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
    "vllm:prompt_tokens_total",
    "vllm:generation_tokens_total",
)


async def _no_prompt(_request: Any) -> Any:  # noqa: ANN401 - as vLLM's
    raise NotImplementedError


class _Surface(NamedTuple):
    """One of vLLM's serving layers: how its requests are read, and what answers them.

    `prepare` changes a body before it is read. `tools` returns what vLLM compiles for the tools of
    a request. `render` returns the prompt of a chat.
    """

    request: Callable[..., Any]
    answer: Callable[[Any, None], Awaitable[Any]]
    prepare: Callable[[Mapping[str, Any]], dict[str, Any]] = dict
    tools: Callable[[Any], list[Constraint]] = lambda _: []
    render: Callable[[Any], Awaitable[Any]] = _no_prompt


class VllmEngine:
    """The engine over `AsyncLLM` and vLLM's chat and completion serving layers.

    Tools, structured output, log probabilities, `n` and `stop` are therefore vLLM's own. Control
    tokens in the messages of a chat are neutralised; the prompt of a text completion is the
    caller's own raw text.
    """

    def __init__(  # noqa: PLR0913 - the parts that `start` makes
        self,
        engine: Any,  # noqa: ANN401 - vLLM's types are not importable here
        chat: _Surface,
        completions: _Surface,
        outside: OutsideText,
        served_name: str,
        *,
        judge: GrammarJudge,
    ) -> None:
        self._engine = engine
        self._chat = chat
        self._completions = completions
        self._outside = outside
        # The cache ends with the engine, so that nothing else ever needs the secret.
        self._secret = secrets.token_bytes(_SECRET_BYTES)
        self._served_name = served_name
        self._judge = judge
        self._spacing = Spacing()
        self._window: int = engine.model_config.max_model_len

    @classmethod
    async def start(
        cls,
        model: str,
        served_name: str,
        engine_args: Mapping[str, Any],
    ) -> Self:
        """Load the model; takes from seconds to minutes. `engine_args` are vLLM's, by name."""
        from starlette.datastructures import State
        from vllm import envs
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.entrypoints.launchers.api_server.app_state import init_app_state
        from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
        from vllm.entrypoints.openai.completion.protocol import CompletionRequest
        from vllm.renderers.chat_utils import load_chat_template
        from vllm.v1.structured_output.backend_xgrammar import (
            has_xgrammar_unsupported_json_features,
        )

        from deployments.llm.async_engine import AsyncEngine
        from deployments.llm.cpu_executor import openmp_environment
        from deployments.llm.engine_arguments import CPU_WORKER, parsed_arguments

        quote_no_requests()
        args = parsed_arguments(model, served_name, engine_args)
        config = AsyncEngineArgs.from_cli_args(args).create_engine_config()
        with openmp_environment(config):
            engine = AsyncEngine.from_vllm_config(config, disable_log_stats=args.disable_log_stats)
        if args.worker_extension_cls == CPU_WORKER:  # `engine_args` may name another
            await engine.collective_rpc(CpuWorker.return_memory.__name__)
        state = State()
        await init_app_state(engine, state, args, await engine.get_supported_tasks())
        chat, completion = state.openai_serving_chat, state.openai_serving_completion
        chat.chat_completion_stream_generator = ChatEvents(chat)
        tokenizer = engine.get_tokenizer()
        template = load_chat_template(args.chat_template) or ""
        outside = OutsideText.of(tokenizer, template + _own_template(tokenizer))
        vocabulary = await asyncio.to_thread(
            serialized_vocabulary, tokenizer, config.model_config.get_vocab_size()
        )

        def parser(request: ChatCompletionRequest) -> Any:  # noqa: ANN401 - vLLM's type
            return chat.parser_cls(
                tokenizer,
                request.tools,
                model_config=config.model_config,
                chat_template_kwargs=dict(chat.default_chat_template_kwargs),
            )

        def tools(request: ChatCompletionRequest) -> list[Constraint]:
            return tool_constraints(request, parser) if chat.parser_cls else []

        self = cls(
            engine,
            _Surface(
                ChatCompletionRequest,
                chat.create_chat_completion,
                outside.request,
                tools,
                chat.render_chat_request,
            ),
            _Surface(CompletionRequest, completion.create_completion),
            outside,
            served_name,
            judge=GrammarJudge(JudgeProcess(vocabulary), has_xgrammar_unsupported_json_features),
        )
        if config.structured_outputs_config.backend == "auto":
            await self._choose_xgrammar()
        envs.enable_envs_cache()  # vLLM reads its variables at each step
        return self

    async def _choose_xgrammar(self) -> None:
        """Send a request that xgrammar compiles.

        vLLM's `auto` takes the library that fits the first request for all requests after it, so
        a caller could choose it for everybody, and grammars would cost other than was judged.
        """
        body = {
            "model": self._served_name,
            "messages": [{"role": "user", "content": "yes?"}],
            "max_tokens": 1,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": {"type": "boolean"}},
            },
        }
        try:
            await self.chat(body)
        except InvalidRequest:  # such as a model without a chat template
            logger.warning("the language model has no structured output")

    async def chat(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Answer whole; cancelling the call stops the generation."""
        return await self._whole(self._chat, body)

    def chat_events(self, body: Mapping[str, Any]) -> AsyncGenerator[Sequence[AnswerEvent], None]:
        """Yield the events of an answer, at least one at a time.

        Closing the generator aborts the request.
        """
        return self._stream(self._chat, body)

    async def complete(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Go on with a text; as `chat`."""
        return await self._whole(self._completions, body)

    def completion_events(
        self, body: Mapping[str, Any]
    ) -> AsyncGenerator[Sequence[AnswerEvent], None]:
        """Go on with a text; as `chat_events`."""
        return self._stream(self._completions, body)

    async def _whole(self, surface: _Surface, body: Mapping[str, Any]) -> dict[str, Any]:
        answer = await self._answer(surface, {**body, "stream": False})
        return without_nulls(answer.model_dump(mode="json"))

    async def _stream(
        self, surface: _Surface, body: Mapping[str, Any]
    ) -> AsyncGenerator[Sequence[AnswerEvent], None]:
        parts = await self._answer(surface, {**body, "stream": True})
        prefill = LongSpan("prefill")  # with the queue before it
        with contextlib.ExitStack() as ending:
            ending.callback(prefill.end)
            admission = ADMISSION.get() or Admission()
            reader = ChunkReader()
            async with contextlib.aclosing(parts):
                begun = False
                try:
                    async for part in parts:
                        events = list(_events_in(part, reader)) if isinstance(part, str) else part
                        if not events:
                            continue
                        if not begun:
                            begun = True
                            prefill.end()
                            ending.enter_context(self._spacing.stream())
                        if not isinstance(part, str):  # vLLM makes one block of what it merges
                            for hold in admission.holds:
                                hold.begin(self._spacing)
                        yield events
                except Exception as error:  # noqa: BLE001 - all are told apart there
                    # The engine accepts a request, or refuses it, when its stream is first read.
                    refusal = from_exception(error, admission)
                    raise refusal from _cause(refusal, error)
        if not begun:
            raise Unavailable(_EMPTY)

    async def _answer(self, surface: _Surface, body: dict[str, Any]) -> Any:  # noqa: ANN401
        from vllm.entrypoints.serve.engine.protocol import ErrorResponse

        await check_prompt_length(body, self._window, self.count_tokens)
        prepare = surface.prepare
        body = await asyncio.to_thread(prepare, body) if is_long(body) else prepare(body)
        size = await self._judge.check(body)
        constrained = size.values > 0
        if constrained:
            await asyncio.to_thread(check_supported, constraints_of(body))
        caller = str(body.get("cache_salt", ""))
        if "cache_salt" in body:
            body["cache_salt"] = self._salt(body["cache_salt"])
        admission = Admission()
        ADMISSION.set(admission)
        try:
            request = (
                await asyncio.to_thread(surface.request, **body)
                if constrained  # validates structural tags
                else surface.request(**body)
            )
            if body.get("tools") and not size.cheap:
                compiled = await asyncio.to_thread(surface.tools, request)
                await asyncio.to_thread(check_supported, compiled)
                await self._judge.check_tools(compiled, caller)
            answer = await surface.answer(request, None)
        except Exception as error:  # noqa: BLE001 - all are told apart there
            refusal = from_exception(error, admission)
            raise refusal from _cause(refusal, error)
        if isinstance(answer, ErrorResponse):
            raise from_response(answer.error.model_dump())
        return answer

    def _salt(self, owner: str) -> str:
        """Return the salt of an owner's prompts in vLLM's prefix cache.

        With one salt for all, the time to the first token tells one caller what another asked.
        """
        return hmac.new(self._secret, owner.encode(), hashlib.sha256).hexdigest()

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Count by the model's own tokenizer, off the event loop, as in a message of a chat."""
        return await asyncio.to_thread(self._outside.count_tokens, texts) if texts else []

    async def prompt_tokens(self, body: Mapping[str, Any]) -> int:
        """Count the tokens of a chat's prompt, as vLLM renders it by the chat template."""
        from vllm.entrypoints.serve.engine.protocol import ErrorResponse

        await check_prompt_length(body, self._window, self.count_tokens)
        prepare = self._chat.prepare
        given = {name: value for name, value in body.items() if name not in _NO_PROMPT}
        body = await asyncio.to_thread(prepare, given) if is_long(given) else prepare(given)
        try:
            rendered = await self._chat.render(self._chat.request(**body))
        except Exception as error:  # noqa: BLE001 - all are told apart there
            refusal = from_exception(error, Admission())
            raise refusal from _cause(refusal, error)
        if isinstance(rendered, ErrorResponse):
            raise from_response(rendered.error.model_dump())
        _, prompts = rendered
        return sum(len(prompt["prompt_token_ids"]) for prompt in prompts)

    async def card(self) -> ModelCard:
        """Name, window and the gauges of vLLM's scheduler."""
        now = self.usage()
        return ModelCard(
            id=self._served_name,
            context_tokens=self._window,
            running_requests=now.running if now else None,
            waiting_requests=now.waiting if now else None,
        )

    def usage(self) -> EngineUsage | None:
        """Return what vLLM counts itself; None if its `disable_log_stats` is set."""
        from prometheus_client import REGISTRY

        sums = dict.fromkeys(_READ, 0)
        known = False
        for family in REGISTRY.restricted_registry(_READ).collect():
            for sample in family.samples:
                known = True
                sums[sample.name] += int(sample.value)
        return EngineUsage(*sums.values()) if known else None

    async def check_health(self) -> None:
        """Raise once the engine process is gone, or has done nothing for its requests for long.

        Costs nothing, whatever the load.
        """
        from vllm.v1.engine.exceptions import EngineDeadError

        try:
            await self._engine.check_health()
        except EngineDeadError:
            # Not as it is: the ingress, which would unpickle it, has no business importing vLLM.
            raise Unavailable(DEAD) from None
        if (stalled_s := self._engine.stalled_s()) > _STALL_TIMEOUT_S:
            msg = f"{STALLED} for {stalled_s:.0f} s"
            raise Unavailable(msg)

    async def close(self) -> None:
        """Stop the engine process and the one that compiles grammars."""
        await self._judge.close()
        await asyncio.to_thread(self._engine.shutdown)


def _cause(refusal: ServiceError, error: Exception) -> Exception | None:
    """Return what Serve may log as the cause: the exception of a bad request may quote it."""
    return None if isinstance(refusal, InvalidRequest) or refusal is error else error


def _events_in(block: str, reader: ChunkReader) -> Iterator[AnswerEvent]:
    """Yield the events of one of vLLM's blocks; raise the error that it is."""
    if block.startswith(_ERROR):
        # vLLM has no exceptions once it streams; the first event's decides the status.
        raise from_response(json.loads(block[len("data: ") :])["error"])
    yield from reader.events_in(block)


def _own_template(tokenizer: Any) -> str:  # noqa: ANN401
    """Return the chat templates that come with the model, as one text."""
    own = getattr(tokenizer, "chat_template", None) or ""
    return own if isinstance(own, str) else "\n".join(map(str, own.values()))


_SECRET_BYTES = 32
_EMPTY = "the language model ended its answer before it began"
