"""OpenAI's client on an application in this process."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import httpx2
import openai
from fastapi import FastAPI


@contextlib.asynccontextmanager
async def openai_client(
    app: FastAPI,
) -> AsyncIterator[tuple[openai.AsyncOpenAI, httpx2.AsyncClient]]:
    """Yield the client, and the HTTP client that it uses."""
    async with (
        httpx2.AsyncClient(transport=httpx2.ASGITransport(app)) as http,
        openai.AsyncOpenAI(
            api_key="any", base_url="http://127.0.0.1/v1", http_client=http, max_retries=0
        ) as client,
    ):
        yield client, http
