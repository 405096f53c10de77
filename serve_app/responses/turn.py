"""Translate a request to a question, or to a body for the bare model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from deployments.errors import InvalidRequest
from serve_app.answering.engine_fields import function_tool
from serve_app.answering.grounding import Question
from serve_app.http.bounds import max_top_k
from serve_app.responses.output import Shown
from serve_app.responses.tool_choice import check_switched_on, usable_tools
from serve_app.schemas.responses.request import (
    FILE_SEARCH_RESULTS,
    LOGPROBS,
    JsonSchemaFormat,
    PromptRequest,
    ReasoningOptions,
    ResponseRequest,
)
from serve_app.schemas.responses.tools import FunctionTool
from serve_app.settings import ANSWERING_MODEL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from serve_app.responses.interfaces import Item
    from serve_app.responses.items import ChatMessage
    from serve_app.responses.tool_choice import UsableTools
    from serve_app.schemas.responses.tools import FileSearchTool, NamespaceTool, WebSearchTool
    from serve_app.settings import AppSettings

_SAMPLING = (
    *("temperature", "top_p", "presence_penalty", "frequency_penalty", "top_k", "min_p"),
    *("repetition_penalty", "min_tokens", "stop", "seed", "ignore_eos", "logit_bias"),
)
# The efforts of OpenAI's response type; none has an effect.
_EFFORTS = frozenset({"none", "minimal", "low", "medium", "high", "xhigh", "max"})
_SUMMARIES = frozenset({"auto", "concise", "detailed"})
_DEFAULT_TEMPERATURE = 1.0  # OpenAI's default; the engine's depends on the model


@dataclass(frozen=True, slots=True)
class Turn:
    """One response to generate.

    `response` is the response as it begins, `input_items` the input of this turn. `body` is
    the request to the bare model; if it is None, `Answering` answers `question`.
    """

    response: Mapping[str, Any]
    input_items: Sequence[Item]
    shown: Shown
    question: Question | None = None
    body: Mapping[str, Any] | None = None

    @property
    def is_kept(self) -> bool:
        """Whether the response or its items are stored."""
        return bool(self.response["store"] or self.response["conversation"])


def turn_of(
    request: ResponseRequest,
    messages: Sequence[ChatMessage],
    response: Mapping[str, Any],
    input_items: Sequence[Item],
    settings: AppSettings,
) -> Turn:
    """Return the turn of a request, given all messages of the conversation.

    A request to the bare model becomes a question, too, if it has a hosted tool or if its history
    may be shortened.
    """
    tools = usable_tools(request)
    _check_messages(messages)
    sampling = _sampling(request, tools)
    shown = Shown(
        file_search=tools.file_search is not None,
        web_search=tools.web_search is not None,
        search_results=FILE_SEARCH_RESULTS in request.include,
        namespaces=request.namespaces,
    )
    turn = Turn(response, input_items, shown)
    if not _is_question(request, tools):
        body = {**sampling, "model": settings.llm.served_name, "messages": list(messages)}
        if request.max_output_tokens is not None:
            body["max_tokens"] = request.max_output_tokens
        return replace(turn, body=body)
    if not any(message["role"] == "user" for message in messages):
        msg = "input: at least one message of the role `user` is needed"
        raise InvalidRequest(msg, param="input")
    check_switched_on(tools, settings)
    question = Question.within(
        request.context,
        messages,
        top_k=settings.answer.top_k,
        max_tokens=request.max_output_tokens,
        sampling=sampling,
    )
    question = replace(question, shorten_history=shortens(request))
    if request.model != ANSWERING_MODEL:
        question = replace(question, documents=False, web=False, fill_window=True)
    return replace(turn, question=_with_tools(question, tools, settings))


def prompt_of(
    request: PromptRequest, messages: Sequence[ChatMessage], settings: AppSettings
) -> dict[str, Any]:
    """Return the fields of the engine's request that make the prompt, without sources."""
    _check_messages(messages)
    tools = usable_tools(request)
    check_switched_on(tools, settings)
    model = settings.llm.served_name
    return {**_constraint_fields(request, tools), "model": model, "messages": list(messages)}


