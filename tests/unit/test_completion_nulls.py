"""vLLM's null fields leave whole answers; OpenAI's stay."""

from __future__ import annotations

from openai.types import Completion
from openai.types.chat import ChatCompletion

from deployments.llm.completion_nulls import without_nulls

USAGE = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
ANSWER = {"id": "1", "object": "chat.completion", "created": 1, "model": "m"}
OF_VLLM = {"system_fingerprint": None, "service_tier": None, "kv_transfer_params": None}


def test_a_message_has_the_null_fields_of_openai_only() -> None:
    message = {"role": "assistant", "content": None, "audio": None, "reasoning": None}
    choice = {"index": 0, "message": message, "logprobs": None, "stop_reason": None}
    answer = {
        **ANSWER,
        **OF_VLLM,
        "choices": [choice | {"finish_reason": "stop", "token_ids": None}],
        "usage": USAGE | {"prompt_tokens_details": None},
        "prompt_logprobs": None,
    }
    shown = without_nulls(answer)
    assert shown.keys() == {"id", "object", "created", "model", "choices", "usage"}
    expected = {"role": "assistant", "content": None, "refusal": None}
    assert shown["choices"] == [
        {"index": 0, "message": expected, "logprobs": None, "finish_reason": "stop"}
    ]
    assert shown["usage"] == USAGE
    ChatCompletion.model_validate(shown, strict=True)


def test_a_text_completion_keeps_what_it_says() -> None:
    choice = {"index": 0, "text": "x", "logprobs": None, "prompt_token_ids": None}
    choice |= {"finish_reason": "stop", "stop_reason": 7}
    answer = ANSWER | OF_VLLM | {"object": "text_completion"}
    shown = without_nulls(answer | {"choices": [choice], "usage": USAGE})
    del choice["prompt_token_ids"]
    assert shown["choices"] == [choice]
    Completion.model_validate(shown, strict=True)
