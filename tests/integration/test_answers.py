"""The main job: the bare model, web pages, streams, and stopping."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import psutil
import pytest
from openai.types.chat import ChatCompletionMessageParam

from deployments.text.control_tokens import SEPARATOR
from tests.support.service import PAGE_TIMEOUT_S, Service
from tests.support.smollm2 import SmolLM2
from tests.support.web import Web

# To "What is the capital of France?" the small model's first tokens "The" and "L" are a tenth of a
# nat apart, and which comes first is up to how a processor rounds. Here they are 1.5 apart.
QUESTION: list[ChatCompletionMessageParam] = [
    {"role": "user", "content": "Name the capital of France."}
]
GIB = 2**30
_OTHERS = ("Emb", "Scr", "Par", "Ret", "Ima", "Job")


@pytest.fixture
def client(service: Service) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{service.url}/v1", api_key=service.key, max_retries=0)


def test_the_bare_model_knows_paris(client: openai.OpenAI, service: Service) -> None:
    answer = client.chat.completions.create(
        model=service.model, messages=QUESTION, temperature=0, max_tokens=40
    )
    assert "Paris" in (answer.choices[0].message.content or "")
    assert answer.usage is not None
    assert answer.usage.completion_tokens > 3


def test_the_bare_model_streams(client: openai.OpenAI, service: Service) -> None:
    chunks = list(
        client.chat.completions.create(
            model=service.model, messages=QUESTION, temperature=0, max_tokens=40, stream=True
        )
    )
    assert len(chunks) > 2
    assert "Paris" in "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


def streamed(http: httpx.Client, service: Service, body: dict[str, Any]) -> dict[str, Any]:
    """Return what the chunks of a stream say in all, without logprobs."""
    said: dict[str, Any] = {"text": "", "tools": "", "reasons": [], "roles": [], "usage": None}
    headers = {"authorization": f"Bearer {service.key}"}
    with http.stream("POST", "/v1/chat/completions", json=body, headers=headers) as answer:
        assert answer.status_code == 200, answer.read()
        lines = [line[6:] for line in answer.iter_lines() if line.startswith("data: ")]
    assert lines.pop() == "[DONE]"
    for chunk in map(json.loads, lines):
        said["usage"] = chunk.get("usage") or said["usage"]
        for choice in chunk["choices"]:
            delta = choice["delta"]
            said["text"] += delta.get("content") or ""
            said["roles"] += filter(None, [delta.get("role")])
            said["reasons"] += filter(None, [choice["finish_reason"]])
            for call in delta.get("tool_calls") or ():
                said["tools"] += call["function"].get("name") or ""
                said["tools"] += call["function"].get("arguments") or ""
    return said


@pytest.mark.parametrize(
    "choice", [None, "required", {"type": "function", "function": {"name": "look_up"}}]
)
def test_a_stream_says_what_vllm_itself_streams(
    service: Service, http: httpx.Client, choice: str | dict[str, Any] | None
) -> None:
    """With logprobs, the chunks are vLLM's own."""
    body: dict[str, Any] = {
        "model": service.model,
        "messages": QUESTION,
        "temperature": 0,
        "max_tokens": 40,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if choice:
        schema = {
            "type": "object",
            "properties": {"city": {"enum": ["Paris", "Rome"]}},
            "required": ["city"],
            "additionalProperties": False,
        }
        named = {"name": "look_up", "parameters": schema, "strict": True}
        body |= {"tools": [{"type": "function", "function": named}], "tool_choice": choice}
    said = streamed(http, service, body)
    assert said["tools" if choice else "text"]
    assert said["roles"] == ["assistant"]
    vllms = streamed(http, service, body | {"logprobs": True})
    for one in (said, vllms):  # the second one finds its prompt in the cache
        one["usage"].pop("prompt_tokens_details", None)
    assert said == vllms


def cached_tokens(http: httpx.Client, key: str, path: str, body: dict[str, Any]) -> int:
    answer = http.post(path, json=body, headers={"authorization": f"Bearer {key}"})
    assert answer.status_code == 200, answer.text
    return int((answer.json()["usage"].get("prompt_tokens_details") or {}).get("cached_tokens", 0))


@pytest.mark.parametrize("prompts", [9, pytest.param(30, marks=pytest.mark.long)])
def test_no_prompt_of_one_key_is_cached_for_another(
    service: Service, http: httpx.Client, prompts: int
) -> None:
    """By vLLM's own count, by each way to the model.

    Each key finds its own prompt, so what hides it from the other is only whose key it is.
    """

    def counts(number: int) -> list[int]:
        prompt = (
            f"Story {number} of {prompts}: " + "Once upon a time there was a little river. " * 16
        )
        messages = [{"role": "user", "content": prompt}]
        path = "/v1/completions" if number % 3 == 1 else "/v1/chat/completions"
        body: dict[str, Any] = {"model": service.model, "messages": messages, "max_tokens": 1}
        if number % 3 == 1:
            body = {"model": service.model, "prompt": prompt, "max_tokens": 1}
        elif number % 3 == 2:
            body["model"] = "genserve"
        keys = [service.key, service.others_key] * 2
        return [cached_tokens(http, key, path, body) for key in keys]

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(counts, range(prompts)))
    assert [theirs for _, theirs, *_ in found] == [0] * prompts
    assert all(own > 0 and again > 0 for *_, own, again in found)


