"""All other clients, unmodified: each in an environment of its own, against the real service."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.articles import DATA
from tests.support.clients import CLIENTS, EMBEDDER, Clients
from tests.support.processes import free_port
from tests.support.service import Service
from tests.support.tiktoken_files import put_cl100k_base

pytestmark = pytest.mark.clients
FACT = "walrus oil"
QUESTIONS = 20
BENCH = [sys.executable, str(CLIENTS / "vllm_bench.py")]


@pytest.fixture
def default_document(http: httpx.Client) -> Iterator[None]:
    """The fact in the collection that a client searches which names none."""
    content = b"The lighthouse of Skarn burns walrus oil, as it did in 1790."
    made = http.post("/upload", files={"file": ("lighthouse.txt", content)}).json()
    http.get(f"/v1/jobs/{made['job_id']}/events").raise_for_status()  # until the job has ended
    yield
    http.delete(f"/v1/documents/{made['document_id']}").raise_for_status()


def is_place(place: Any) -> bool:
    return place["city"] in {"Paris", "Oslo"} and isinstance(place["is_capital"], bool)


def test_openai_agents(clients: Clients) -> None:
    told = clients.converse("agents_client.py", packages="openai_agents")
    assert FACT in told["found"][0]
    assert told["grounded"].strip()
    assert told["again"].strip()
    assert told["streamed"] == told["grounded"]
    assert told["events"][0] == "response.created"
    assert told["events"][-1] == "response.completed"
    assert "response.output_text.delta" in told["events"]
    assert set(told["asked"]) <= {"Paris", "Oslo"}
    assert told["asked"]
    assert told["forecast"].strip()
    assert is_place(told["place"])
    assert told["usage"] > 50


def test_anthropic(clients: Clients) -> None:
    told = clients.converse("anthropic_client.py", packages="anthropic")
    assert "Paris" in told["bare"]["content"][0]["text"]
    assert told["bare"]["stop_reason"] in {"end_turn", "max_tokens"}
    assert [
        note["cited_text"] for block in told["grounded"]["content"] for note in block["citations"]
    ]
    assert "".join(block["text"] for block in told["streamed"]["content"]) == "".join(
        block["text"] for block in told["grounded"]["content"]
    )
    assert told["kinds"][0] == "message_start"
    assert told["kinds"][-1] == "message_stop"
    assert 5 < told["counted"] < 60
    (use,) = [block for block in told["call"]["content"] if block["type"] == "tool_use"]
    assert use["input"]["city"] in {"Paris", "Oslo"}
    assert told["call"]["stop_reason"] == "tool_use"
    assert told["after"]["content"][0]["text"].strip()
    assert told["unknown"]["error"]["type"] == "not_found_error"


@pytest.mark.parametrize("api", ["compatible", "responses"])
def test_vercel_ai_sdk(clients: Clients, api: str) -> None:
    told = clients.converse("ai_sdk.mjs", api)[api]
    assert "Paris" in told["bare"]
    assert len(told["grounded"]["pieces"]) > 1
    assert told["grounded"]["usage"]["inputTokens"] > 50
    assert told["grounded"]["finish"] in {"stop", "length"}
    assert told["asked"] in (["Paris"], ["Oslo"])
    assert is_place(told["place"])
    assert told["dimensions"] == 384
    if api == "responses":
        assert told["text"].strip()
        assert FACT in told["results"][0]["text"]
        assert [source["filename"] for source in told["sources"]] == ["lighthouse.md"]


def test_langchain(clients: Clients, tmp_path: Path) -> None:
    vocabulary = put_cl100k_base(tmp_path)  # which tiktoken downloads
    told = clients.converse("langchain_client.py", packages="langchain", **vocabulary)
    assert FACT in told["found"]
    assert told["responses"].strip()
    assert len(told["pieces"]) > 1
    assert told["messages"].strip()
    assert told["usage"]["input_tokens"] > 50


def test_llama_index(clients: Clients) -> None:
    told = clients.converse("llama_index_retrieval.py", packages="llama_index")
    assert FACT in told["found"]
    assert len(told["found"]) > 2000  # far more than the embedding model reads at once
    assert told["answer"].strip()


def test_haystack(clients: Clients) -> None:
    told = clients.converse("haystack_client.py", packages="haystack")
    assert FACT in told["found"]
    assert told["answer"].strip()
    assert "".join(told["pieces"]) == told["grounded"]
    assert len(told["pieces"]) > 1
    assert told["responses"].strip()


def test_litellm(clients: Clients, default_document: None) -> None:
    told = clients.converse("litellm_client.py", packages="litellm")
    assert "Paris" in told["bare"]
    assert len(told["pieces"]) > 1
    assert told["dimensions"] == [384, 384]
    assert FACT in told["found"]
    assert told["too_long"] == "ContextWindowExceededError"
    kinds = [item["type"] for item in told["responses"]["output"]]
    assert kinds == ["file_search_call", "message"]
    assert FACT in json.dumps(told["messages"]["content"])


def test_documents_are_reranked(clients: Clients) -> None:
    told = clients.converse("reranking.py", packages="litellm")
    ((text, score),) = told.pop("langchain")
    assert FACT in text
    assert set(told) == {"cohere", "jina", "vllm", "vllm without a version"}
    for results in told.values():
        best, second = results
        assert best["index"] == 1
        assert FACT in best["document"]["text"]
        assert best["relevance_score"] == pytest.approx(score)
        assert 1 >= best["relevance_score"] > second["relevance_score"] >= 0


def test_litellm_proxy(clients: Clients, default_document: None) -> None:
    told = clients.converse("litellm_proxy.py", str(free_port()), packages="litellm")
    assert "Paris" in told["bare"]
    assert len(told["pieces"]) > 1
    assert told["dimensions"] == 384
    assert told["responses"].strip()
    assert told["messages"]["content"][0]["text"].strip()


def test_pydantic_ai(clients: Clients) -> None:
    told = clients.converse("pydantic_ai_client.py", packages="pydantic_ai")
    for api in ("chat", "responses", "messages"):
        assert told[api].strip()
        assert is_place(told[f"{api}_place"])
    assert "builtin-tool-return" in told["parts"]
    assert told["dimensions"] == 384


def test_instructor(clients: Clients) -> None:
    told = clients.converse("instructor_client.py", packages="instructor")
    assert set(told) == {"tools", "schema", "grounded", "responses"}
    assert all(is_place(place) for place in told.values())


def test_llm(clients: Clients, default_document: None) -> None:
    told = clients.converse("llm_client.py", packages="llm")
    assert "Paris" in told["bare"]
    assert told["grounded"].strip()
    assert told["again"].strip()
    assert isinstance(told["schema"]["year"], int)
    assert told["responses"].strip()


def test_open_webui(clients: Clients, default_document: None) -> None:
    try:
        told = clients.converse("open_webui.py", str(free_port()), packages="open_webui")
    finally:
        clients.remove("open_webui")  # 3 GB
    assert {"genserve", clients.service.model} <= set(told["models"])
    assert told["state"]["status"] == "completed"
    assert FACT in json.dumps(told["answer"]["sources"])
    assert told["answer"]["choices"][0]["message"]["content"].strip()
    assert told["grounded"]["choices"][0]["message"]["content"].strip()


@pytest.mark.parametrize(
    ("backend", "path"),
    [
        ("openai-chat", "chat/completions"),
        ("openai", "completions"),
        ("openai-responses", "responses"),
        ("openai-embeddings", "embeddings"),
    ],
)
def test_vllm_bench_serve(clients: Clients, service: Service, backend: str, path: str) -> None:
    embeds = backend == "openai-embeddings"
    given = {
        "backend": backend,
        "base-url": service.url,
        "endpoint": f"/v1/{path}",
        "model": EMBEDDER if embeds else service.model,
        "tokenizer": str(model_folder(service)),
        "dataset-name": "random",
        "random-input-len": "40",
        "random-output-len": "1" if embeds else "12",
        "num-prompts": "8",
        "max-concurrency": "4",
        "result-dir": str(clients.scratch),
        "result-filename": "result.json",
    }
    command = [*BENCH, "--save-result", "--disable-tqdm"]
    for name, value in given.items():
        command += [f"--{name}", value]
    clients.run(command, OPENAI_API_KEY=service.key)
    result = json.loads((clients.scratch / "result.json").read_text())
    assert result["completed"] == 8
    assert result["total_input_tokens"] > 8 * 30
    if not embeds:
        assert 8 < result["total_output_tokens"] <= 8 * 12
        assert 0 < result["mean_ttft_ms"] < 60_000


def test_lm_eval(clients: Clients, service: Service, tmp_path: Path) -> None:
    if not DATA.is_file():
        pytest.skip("a data set in SQuAD's form is missing: name one in GENSERVE_EVAL_DATA")
    questions = tmp_path / "questions.jsonl"
    questions.write_text("\n".join(json.dumps(each) for each in first_questions()))
    told = clients.converse(
        "lm_eval_client.py", str(questions), str(model_folder(service)), packages="lm_eval"
    )
    for result in told.values():
        assert result["samples"] == QUESTIONS
    # The answer is likelier than that of another question: a coin would get half of them.
    assert told["choose"]["scores"]["acc,none"] >= 0.7
    for name in ("answer", "chat"):
        assert 0 <= told[name]["scores"]["exact_match,trimmed"] <= 1


def model_folder(service: Service) -> Path:
    """The folder of the language model, for clients that count tokens by themselves."""
    (file,) = Path(service.settings["data_dir"], "models").glob("*/tokenizer.json")
    return file.parent


def first_questions() -> list[dict[str, Any]]:
    """One question of each of the first paragraphs, with its answer and that of the next one."""
    found = [
        (paragraph["context"], paragraph["qas"][0])
        for article in json.loads(DATA.read_text())["data"]
        for paragraph in article["paragraphs"]
    ][: QUESTIONS + 1]
    answers = [asked["answers"][0]["text"] for _, asked in found]
    return [
        {
            "context": context,
            "question": asked["question"],
            "answer": answer,
            "choices": [answer, other],
        }
        for (context, asked), answer, other in zip(found, answers, answers[1:], strict=False)
    ]
