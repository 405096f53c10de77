"""Keep files and create vector stores, through the routes."""

from __future__ import annotations

from typing import Any

import httpx

STORES = "/v1/vector_stores"


async def keep(
    http: httpx.AsyncClient, name: str, content: bytes, purpose: str = "user_data", **kwargs: Any
) -> dict[str, Any]:
    """Upload a file and return its object."""
    answer = await http.post(
        "/v1/files", files={"file": (name, content)}, data={"purpose": purpose}, **kwargs
    )
    assert answer.status_code == 200, answer.text
    file: dict[str, Any] = answer.json()
    return file


async def make(http: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    """Create a vector store and return its object."""
    answer = await http.post(STORES, json=body)
    assert answer.status_code == 200, answer.text
    store: dict[str, Any] = answer.json()
    return store