def test_a_control_token_in_a_message_is_read_as_text(service: Service, http: httpx.Client) -> None:
    def prompt_tokens(text: str) -> int:
        body = {
            "model": service.model,
            "max_tokens": 1,
            "messages": [{"role": "user", "content": text}],
        }
        usage = http.post("/v1/chat/completions", json=body).json()["usage"]
        return int(usage["prompt_tokens"])

    tokenizer = SmolLM2()
    outside = tokenizer.count(f"hi<{SEPARATOR}|im_end|>") - tokenizer.count("hi")
    assert outside > 1
    assert prompt_tokens("hi<|im_end|>") - prompt_tokens("hi") == outside


@pytest.mark.parametrize("stream", [False, True])
def test_genserve_answers_the_same_client(client: openai.OpenAI, *, stream: bool) -> None:
    answer = client.chat.completions.create(
        model="genserve", messages=QUESTION, temperature=0, max_tokens=40, stream=stream
    )
    if isinstance(answer, openai.Stream):
        text = "".join(chunk.choices[0].delta.content or "" for chunk in answer)
    else:
        text = answer.choices[0].message.content or ""
    assert "Paris" in text


def test_models_are_listed_and_an_unknown_one_is_refused(
    client: openai.OpenAI, service: Service
) -> None:
    assert [model.id for model in client.models.list()] == [
        "genserve",
        service.model,
        "all-MiniLM-L6-v2",
        "genserve-scenes",
    ]
    with pytest.raises(openai.NotFoundError, match="there is no model `gpt-9`"):
        client.chat.completions.create(model="gpt-9", messages=QUESTION)


def test_pages_are_read_at_once_and_failures_are_told(http: httpx.Client, web: Web) -> None:
    urls = [web.url(path) for path in ("/good", "/hangs", "/missing")]
    prompt = f"When was the lighthouse lit? Read {' and '.join(urls)}"
    began = time.monotonic()
    answer = http.post("/generate/text", json={"prompt": prompt, "max_tokens": 30}).json()
    took = time.monotonic() - began
    assert [source["uri"] for source in answer["sources"]] == [urls[0]]
    assert "1847" in answer["sources"][0]["text"]
    assert answer["sources"][0]["title"] == "The lighthouse of Arvik"
    assert {(w["code"], w["url"]) for w in answer["warnings"]} == {
        ("page_timeout", urls[1]),
        ("page_http_error", urls[2]),
    }
    # The slowest page allowed, not the sum; what the model then takes is its own.
    assert answer["timings"]["context_s"] < PAGE_TIMEOUT_S + 1
    assert took - answer["timings"]["total_s"] < 2


def test_an_address_that_was_not_opened_is_never_dialled(http: httpx.Client) -> None:
    prompt = "Read http://169.254.169.254/latest/meta-data and http://[::1]:80/"
    answer = http.post("/generate/text", json={"prompt": prompt, "max_tokens": 5}).json()
    assert {warning["code"] for warning in answer["warnings"]} == {"page_blocked"}
    assert answer["sources"] == []


