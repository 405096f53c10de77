"""The API reference: the schema that FastAPI makes, with an example for every route."""

from __future__ import annotations

from typing import Any

_JOB, _DOCUMENT, _FILE = "job_" + "5e" * 16, "doc_" + "7c" * 16, "file-" + "7c" * 16
_STORE, _TIME = "vs_4f1c09ab7d2e4c6f8a1b2c3d", 1_795_546_410
_PATH = {
    "job_id": _JOB,
    "document_id": _DOCUMENT,
    "file_id": _FILE,
    "vector_store_id": "default",
    "model_id": "genserve",
    "number": "0",
}
_MODEL = {
    "id": "genserve",
    "kind": "answering",
    "object": "model",
    "created": 0,
    "owned_by": "genserve",
}
_USAGE = {"prompt_tokens": 120, "completion_tokens": 9, "total_tokens": 129}
_SOURCE = {
    "id": 1,
    "kind": "document",
    "title": "Annual report",
    "uri": f"/v1/documents/{_DOCUMENT}",
    "page": 3,
    "page_end": 3,
    "section": "Costs",
    "score": 0.71,
    "text": "Costs fell by 4 % to 1.2 million.",
    "cited": True,
}
_GROUNDING = {"sources": [_SOURCE], "pages": [], "warnings": []}
_TIMINGS = {"search_s": 0.02, "context_s": 0.02, "prompt_s": 0.03, "total_s": 0.41}
_UPLOADED = {
    "job_id": _JOB,
    "document_id": _DOCUMENT,
    "filename": "report.pdf",
    "status": "queued",
}
_KEPT = {
    "id": _FILE,
    "object": "file",
    "bytes": 48_213,
    "created_at": _TIME,
    "filename": "report.pdf",
    "purpose": "user_data",
    "status": "processed",
}
_DOCUMENT_SHOWN = {
    "id": _DOCUMENT,
    "object": "document",
    "collection": "default",
    "filename": "report.pdf",
    "title": "Annual report",
    "media_type": "application/pdf",
    "size_bytes": 48_213,
    "pages": 12,
    "chunks": 96,
    "created_at": _TIME,
}
_PICTURES_JOB = {
    "id": _JOB,
    "object": "job",
    "kind": "images",
    "status": "running",
    "created_at": float(_TIME),
    "updated_at": _TIME + 1.5,
    "progress": {"done": 1, "total": 4},
    "cancel_requested": False,
    "input": {
        "prompt": "a large red circle on a blue background",
        "count": 4,
        "width": 128,
        "height": 128,
        "steps": 20,
        "seed": 7,
    },
    "result": {"images": [{"number": 0, "url": f"/v1/images/{_JOB}/0.png"}]},
    "error": None,
}
_STORE_SHOWN = {
    "id": _STORE,
    "object": "vector_store",
    "created_at": _TIME,
    "name": "reports",
    "usage_bytes": 48_213,
    "file_counts": {"in_progress": 0, "completed": 1, "failed": 0, "cancelled": 0, "total": 1},
    "status": "completed",
    "expires_after": None,
    "expires_at": None,
    "last_active_at": _TIME,
    "metadata": {},
}
_ATTACHED = {
    "id": _FILE,
    "object": "vector_store.file",
    "created_at": _TIME,
    "vector_store_id": _STORE,
    "status": "completed",
    "last_error": None,
    "usage_bytes": 48_213,
    "attributes": {},
    "chunking_strategy": {"type": "other"},
}


def _paged(one: dict[str, Any]) -> dict[str, Any]:
    """A page of OpenAI's."""
    ids = {"first_id": one["id"], "last_id": one["id"]}
    return {"object": "list", "data": [one], **ids, "has_more": False}


def _listed(one: dict[str, Any]) -> dict[str, Any]:
    """A page of our own."""
    return {"object": "list", "data": [one], "has_more": False, "next_after": None}


def _deleted(some_id: str, kind: str) -> dict[str, Any]:
    return {"id": some_id, "object": kind, "deleted": True}


REQUESTS: dict[str, Any] = {
    "post /generate/text": {"prompt": "Name the capital of France.", "max_tokens": 64},
    "post /v1/chat/completions": {
        "model": "genserve",
        "messages": [{"role": "user", "content": "What does the report say about costs?"}],
        "max_tokens": 64,
        "context": {"web": True, "documents": True, "collection": "default", "top_k": 4},
    },
    "post /v1/completions": {
        "model": "SmolLM2-135M-Instruct",
        "prompt": "The capital of France is",
        "max_tokens": 8,
        "temperature": 0,
    },
    "post /v1/embeddings": {"model": "all-MiniLM-L6-v2", "input": ["Snow is white."]},
    "post /upload": {"file": "the bytes of report.pdf", "collection": "default"},
    "post /v1/files": {"file": "the bytes of report.pdf", "purpose": "user_data"},
    "post /v1/vector_stores": {"name": "reports", "metadata": {"year": "2026"}},
    "post /v1/vector_stores/{vector_store_id}": {"name": "reports of 2026"},
    "post /v1/vector_stores/{vector_store_id}/files": {"file_id": _FILE},
    "post /v1/vector_stores/{vector_store_id}/search": {
        "query": "What does the report say about costs?",
        "max_num_results": 3,
    },
    "post /generate/image/background": {
        "prompt": "a large red circle on a blue background",
        "count": 4,
        "seed": 7,
    },
    "post /v1/images/generations": {"prompt": "a small blue star", "n": 1},
}
"""By method and path, the body of a good request."""

