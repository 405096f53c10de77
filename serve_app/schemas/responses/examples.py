"""Examples of responses for the API reference."""

from __future__ import annotations

from serve_app.schemas.answers import ATTRIBUTION_EXAMPLE, GROUNDING_EXAMPLE, TIMINGS_EXAMPLE
from serve_app.schemas.fields import FILE_ID_EXAMPLE, STORE_ID_EXAMPLE, TIME_EXAMPLE

RESPONSE_ID_EXAMPLE = "resp_" + "7c" * 16
MESSAGE_ID_EXAMPLE = "msg_" + "7c" * 28
RESPONSE_EXAMPLE = {
    "id": RESPONSE_ID_EXAMPLE,
    "object": "response",
    "created_at": TIME_EXAMPLE,
    "completed_at": TIME_EXAMPLE + 1,
    "status": "completed",
    "error": None,
    "incomplete_details": None,
    "model": "genserve",
    "output": [
        {
            "id": "fs_" + "7c" * 28,
            "type": "file_search_call",
            "status": "completed",
            "queries": ["What does the report say about costs?"],
            "results": None,
        },
        {
            "id": MESSAGE_ID_EXAMPLE,
            "type": "message",
            "status": "completed",
            "role": "assistant",
            "content": [
                {
                    "type": "output_text",
                    "text": "Costs fell by 4 % [1].",
                    "annotations": [
                        {
                            "type": "file_citation",
                            "file_id": FILE_ID_EXAMPLE,
                            "filename": "report.pdf",
                            "index": 22,
                            "start_index": 0,
                            "end_index": 22,
                            "page": 3,
                            "source": 1,
                            "strength": 1.0,
                            "corrected": False,
                            "quote": "Costs fell by 4 % to 1.2 million.",
                        }
                    ],
                    "logprobs": [],
                }
            ],
        },
    ],
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "store": True,
    "temperature": 0.2,
    "text": {"format": {"type": "text"}, "verbosity": "medium"},
    "tool_choice": "auto",
    "tools": [{"type": "file_search", "vector_store_ids": [STORE_ID_EXAMPLE]}],
    "top_p": 1.0,
    "truncation": "auto",
    "usage": {
        "input_tokens": 120,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 9,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 129,
    },
    "metadata": {},
    **GROUNDING_EXAMPLE,
    "attributions": [ATTRIBUTION_EXAMPLE],
    "timings": TIMINGS_EXAMPLE,
}
TEXT_EVENT_EXAMPLE = (
    'event: response.output_text.delta\ndata: {"type": "response.output_text.delta", '
    f'"item_id": "{MESSAGE_ID_EXAMPLE}", "output_index": 1, "content_index": 0, '
    '"delta": "Costs", "logprobs": [], "sequence_number": 4}\n\n'
)