def response_of(
    request: ResponseRequest, response_id: str, created_at: int, settings: AppSettings
) -> dict[str, Any]:
    """Return the response as it begins: OpenAI's fields, with the settings of the request."""
    is_question = _is_question(request, usable_tools(request))
    temperature = settings.answer.temperature if is_question else _DEFAULT_TEMPERATURE
    conversation = request.conversation_id
    text = request.text.model_dump(by_alias=True, exclude_none=True) if request.text else {}
    reasoning = request.reasoning or ReasoningOptions()
    return {
        "id": response_id,
        "object": "response",
        "created_at": created_at,
        "completed_at": None,
        "status": "in_progress",
        "background": request.background,
        "error": None,
        "incomplete_details": None,
        "instructions": request.instructions,
        "max_output_tokens": request.max_output_tokens,
        "max_tool_calls": request.max_tool_calls,
        "model": request.model,
        "output": [],
        "parallel_tool_calls": request.parallel_tool_calls,
        "previous_response_id": request.previous_response_id,
        "conversation": None if conversation is None else {"id": conversation},
        "presence_penalty": request.presence_penalty or 0.0,
        "frequency_penalty": request.frequency_penalty or 0.0,
        "prompt_cache_key": request.prompt_cache_key,
        "reasoning": {
            "effort": reasoning.effort if reasoning.effort in _EFFORTS else None,
            "summary": reasoning.summary if reasoning.summary in _SUMMARIES else None,
        },
        "safety_identifier": request.safety_identifier,
        "service_tier": "default",
        "store": request.store,
        "temperature": temperature if request.temperature is None else request.temperature,
        "text": {"format": {"type": "text"}, "verbosity": "medium"} | text,
        "tool_choice": _echoed(request.tool_choice),
        "tools": [_echoed_tool(tool) for tool in request.tools],
        "top_logprobs": request.top_logprobs or 0,
        "top_p": 1.0 if request.top_p is None else request.top_p,
        "truncation": _truncation(request),
        "usage": None,
        "user": request.user,
        "metadata": request.metadata,
    }


def _check_messages(messages: Sequence[ChatMessage]) -> None:
    if not messages:
        msg = "input: at least one message, or the output of a function, is needed"
        raise InvalidRequest(msg, param="input")


def _is_question(request: PromptRequest, tools: UsableTools) -> bool:
    return request.model == ANSWERING_MODEL or tools.has_hosted or request.truncation == "auto"


def _truncation(request: PromptRequest) -> str:
    default = "auto" if request.model == ANSWERING_MODEL else "disabled"
    return request.truncation or default


def shortens(request: PromptRequest) -> bool:
    """Return whether the oldest messages may be left out."""
    return _truncation(request) == "auto"


def _with_tools(question: Question, tools: UsableTools, settings: AppSettings) -> Question:
    """Return a question that also uses the hosted tools."""
    if search := tools.file_search:
        question = replace(
            question,
            documents=True,
            collections=search.vector_store_ids,
            filters=search.filters.parsed() if search.filters else None,
            top_k=min(search.max_num_results or question.top_k, max_top_k(settings)),
            min_score=search.ranking_options.score_threshold if search.ranking_options else 0.0,
        )
    if tools.web_search:
        question = replace(question, web=tools.web_search.external_web_access)
    return question


def _sampling(request: ResponseRequest, tools: UsableTools) -> dict[str, Any]:
    """Return the fields of the engine's request but `model`, `messages` and `max_tokens`."""
    sampling = {name: value for name in _SAMPLING if (value := getattr(request, name)) is not None}
    sampling |= _constraint_fields(request, tools)
    if request.top_logprobs or LOGPROBS in request.include:
        sampling |= {"logprobs": True, "top_logprobs": request.top_logprobs or 0}
    return sampling


def _constraint_fields(request: PromptRequest, tools: UsableTools) -> dict[str, Any]:
    """Return the engine's fields for functions, their choice and the format of the text."""
    constrained: dict[str, Any] = {}
    if tools.functions:
        constrained["tools"] = _function_tools(tools.functions)
        constrained["tool_choice"] = tools.choice
        if not request.parallel_tool_calls:
            constrained["parallel_tool_calls"] = False
    if (form := _response_format(request)) is not None:
        constrained["response_format"] = form
    return constrained


def constraints_of(request: PromptRequest) -> dict[str, Any]:
    """Return the fields of the engine's request that hold schemas."""
    return {
        "response_format": _response_format(request),
        "tools": _function_tools(request.functions),
    }


def _function_tools(tools: Sequence[FunctionTool]) -> list[dict[str, Any]]:
    return [
        function_tool(tool.name, tool.description, tool.parameters, tool.strict) for tool in tools
    ]


def _response_format(request: PromptRequest) -> dict[str, Any] | None:
    form = request.text.format if request.text else None
    if form is None or form.type == "text":
        return None
    if isinstance(form, JsonSchemaFormat):
        schema = form.model_dump(by_alias=True, exclude_none=True, exclude={"type"})
        return {"type": "json_schema", "json_schema": schema}
    return {"type": form.type}


def _echoed(choice: Any) -> Any:  # noqa: ANN401 - a string or one of the schema's models
    return choice if isinstance(choice, str) else choice.model_dump(exclude_none=True)


def _echoed_tool(
    tool: FunctionTool | NamespaceTool | FileSearchTool | WebSearchTool,
) -> dict[str, Any]:
    echoed = tool.model_dump(by_alias=True, exclude_none=True)
    if isinstance(tool, FunctionTool):
        echoed = {"description": None, "parameters": None, "strict": None} | echoed
    return echoed
