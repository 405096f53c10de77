"""Every field of Anthropic's request types: accepted, or refused with 400 and a true sentence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from anthropic.types import (
    AssistantMessageParam,
    UserMessageParam,
    message_count_tokens_params,
    message_create_params,
)
from anthropic.types.beta import message_create_params as beta_create_params
from anthropic.types.shared import ErrorResponse

from serve_app.testing import MODEL, Fakes
from tests.support.openai_fields import Single, single_fields

pytestmark = pytest.mark.anyio
SAY = [{"role": "user", "content": "x"}]
HOSTED, BUILT_IN, TEXT_ONLY = "Anthropic's service", "Anthropic's models", "text only"
REFUSALS: dict[str, tuple[str, ...]] = {
    "messages": (
        *(HOSTED, TEXT_ONLY, "not read whole", "no blocks of the type", "role `user`"),
        *("content: this field is required", "source: must be an object"),  # beyond the depth
    ),
    "tools": (HOSTED, BUILT_IN, "runs no code", "user's last message are read"),
    "container": ("no containers",),
    "inference_geo": ("no regions",),
    "mcp_servers": ("no MCP servers",),
    "thread": ("no threads",),
    "compaction": ("does not summarize",),
    "output_config": ("budget of a task",),
}
ELSEWHERE = {"model", "user_profile_id", "workspace_id", "betas"}  # headers; Anthropic's own models
ROUTES: list[tuple[str, str, type[Any]]] = [
    ("/v1/messages", MODEL, message_create_params.MessageCreateParamsNonStreaming),
    ("/v1/messages?beta=true", "genserve", beta_create_params.MessageCreateParamsNonStreaming),
    ("/v1/messages/count_tokens", MODEL, message_count_tokens_params.MessageCountTokensParams),
]


def fields_of(request_type: type[Any]) -> Iterator[Single]:
    """Each field of a request, and each kind of content block in a message of each role."""
    for single in single_fields(request_type):
        if single.field not in ELSEWHERE and single.value != []:
            yield single
    for role, message_type in (("user", UserMessageParam), ("assistant", AssistantMessageParam)):
        for single in single_fields(message_type):
            if single.field == "content":
                message = {"role": role, "content": single.value}
                yield Single("messages", [*SAY, message, *SAY])


@pytest.mark.parametrize(("path", "model", "request_type"), ROUTES)
async def test_every_field_is_accepted_or_refused_with_a_reason(
    path: str, model: str, request_type: type[Any]
) -> None:
    accepted = set()
    body: dict[str, Any] = {"model": model, "messages": SAY}
    body |= {} if "count" in path else {"max_tokens": 8}
    async with Fakes().client() as http:
        for single in fields_of(request_type):
            answer = await http.post(path, json=body | {single.field: single.value})
            if answer.is_success:
                accepted.add(single.field)
                continue
            error = ErrorResponse.model_validate(answer.json()).error
            assert answer.status_code == 400, (single, error)
            assert error.type == "invalid_request_error"
            fragments = REFUSALS.get(single.field, ())
            assert any(fragment in error.message for fragment in fragments), (single, error)
    assert accepted >= {"messages", "system", "thinking", "tool_choice", "tools", "output_config"}
