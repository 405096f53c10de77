"""The JSON of errors and token counts of the Messages API, and examples of its answers."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel

from serve_app.schemas.answers import ATTRIBUTION_EXAMPLE, GROUNDING_EXAMPLE, TIMINGS_EXAMPLE
from serve_app.schemas.fields import DOCUMENT_ID_EXAMPLE, example

_CITATION_EXAMPLE = {
    "type": "web_search_result_location",
    "cited_text": "Costs fell by 4 % to 1.2 million.",
    "encrypted_index": "1",
    "title": "Annual report",
    "url": f"/v1/documents/{DOCUMENT_ID_EXAMPLE}/content?version=1#page=3",
    "source_number": 1,
    "start_index": 0,
    "end_index": 22,
    "strength": 1.0,
    "corrected": False,
}
MESSAGE_EXAMPLE: dict[str, Any] = {
    "id": "msg_" + "7c" * 16,
    "type": "message",
    "role": "assistant",
    "model": "genserve",
    "content": [
        {"type": "text", "text": "Costs fell by 4 % [1].", "citations": [_CITATION_EXAMPLE]}
    ],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 120,
        "output_tokens": 9,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "service_tier": "standard",
    },
    **GROUNDING_EXAMPLE,
    "attributions": [ATTRIBUTION_EXAMPLE],
    "timings": TIMINGS_EXAMPLE,
}
MESSAGE_EVENT_EXAMPLE = (
    'event: content_block_delta\ndata: {"type": "content_block_delta", "index": 0, '
    '"delta": {"type": "text_delta", "text": "Costs"}}\n\n'
)


class ErrorDetails(BaseModel):
    """The code of an error, for programs."""

    error_code: str


class ErrorObject(BaseModel):
    """Anthropic's type and the message of an error."""

    type: str
    message: str
    details: ErrorDetails


class MessagesError(BaseModel):
    """An error in Anthropic's form."""

    type: Literal["error"]
    error: ErrorObject
    request_id: str | None


class TokensCount(BaseModel):
    """The tokens of a prompt."""

    model_config = example({"input_tokens": 14})

    input_tokens: int
