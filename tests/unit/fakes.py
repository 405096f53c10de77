"""The edge of the HTTP layer's unit tests: capabilities that do as they are told."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np
from fastapi import FastAPI
from pydantic import SecretStr

from deployments.errors import NotFound
from deployments.file_store import FileStore
from deployments.settings import Secrets
from deployments.types import (
    Chunk,
    Collection,
    Document,
    DocumentList,
    Embeddings,
    ModelCard,
    Page,
    ParsedDocument,
    Passage,
)
from serve_app.app import create_app
from serve_app.services import Services
from serve_app.settings import AppSettings
from tests.unit.fake_jobs import FakeImages, FakeJobs

MODEL = "small"


@dataclass
class FakeModel:
    """Answers with its last message, word by word; a token is a word."""

    window: int = 4096
    bodies: list[Mapping[str, Any]] = field(default_factory=list)
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    fail_at_start: Exception | None = None
    fail_midway: Exception | None = None
    endless: bool = False
    opening: str = ""
    usage: dict[str, int] | None = None

    async def check_health(self) -> None: ...

    async def card(self) -> ModelCard:
        return ModelCard(MODEL, self.window, running_requests=1, waiting_requests=2)

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    async def chat(self, body: Mapping[str, Any]) -> dict[str, Any]:
        self.bodies.append(body)
        if self.fail_at_start:
            raise self.fail_at_start
        text = str(body["messages"][-1]["content"])
        choice: dict[str, Any] = {"index": 0, "message": {"role": "assistant", "content": text}}
        usage = self.usage or {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
        return {
            "id": "1",
            "model": MODEL,
            "choices": [choice | {"finish_reason": "stop"}],
            "usage": usage,
        }

    async def complete(self, body: Mapping[str, Any]) -> dict[str, Any]:
        self.bodies.append(body)
        choice = {"index": 0, "text": str(body["prompt"]), "finish_reason": "stop"}
        return {"id": "1", "model": MODEL, "choices": [choice], "usage": self.usage}

    async def stream_complete(self, body: Mapping[str, Any]) -> AsyncGenerator[str, None]:
        self.bodies.append(body)
        for word in str(body["prompt"]).split():
            choice = {"index": 0, "text": word, "finish_reason": None}
            yield f"data: {json.dumps({'id': '1', 'choices': [choice]})}\n\n"
        yield "data: [DONE]\n\n"

    async def stream_chat(self, body: Mapping[str, Any]) -> AsyncGenerator[str, None]:
        self.bodies.append(body)
        if self.fail_at_start:
            raise self.fail_at_start
        try:
            yield _event({"role": "assistant", "content": self.opening}, None)
            while True:
                for word in str(body["messages"][-1]["content"]).split():
                    yield _event({"content": word + " "}, None)
                    await asyncio.sleep(0)
                if not self.endless:
                    break
                await asyncio.sleep(0.01)
            if self.fail_midway:
                raise self.fail_midway
            yield _event({"content": ""}, "stop")
            if self.usage and body.get("stream_options", {}).get("include_usage"):
                yield f"data: {json.dumps({'id': '1', 'choices': [], 'usage': self.usage})}\n\n"
            yield "data: [DONE]\n\n"
        finally:
            self.closed.set()


def _event(delta: dict[str, str], finish: str | None) -> str:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return f"data: {json.dumps({'id': '1', 'model': MODEL, 'choices': [choice]})}\n\n"


class FakeEmbedder:
    async def check_health(self) -> None: ...

    async def embed(self, texts: Sequence[str], kind: str) -> np.ndarray[Any, Any]:
        del kind
        return np.ones((len(texts), 1), dtype=np.float32)

    async def embeddings(self, texts: Sequence[str]) -> Embeddings:
        tokens = tuple(len(text.split()) for text in texts)
        return Embeddings(await self.embed(texts, "passage"), tokens)


@dataclass
class FakeScraper:
    pages: list[Page] = field(default_factory=list)
    error: Exception | None = None
    asked: list[str] = field(default_factory=list)

    async def check_health(self) -> None: ...

    async def fetch(self, urls: Sequence[str]) -> list[Page]:
        self.asked += urls
        if self.error:
            raise self.error
        return self.pages


@dataclass
class FakeParser:
    chunks: int = 3
    error: Exception | None = None

    async def check_health(self) -> None: ...

    async def parse(self, data: bytes, filename: str) -> ParsedDocument:
        del data
        if self.error:
            raise self.error
        chunks = tuple(Chunk(n, f"text {n}", 2, n + 1, n + 1) for n in range(self.chunks))
        return ParsedDocument(f"title of {filename}", "application/pdf", self.chunks, chunks)


@dataclass
class FakeRetriever:
    """Keeps documents as a real one does: hidden until published."""

    passages: list[Passage] = field(default_factory=list)
    made: set[str] = field(default_factory=set)
    hidden: dict[str, int] = field(default_factory=dict)
    published: dict[str, Document] = field(default_factory=dict)
    search_error: Exception | None = None
    publish_error: Exception | None = None
    never_answers: bool = False
    queries: list[str] = field(default_factory=list)
    bounds: list[tuple[int, int]] = field(default_factory=list)  # passages and characters

    async def check_health(self) -> None: ...

    async def add(self, document: Document, chunks: Sequence[Chunk]) -> None:
        await asyncio.sleep(0)
        self.hidden[document.id] = self.hidden.get(document.id, 0) + len(chunks)

    async def publish(self, document: Document) -> None:
        if self.publish_error:
            raise self.publish_error
        self.published[document.id] = document

    async def search(
        self, queries: Sequence[str], collection: str, limit: int, max_chars: int
    ) -> list[Passage]:
        if collection.rpartition(".")[2] != "default":
            msg = f"there is no collection {collection}"
            raise NotFound(msg, param="collection")
        self.queries += queries
        self.bounds.append((limit, max_chars))
        if self.never_answers:
            await asyncio.Event().wait()
        if self.search_error:
            raise self.search_error
        return self.passages[:limit]

    async def collections(self) -> list[str]:
        return sorted(self.made)

    async def collection(self, collection: str) -> Collection:
        if collection not in self.made and collection.rpartition(".")[2] != "default":
            msg = f"there is no collection {collection}"
            raise NotFound(msg, param="collection")
        held = [one for one in self.published.values() if one.collection == collection]
        return Collection(collection, len(held), sum(document.size_bytes for document in held))

    async def create(self, collection: str) -> None:
        self.made.add(collection)

    async def drop(self, collection: str) -> bool:
        there = collection in self.made
        self.made.discard(collection)
        return there

    async def documents(self, collection: str, limit: int, after: str | None) -> DocumentList:
        del collection, after
        return DocumentList(tuple(self.published.values())[:limit])

    async def document(self, collection: str, document_id: str) -> Document:
        del collection
        if document_id not in self.published:
            msg = "there is no such document"
            raise NotFound(msg)
        return self.published[document_id]

    async def delete(self, collection: str, document_id: str) -> bool:
        del collection
        known = document_id in self.hidden
        self.hidden.pop(document_id, None)
        self.published.pop(document_id, None)
        return known


def _new_files() -> FileStore:
    return FileStore(f"memory://{uuid.uuid4().hex}")


@dataclass
class Fakes:
    """One of each, and the Services made of them."""

    llm: FakeModel = field(default_factory=FakeModel)
    embedder: FakeEmbedder = field(default_factory=FakeEmbedder)
    scraper: FakeScraper = field(default_factory=FakeScraper)
    parser: FakeParser = field(default_factory=FakeParser)
    retriever: FakeRetriever = field(default_factory=FakeRetriever)
    images: FakeImages = field(default_factory=FakeImages)
    files: FileStore = field(default_factory=_new_files)
    api_keys: str = ""
    jobs: FakeJobs = field(init=False)

    def __post_init__(self) -> None:
        self.jobs = FakeJobs(self.files)

    def services(self) -> Services:
        return Services(
            llm=self.llm,
            embedder=self.embedder,
            scraper=self.scraper,
            parser=self.parser,
            retriever=self.retriever,
            images=self.images,
            jobs=self.jobs,
        )

    def app(self, **changes: Any) -> FastAPI:
        secrets = Secrets(api_keys=SecretStr(self.api_keys) if self.api_keys else None)
        return create_app(self.services(), settings(**changes), secrets, self.files)

    def client(self, **changes: Any) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(self.app(**changes), raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1")


def events(text: str) -> list[tuple[str, Any]]:
    """Server-sent events by name and data."""
    blocks = [block.split("\n") for block in text.strip().split("\n\n")]
    return [(name[len("event: ") :], json.loads(data[len("data: ") :])) for name, data in blocks]


def settings(**changes: Any) -> AppSettings:
    given = {
        "llm": {"model": "a/b", "served_name": MODEL},
        "embedder": {"model": "c/d"},
        **changes,
    }
    return AppSettings.model_validate(given)
