"""A change of the embedding model of a running service, with questions all the while."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import yaml
from numpy.typing import NDArray

from deployments.catalogue.catalogue import Catalogue
from deployments.catalogue.database import Database
from deployments.catalogue.entries import ChangeState, ModelChange
from deployments.embedder.deployment import _model_of
from deployments.embedder.encoder import Encoder
from deployments.model_source import resolve
from deployments.parser.chunking.chunker import CHUNKER_VERSION
from deployments.retriever.document_retriever import DocumentRetriever
from deployments.retriever.edge.store import EdgeStore
from deployments.settings import EmbedderSettings, RetrieverSettings
from deployments.types import EmbeddingModel, TextKind
from serve_app.evaluation.data_sets import DataSet, Question
from serve_app.testing import FakeEmbedder
from tests.support.faults import Node
from tests.support.rotated_model import MINILM, rotated_minilm
from tests.support.service import configuration, deploy, launch
from tests.support.systems import NO_MODEL

PERIOD_S = 0.2
STORE = "changing"
_REQUEST_S = 60.0
_CHANGE_S = 900.0
_POLL_S = 0.5
_PASSAGES, _CHARACTERS = 3, 1500


@dataclass(frozen=True)
class Asked:
    """A question: when it was asked, in seconds since the start, whether and how well answered."""

    at_s: float
    seconds: float
    question: str
    hit: bool
    score: float  # cosine similarity of the question and the best passage
    error: str = ""


@dataclass
class Questions:
    """Asks questions at a steady rate, whatever the answers to those before."""

    http: httpx.AsyncClient
    store_id: str
    questions: Sequence[Question]
    asked: list[Asked] = field(default_factory=list)
    events: list[tuple[float, str]] = field(default_factory=list)
    began_s: float = field(default_factory=time.monotonic)

    def note(self, event: str) -> None:
        """Record that something happens now."""
        self.events.append((time.monotonic() - self.began_s, event))

    def between(self, first: str, last: str | None = None) -> list[Asked]:
        """Return what was asked after one event, and before another."""
        times = {event: at_s for at_s, event in reversed(self.events)}
        until_s = times[last] if last else float("inf")
        return [one for one in self.asked if times[first] <= one.at_s < until_s]

    @contextlib.asynccontextmanager
    async def asking(self) -> AsyncIterator[None]:
        """Ask meanwhile."""
        task = asyncio.create_task(self._ask_all())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _ask_all(self) -> None:
        due_s = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for question in itertools.cycle(self.questions):
                group.create_task(self._ask(question))
                due_s += PERIOD_S
                await asyncio.sleep(max(0.0, due_s - time.monotonic()))

    async def _ask(self, question: Question) -> None:
        began_s = time.monotonic()
        body = {
            "query": question.text,
            "max_num_results": _PASSAGES,
            "max_characters": _CHARACTERS,
        }
        hit, score, error = False, 0.0, ""
        try:
            answer = await self.http.post(f"/v1/vector_stores/{self.store_id}/search", json=body)
            if answer.is_success:
                texts = [part["text"] for one in answer.json()["data"] for part in one["content"]]
                hit = any(each in text for each in question.answers for text in texts)
                score = max((one["score"] for one in answer.json()["data"]), default=0.0)
            else:
                error = f"{answer.status_code} {answer.text[:200]}"
        except httpx.HTTPError as failure:
            error = repr(failure)
        now_s = time.monotonic()
        took_s, at_s = now_s - began_s, began_s - self.began_s
        self.asked.append(Asked(at_s, took_s, question.text, hit, score, error))


def changed(before: Sequence[Asked], after: Sequence[Asked]) -> tuple[int, int, int]:
    """Compare answers with those to the same questions before.

    Return how many were compared, and how many were lost and gained.
    """
    known = {one.question: one.hit for one in before if not one.error}
    again = [one for one in after if one.question in known and not one.error]
    both = [(known[one.question], one.hit) for one in again]
    lost = sum(was and not is_now for was, is_now in both)
    return len(both), lost, sum(is_now and not was for was, is_now in both)


def mixed(before: Sequence[Asked], after: Sequence[Asked]) -> int:
    """Count questions whose best passage is much less similar to them than before.

    So it is if the vectors of two models are compared, whether or not words find the passage.
    """
    known = {one.question: one.score for one in before if not one.error}
    again = [one for one in after if one.question in known and not one.error]
    return sum(one.score < known[one.question] / 2 for one in again)


def hit_rate(asked: Sequence[Asked]) -> float:
    """Return the share of the answered questions whose answer is among three passages."""
    answered = [one for one in asked if not one.error]
    return sum(one.hit for one in answered) / max(1, len(answered))


class ChangingService:
    """A service in the shipped configuration whose embedding model is changed."""

    def __init__(self, folder: Path, *, chat: bool, cpus: float = 0.3) -> None:
        """Prepare the configuration; without `chat` there is no language model."""
        self.config, document = configuration(folder, web_port=9)
        self.args: dict[str, Any] = document["applications"][0]["args"]
        self.model = self.args["llm"]["served_name"]
        if not chat:
            self.args["llm"] = dict(NO_MODEL)
        self.data = Path(self.args["data_dir"])
        self.url = f"http://127.0.0.1:{document['http_options']['port']}"
        self._document = document
        self.rotated = rotated_minilm(folder / "rotated")
        self._cpus = cpus
        self._write()
        self.node = Node(launch(self.config, self.url, {}), folder)

    def name_next_model(self) -> None:
        """Deploy the configuration with the next model."""
        self.args["embedder"]["next"] = {
            "model": str(self.rotated),
            "served_name": "rotated-MiniLM",
            "max_batch_tokens": self.args["embedder"]["max_batch_tokens"],
        }
        deployments = self._document["applications"][0]["deployments"]
        present = next(each for each in deployments if each["name"] == "Embedder")
        options = {
            "num_cpus": self._cpus,
            "runtime_env": {"env_vars": {"RAY_worker_niceness": "19"}},
        }
        deployments.append({**present, "name": "NextEmbedder", "ray_actor_options": options})
        self._write()
        deploy(self.config, self.data)

    def start_with_chunks_of(self, chunk_tokens: int) -> None:
        """Start the stopped service with another chunker."""
        self.args["parser"] = {**self.args.get("parser", {}), "chunk_tokens": chunk_tokens}
        self._write()
        self.node.start()

    def _write(self) -> None:
        self.config.write_text(yaml.safe_dump(self._document, sort_keys=False))

    @contextlib.contextmanager
    def catalogue(self) -> Any:
        """Open the catalogue of the service, as its operator's commands do."""
        opened = Catalogue(Database(f"sqlite:///{self.data / 'jobs.sqlite'}"))
        try:
            yield opened
        finally:
            opened.close()

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[httpx.AsyncClient]:
        """Open a client with room for the questions of a minute."""
        limits = httpx.Limits(max_connections=500, max_keepalive_connections=50)
        async with httpx.AsyncClient(
            base_url=self.url, timeout=_REQUEST_S, limits=limits, trust_env=False
        ) as http:
            yield http


