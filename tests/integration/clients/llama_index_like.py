"""A conversation with the service through LlamaIndex; tells what came of it as JSON.

Runs in an environment of its own, with nothing of this repository in it.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from loopback import strayed  # before the clients, which it watches

# isort: split
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike


def model(name: str, **more: Any) -> OpenAILike:
    return OpenAILike(
        model=name,
        api_base=os.environ["TEST_URL"],
        api_key=os.environ["TEST_KEY"],
        is_chat_model=True,
        context_window=2048,
        temperature=0.0,
        max_tokens=40,
        max_retries=0,
        timeout=120.0,
        **more,
    )


def main() -> None:
    context = {"context": {"collection": sys.argv[1], "web": False}}
    grounded = model("genserve", additional_kwargs={"extra_body": context})
    bare = model(os.environ["TEST_MODEL"])
    asked = [ChatMessage(role="user", content="What does the lighthouse of Skarn burn?")]
    answer = grounded.chat(asked)
    pieces = [piece.delta or "" for piece in grounded.stream_chat(asked)]
    told = {
        "bare": bare.complete("Name the capital of France.").text,
        "chat": answer.message.content,
        "sources": answer.raw.model_extra["sources"],
        "pieces": len(pieces),
        "streamed": "".join(pieces),
        "completed": grounded.complete("What does the lighthouse of Skarn burn?").text,
        "strayed": strayed,
    }
    print(json.dumps(told))  # noqa: T201 - for the test to read


main()