def test_a_stream_gives_sources_before_the_first_token(http: httpx.Client, web: Web) -> None:
    body = {"prompt": f"Who was the last keeper? {web.url('/good')}", "stream": True}
    seen: list[tuple[str, dict[str, Any]]] = []
    with http.stream("POST", "/generate/text", json=body | {"max_tokens": 40}) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        name = ""
        for line in answer.iter_lines():
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                seen.append((name, json.loads(line.removeprefix("data: "))))
    names = [name for name, _ in seen]
    assert names[0] == "sources"
    assert names[1] == "token"
    assert names[-1] == "done"
    assert len(names) > 4  # tokens came one after another, not as one
    done: dict[str, Any] = seen[-1][1]
    assert done["usage"]["completion_tokens"] > 1
    assert "first_token_s" in done["timings"]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("model", ["bare", "genserve"])
def test_a_client_that_leaves_stops_the_generation(
    http: httpx.Client, service: Service, model: str, *, stream: bool
) -> None:
    body = {
        "model": service.model if model == "bare" else model,
        "messages": [{"role": "user", "content": "Tell a very long story."}],
        "max_tokens": 2000,
        "ignore_eos": True,
        "stream": stream,
    }
    wait_for_running(http, 0)
    with httpx.Client(base_url=service.url, headers=service.headers) as leaving:
        if stream:
            with leaving.stream("POST", "/v1/chat/completions", json=body) as answer:
                lines = answer.iter_lines()  # kept: forgotten, it would close the connection
                assert next(lines).startswith("data: ")
                wait_for_running(http, 1)
        else:
            with pytest.raises(httpx.ReadTimeout):
                leaving.post("/v1/chat/completions", json=body, timeout=2)
    wait_for_running(http, 0)


def wait_for_running(http: httpx.Client, count: int) -> None:
    """Of the bound, a second is the service's; the rest is for a busy machine."""
    began = time.monotonic()
    while running(http) != count:
        assert time.monotonic() - began < 5, f"never {count} at work"
        time.sleep(0.05)


def running(http: httpx.Client) -> int:
    state = http.get("/readyz").json()["deployments"]["llm"]
    count: int = state["running_requests"] + state["waiting_requests"]
    return count


def test_more_than_fits_is_refused_early_and_the_rest_is_served(service: Service) -> None:
    # Half of 32 answers and of 96 waiting ones is the share of one of two keys.
    async def ask(client: httpx.AsyncClient) -> httpx.Response:
        body = {"model": service.model, "messages": QUESTION, "max_tokens": 24, "ignore_eos": True}
        return await client.post("/v1/chat/completions", json=body)

    async def crowd() -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(
            base_url=service.url, headers=service.headers, timeout=120, limits=limits
        ) as client:
            return await asyncio.gather(*(ask(client) for _ in range(200)))

    answers = asyncio.run(crowd())
    statuses = {answer.status_code for answer in answers}
    assert statuses == {200, 429}
    refused = [answer for answer in answers if answer.status_code == 429]
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    assert all("error" in answer.json() for answer in refused)
    assert len(answers) - len(refused) >= 64


def test_memory_at_rest(service: Service) -> None:
    total = 0
    for process in service.processes():
        with contextlib.suppress(psutil.NoSuchProcess):
            total += process.memory_info().rss
    assert total < 9 * GIB


def test_the_model_computes_before_whatever_else_needs_a_core(service: Service) -> None:
    nice = {}
    for process in service.processes():
        with contextlib.suppress(psutil.NoSuchProcess):
            nice[process.name()] = process.nice()

    def of(*beginnings: str) -> list[int]:
        return [priority for name, priority in nice.items() if name.startswith(beginnings)]

    (model,) = of("VLLM::")  # one process schedules and computes: two would spin for each other
    replicas = (f"ray::ServeReplica:genserve:{name}" for name in ("Ing", "LLM"))
    waiting = of("ray::ProxyActor", *replicas)
    assert waiting == [model] * 3  # they need little, and users wait for them
    others = of(*(f"ray::ServeReplica:genserve:{name}" for name in _OTHERS))
    assert len(others) == len(_OTHERS)
    assert min(others) > model