async def fill(http: httpx.AsyncClient, data_set: DataSet, copies: int) -> str:
    """Upload the documents, so many times under other names, and return their vector store."""
    store: str = (await http.post("/v1/vector_stores", json={"name": STORE})).json()["id"]
    for copy in range(copies):
        for file in data_set.files:
            name = f"{copy} {file.name}"
            kept = await http.post(
                "/v1/files", files={"file": (name, file.data)}, data={"purpose": "user_data"}
            )
            attached = await http.post(
                f"/v1/vector_stores/{store}/files", json={"file_id": kept.json()["id"]}
            )
            attached.raise_for_status()

    async def completed() -> bool:
        counts = (await http.get(f"/v1/vector_stores/{store}")).json()["file_counts"]
        assert not counts["failed"], counts
        return bool(counts["completed"] == copies * len(data_set.files))

    await until(completed)
    return store


async def until(holds: Callable[[], Awaitable[bool]], timeout_s: float = _CHANGE_S) -> None:
    """Wait until something holds; raises TimeoutError."""
    async with asyncio.timeout(timeout_s):
        while not await holds():
            await asyncio.sleep(_POLL_S)


async def latest(catalogue: Catalogue) -> ModelChange | None:
    return await catalogue.model_changes.latest()


async def until_done(catalogue: Catalogue, share: float) -> None:
    """Wait until so much of the change is done."""

    async def done() -> bool:
        change = await latest(catalogue)
        progress = await catalogue.model_changes.progress()
        enough = progress.done_chunks >= share * progress.chunks > 0
        return change is not None and (enough or change.state is ChangeState.SWITCHED)

    await until(done)


async def until_switched(catalogue: Catalogue) -> None:
    """Wait until all collections are searched with the new model."""

    async def switched() -> bool:
        change = await latest(catalogue)
        return change is not None and change.state is ChangeState.SWITCHED

    await until(switched)


class LocalEmbedder(FakeEmbedder):
    """An embedding model in this process; `queries` may have another one, by mistake."""

    def __init__(self, model: str, data_dir: Path, queries: str | None = None) -> None:
        settings = EmbedderSettings(model=model)
        self._encoder = Encoder(resolve(model, data_dir), settings)
        self._queries = self._encoder
        if queries is not None:
            asked = EmbedderSettings(model=queries)
            self._queries = Encoder(resolve(queries, data_dir), asked)
        self._model = _model_of(settings, data_dir, self._encoder)

    async def model(self) -> EmbeddingModel:
        return self._model

    async def embed(
        self, texts: Sequence[str], kind: TextKind, fingerprint: str = ""
    ) -> NDArray[np.float32]:
        assert fingerprint in {"", self._model.fingerprint}
        encoder = self._queries if kind == "query" else self._encoder
        return encoder.encode(list(texts), encoder.count_tokens(list(texts)))


async def hits_of_mixed(service: ChangingService, questions: Sequence[Question]) -> list[float]:
    """Search the data of the stopped service, also with the vectors of both models mixed.

    Return hit@3 of both, and the share of questions that `mixed` would count.
    """
    rates: list[float] = []
    best: list[list[float]] = []
    for queries in (None, MINILM):
        store = EdgeStore(service.data / "vectors", chunker_version=CHUNKER_VERSION)
        with service.catalogue() as catalogue:
            retriever = DocumentRetriever(
                store,
                LocalEmbedder(str(service.rotated), service.data, queries),
                RetrieverSettings(),
                versions=catalogue.documents.current,
                collections=catalogue.collections,
            )
            (collection,) = [
                name for name in await store.collections() if not name.endswith("default")
            ]
            hits, scores = 0, []
            for question in questions:
                found = await retriever.search([question.text], collection, _PASSAGES, _CHARACTERS)
                scores.append(max((one.score for one in found), default=0.0))
                hits += any(answer in one.text for answer in question.answers for one in found)
            rates.append(hits / len(questions))
            best.append(scores)
        await store.close()
    noticed = sum(wrong < right / 2 for right, wrong in zip(*best, strict=True))
    return [*rates, noticed / len(questions)]