ANSWERS: dict[str, Any] = {
    "get /healthz": {"status": "ok"},
    "get /readyz": {"ready": True, "deployments": {"embedder": {"ready": True, "detail": None}}},
    "post /generate/text": {
        "content": "Costs fell by 4 % [1].",
        "finish_reason": "stop",
        **_GROUNDING,
        "usage": _USAGE,
        "timings": _TIMINGS,
    },
    "post /v1/chat/completions": {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": _TIME,
        "model": "SmolLM2-135M-Instruct",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Costs fell by 4 % [1]."},
                "finish_reason": "stop",
            }
        ],
        "usage": _USAGE,
        **_GROUNDING,
        "timings": _TIMINGS,
    },
    "post /v1/completions": {
        "id": "cmpl-1",
        "object": "text_completion",
        "created": _TIME,
        "model": "SmolLM2-135M-Instruct",
        "choices": [{"index": 0, "text": " Paris.", "finish_reason": "stop"}],
        "usage": _USAGE,
    },
    "post /v1/embeddings": {
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": [0.6, -0.8]}],
        "model": "all-MiniLM-L6-v2",
        "usage": {"prompt_tokens": 6, "total_tokens": 6},
    },
    "get /v1/models": {"object": "list", "data": [_MODEL]},
    "get /v1/models/{model_id}": _MODEL,
    "post /upload": _UPLOADED,
    "get /v1/documents": _listed(_DOCUMENT_SHOWN),
    "get /v1/documents/{document_id}": _DOCUMENT_SHOWN,
    "post /v1/files": _KEPT,
    "get /v1/files": _paged(_KEPT),
    "get /v1/files/{file_id}": _KEPT,
    "get /v1/files/{file_id}/content": "the bytes of report.pdf",
    "delete /v1/files/{file_id}": _deleted(_FILE, "file"),
    "post /v1/vector_stores": _STORE_SHOWN,
    "get /v1/vector_stores": _paged(_STORE_SHOWN),
    "get /v1/vector_stores/{vector_store_id}": _STORE_SHOWN,
    "post /v1/vector_stores/{vector_store_id}": _STORE_SHOWN,
    "delete /v1/vector_stores/{vector_store_id}": _deleted(_STORE, "vector_store.deleted"),
    "post /v1/vector_stores/{vector_store_id}/files": _ATTACHED,
    "get /v1/vector_stores/{vector_store_id}/files": _paged(_ATTACHED),
    "get /v1/vector_stores/{vector_store_id}/files/{file_id}": _ATTACHED,
    "delete /v1/vector_stores/{vector_store_id}/files/{file_id}": _deleted(
        _FILE, "vector_store.file.deleted"
    ),
    "post /v1/vector_stores/{vector_store_id}/search": {
        "object": "vector_store.search_results.page",
        "search_query": ["What does the report say about costs?"],
        "data": [
            {
                "file_id": _FILE,
                "filename": "report.pdf",
                "score": 0.71,
                "attributes": {"document_id": _DOCUMENT, "title": "Annual report", "page": 3},
                "content": [{"type": "text", "text": "Costs fell by 4 % to 1.2 million."}],
            }
        ],
        "has_more": False,
        "next_page": None,
    },
    "post /generate/image/background": {
        "job_id": _JOB,
        "status": "running",
        "job": _PICTURES_JOB,
    },
    "get /v1/images/{job_id}/{number}.png": "the bytes of a PNG",
    "post /v1/images/generations": {
        "created": _TIME,
        "data": [{"url": f"http://127.0.0.1:8000/v1/images/{_JOB}/0.png"}],
        "size": "128x128",
        "output_format": "png",
        "job_id": _JOB,
    },
    "get /v1/jobs": _listed(_PICTURES_JOB),
    "get /v1/jobs/{job_id}": _PICTURES_JOB,
    "post /v1/jobs/{job_id}/cancel": _PICTURES_JOB | {"cancel_requested": True},
    "get /v1/jobs/{job_id}/events": 'event: job\ndata: {"id": "...", "status": "running"}\n\n',
}
"""By method and path, what a good request is answered with."""

STREAMS = {
    "post /generate/text": 'event: token\ndata: {"text": "Costs"}\n\n',
    "post /v1/chat/completions": 'data: {"choices": [{"delta": {"content": "Costs"}}]}\n\n',
    "post /v1/completions": 'data: {"choices": [{"text": " Paris"}]}\n\n',
}
"""One event of what the same request is answered with if it has `stream`."""


def with_examples(schema: dict[str, Any]) -> dict[str, Any]:
    """Add the examples to an OpenAPI document, in place."""
    for path, methods in schema["paths"].items():
        for method, route in methods.items():
            name = f"{method} {path}"
            for parameter in route.get("parameters", []):
                if parameter["in"] == "path":
                    parameter["example"] = _PATH[parameter["name"]]
            for content in route.get("requestBody", {}).get("content", {}).values():
                content["example"] = REQUESTS[name]
            for status, response in route["responses"].items():
                if status.startswith("2"):
                    for kind, content in response.get("content", {}).items():
                        streamed = kind == "text/event-stream" and name in STREAMS
                        content["example"] = STREAMS[name] if streamed else ANSWERS[name]
    return schema
