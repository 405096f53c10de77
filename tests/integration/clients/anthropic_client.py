"""Anthropic's SDK: messages, streams, tools, token counts, and citations of documents."""

from __future__ import annotations

from anthropic import Anthropic, NotFoundError
from service import CAPITAL, CONTEXT, KEY, MODEL, QUESTION, ROOT, tell

client = Anthropic(base_url=ROOT, api_key=KEY, max_retries=0)
EXACT = {"temperature": 0}  # the SDK has no field for it any more

bare = client.messages.create(
    model=MODEL,
    max_tokens=40,
    extra_body=EXACT,
    system="Answer in one short sentence.",
    messages=[{"role": "user", "content": CAPITAL}],
)
grounded = client.messages.create(
    model="genserve",
    max_tokens=60,
    messages=[{"role": "user", "content": QUESTION}],
    extra_body=CONTEXT | EXACT,
)
kinds = []
with client.messages.stream(
    model="genserve",
    max_tokens=60,
    messages=[{"role": "user", "content": QUESTION}],
    extra_body=CONTEXT | EXACT,
) as stream:
    for event in stream:
        kinds.append(event.type)
    streamed = stream.get_final_message()
counted = client.messages.count_tokens(model=MODEL, messages=[{"role": "user", "content": CAPITAL}])
tools = [
    {
        "name": "weather",
        "description": "The weather in a city.",
        "input_schema": {
            "type": "object",
            "properties": {"city": {"type": "string", "enum": ["Paris", "Oslo"]}},
            "required": ["city"],
        },
    }
]
asked = {"role": "user", "content": "How is the weather in Paris?"}
call = client.messages.create(
    model=MODEL,
    max_tokens=200,
    extra_body=EXACT,
    messages=[asked],
    tools=tools,
    tool_choice={"type": "any"},
)
use = next(block for block in call.content if block.type == "tool_use")
result = {"type": "tool_result", "tool_use_id": use.id, "content": "Sunny, 21 degrees."}
after = client.messages.create(
    model=MODEL,
    max_tokens=60,
    extra_body=EXACT,
    tools=tools,
    messages=[
        asked,
        {"role": "assistant", "content": call.content},
        {"role": "user", "content": [result]},
    ],
)
try:
    client.messages.create(model="claude-9", max_tokens=9, messages=[asked])
except NotFoundError as error:
    unknown = error.body
tell(
    bare=bare.model_dump(),
    grounded=grounded.model_dump(),
    streamed=streamed.model_dump(),
    kinds=kinds,
    counted=counted.input_tokens,
    call=call.model_dump(),
    after=after.model_dump(),
    unknown=unknown,
)
