"""LlamaIndex: chat, streams and completions (OpenAILike)."""

from __future__ import annotations

from typing import Any

from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike
from service import CAPITAL, CONTEXT, KEY, MODEL, QUESTION, URL, tell


def model(name: str, **more: Any) -> OpenAILike:
    return OpenAILike(
        model=name,
        api_base=URL,
        api_key=KEY,
        is_chat_model=True,
        context_window=2048,
        temperature=0.0,
        max_tokens=40,
        max_retries=0,
        timeout=120.0,
        **more,
    )


grounded = model("genserve", additional_kwargs={"extra_body": CONTEXT})
asked = [ChatMessage(role="user", content=QUESTION)]
answer = grounded.chat(asked)
pieces = [piece.delta or "" for piece in grounded.stream_chat(asked)]
tell(
    bare=model(MODEL).complete(CAPITAL).text,
    chat=answer.message.content,
    sources=answer.raw.model_extra["sources"],
    pieces=len(pieces),
    streamed="".join(pieces),
    completed=grounded.complete(QUESTION).text,
)
