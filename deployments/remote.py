"""Ray Serve handles as the protocols of `deployments.interfaces`: the only caller of `.remote()`.

Whatever Ray raises leaves here as a ServiceError, see `ray_errors`. Calls are repeated a few times
when the replica stopped during them; not repeated are generations, parsing, and the submission of
images without an idempotency key.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, cast

import stamina

from deployments.answer_events import ChunkReader
from deployments.errors import ServiceError
from deployments.micro_batches import MicroBatches
from deployments.serving.ray_errors import MissingMethod, Unreachable, translated

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from ray.serve.handle import DeploymentHandle, DeploymentResponseGenerator

    from deployments import types
    from deployments.answer_events import AnswerEvent
    from deployments.filters import Filter

    Handle = DeploymentHandle[Any]
    Counts = Callable[[Sequence[str]], list[int]]

_RETRY_ATTEMPTS = 3
_RETRY_TIMEOUT_S = 5.0
_UPDATE_S = 300.0  # a rolling update of the deployment that is called
_FEW_TEXTS = 128  # with vectors of 4,096 dimensions, 2 MiB
_SHORT_TEXTS = 16  # of short documents, in a call: a pass or two of the embedder on a processor
_SHORT_CALLS = 3  # one is at work; the others fill the next pass
_SHORT_CHUNKS = 24  # of short documents, in a call: half of those that are ingested at once
_BLOCKS = {"chat_events": "stream_chat", "completion_events": "stream_complete"}
"""The methods that send events, and those by which version 0.1 sent blocks of text instead."""
_COUNTING_THREADS = 2  # two long prompts of different keys; others wait
_CALLS_AT_ONCE = 2  # one is at work while the next one is on its way


def _transport(*, large: bool) -> dict[str, Any]:
    # Ray's own default, of the environment, is left alone for the others.
    return {"_by_reference": True} if large else {}


class _Remote:
    """A deployment by its handle; one prepared handle a method, as each costs a metrics pusher.

    `_large` names the methods whose arguments or result may exceed a gRPC message, which holds
    4 MiB. They are called by reference, through Ray's object store, which takes longer.
    `_abandonable` names those that change nothing: cancelled here, they are cancelled there, or
    not begun.
    """

    _methods: tuple[str, ...] = ()
    _abandonable: frozenset[str] = frozenset()
    _large: frozenset[str] = frozenset()

    def __init__(self, handle: Handle, name: str) -> None:
        self._name = name
        self._deployment = handle.deployment_name
        self._calls = {
            method: handle.options(method_name=method, **_transport(large=method in self._large))
            for method in (*self._methods, "check_health")
        }

    async def _call(self, method: str, *args: Any) -> Any:  # noqa: ANN401 - whatever it returns
        async with translated(self._name, self._deployment):
            response: Any = self._calls[method].remote(*args)
            try:
                return await response
            except asyncio.CancelledError:
                # Its deadline has passed or its client has left. Serve would go on with it.
                if method in self._abandonable:
                    response.cancel()
                raise

    async def _repeatable(self, method: str, *args: Any) -> Any:  # noqa: ANN401
        async for attempt in stamina.retry_context(
            on=Unreachable, attempts=_RETRY_ATTEMPTS, timeout=_RETRY_TIMEOUT_S
        ):
            with attempt:
                return await self._call(method, *args)
        raise AssertionError  # pragma: no cover - the last attempt returns or raises

    async def check_health(self) -> None:
        await self._call("check_health")


class RemoteTextGenerator(_Remote):
    """The LLM deployment."""

    _methods = ("count_tokens", "card")
    _abandonable = frozenset(_methods)

    def __init__(self, handle: Handle, name: str, counts: Counts | None = None) -> None:
        """Set what counts tokens here, in a thread; without it, every count is a call."""
        super().__init__(handle, name)
        self._handle = handle
        self._counts = counts
        self._counting = ThreadPoolExecutor(_COUNTING_THREADS, "count-tokens")
        self._streams = {
            method: handle.options(
                method_name=method,
                stream=True,
                # The default takes ten times as long, for each message.
                response_serialization="pickle" if method in _BLOCKS else "cloudpickle",
            )
            for method in ("chat", "complete", *_BLOCKS)
        }

    async def chat(self, body: Mapping[str, Any]) -> dict[str, Any]:
        return await self._whole("chat", body)

    def stream_chat(self, body: Mapping[str, Any]) -> AsyncGenerator[Sequence[AnswerEvent], None]:
        return self._events("chat_events", body)

    async def complete(self, body: Mapping[str, Any]) -> dict[str, Any]:
        return await self._whole("complete", body)

    def stream_complete(
        self, body: Mapping[str, Any]
    ) -> AsyncGenerator[Sequence[AnswerEvent], None]:
        return self._events("completion_events", body)

    async def _whole(self, method: str, body: Mapping[str, Any]) -> dict[str, Any]:
        async with contextlib.aclosing(self._stream(method, body)) as parts:
            answer: dict[str, Any] = json.loads("".join([part async for part in parts]))
            return answer

    async def _events(
        self, method: str, body: Mapping[str, Any]
    ) -> AsyncGenerator[Sequence[AnswerEvent], None]:
        try:
            async with contextlib.aclosing(self._stream(method, body)) as batches:
                async for events in batches:
                    yield events
        except MissingMethod:
            # A language model of version 0.1, which may still run, sends server-sent events.
            reader = ChunkReader()
            handle = self._handle.options(method_name=_BLOCKS[method], stream=True)
            async with contextlib.aclosing(_streamed(handle, self._name, body)) as blocks:
                async for block in blocks:
                    if events := list(reader.events_in(block)):
                        yield events

    def _stream(self, method: str, body: Mapping[str, Any]) -> AsyncGenerator[Any, None]:
        return _streamed(self._streams[method], self._name, body)

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        if self._counts is not None:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._counting, self._counts, texts)
        counts: list[int] = await self._repeatable("count_tokens", texts)
        return counts

    async def card(self) -> types.ModelCard:
        card: types.ModelCard = await self._repeatable("card")
        return card


class RemoteEmbedder(_Remote):
    """The Embedder deployment."""

    _methods = ("model", "embed", "embeddings", "rerank")
    _abandonable = frozenset({*_methods, "embed_many"})
    _large = frozenset({"embeddings"})

    def __init__(self, handle: Handle, name: str) -> None:
        super().__init__(handle, name)
        self._calls["embed_many"] = handle.options(method_name="embed", **_transport(large=True))
        self._short = MicroBatches(
            self._embed_together,
            calls_at_once=_SHORT_CALLS,
            most=_SHORT_TEXTS,
            size=len,
        )

    async def model(self) -> types.EmbeddingModel:
        model: types.EmbeddingModel = await self._repeatable("model")
        return model

    async def embed(
        self, texts: Sequence[str], kind: types.TextKind, fingerprint: str = ""
    ) -> NDArray[np.float32]:
        if kind == "passage" and len(texts) <= _SHORT_TEXTS:
            return await self._short.result((texts, fingerprint))
        method = "embed" if len(texts) <= _FEW_TEXTS else "embed_many"
        vectors: NDArray[np.float32] = await self._repeatable(method, texts, kind, fingerprint)
        return vectors

    async def _embed_together(
        self, calls: Sequence[tuple[Sequence[str], str]]
    ) -> list[NDArray[np.float32]]:
        texts = list(itertools.chain.from_iterable(texts for texts, _ in calls))
        expected = {fingerprint for _, fingerprint in calls}
        if len(expected) > 1:  # the model was replaced a moment ago
            return [
                await self._repeatable("embed", texts, "passage", fingerprint)
                for texts, fingerprint in calls
            ]
        vectors: NDArray[np.float32] = await self._repeatable("embed", texts, "passage", *expected)
        ends = list(itertools.accumulate(len(texts) for texts, _ in calls))
        return [vectors[start:end] for start, end in itertools.pairwise([0, *ends])]

    async def embeddings(
        self, texts: Sequence[str], dimensions: int | None = None, first: int = 0
    ) -> types.Embeddings:
        numbered = [first] if first else []  # version 0.1, which may still run, knows no `first`
        embeddings: types.Embeddings = await self._repeatable(
            "embeddings", texts, dimensions, *numbered
        )
        return embeddings

    async def rerank(self, query: str, texts: Sequence[str]) -> NDArray[np.float32]:
        scores: NDArray[np.float32] = await self._repeatable("rerank", query, texts)
        return scores


class RemoteScraper(_Remote):
    """The Scraper deployment."""

    _methods = ("fetch",)
    _abandonable = frozenset(_methods)
    _large = frozenset({"fetch"})

    async def fetch(self, urls: Sequence[str], owner: str = "") -> list[types.Page]:
        pages: list[types.Page]
        try:
            pages = await self._repeatable("fetch", urls, *filter(None, [owner]))
        except ServiceError as error:
            if error.code != ServiceError.code or not owner:
                raise
            # A scraper of version 0.1, which may still run, knows no owner.
            pages = await self._repeatable("fetch", urls)
        return pages


class RemoteParser(_Remote):
    """The Parser deployment."""

    _methods = ("parse",)
    _abandonable = frozenset(_methods)

    async def parse(self, spec: types.ParseSpec) -> types.ParsedDocument:
        # Not repeated: a file that kills its replica must not get three of them.
        parsed: types.ParsedDocument = await self._call("parse", spec)
        return parsed


class RemoteRetriever(_Remote):
    """The Retriever deployment."""

    _abandonable = frozenset({"search"})
    _methods = (
        "add",
        "publish",
        "publish_many",
        "discard",
        "apply_attributes",
        "search",
        "content",
        "documents",
        "document",
        "delete",
        "collections",
        "drop",
        "unmoved_collections",
        "move_collections",
        "purge",
        "backup",
    )

    def __init__(self, handle: Handle, name: str) -> None:
        super().__init__(handle, name)
        self._short = MicroBatches(
            self._publish_many,
            calls_at_once=_CALLS_AT_ONCE,
            most=_SHORT_CHUNKS,
            size=lambda document: len(document[1]),
        )

    async def add(self, document: types.Document, chunks: Sequence[types.Chunk]) -> None:
        await self._repeatable("add", document, chunks)

    async def publish(self, document: types.Document, chunks: Sequence[types.Chunk] = ()) -> None:
        if not chunks:
            await self._repeatable("publish", document)
        elif error := await self._short.result((document, chunks)):
            raise error

    async def discard(self, collection: str, document_id: str, versions: Sequence[int]) -> None:
        await self._repeatable("discard", collection, document_id, versions)

    async def _publish_many(
        self, documents: Sequence[tuple[types.Document, Sequence[types.Chunk]]]
    ) -> Sequence[ServiceError | None]:
        errors: list[ServiceError | None] = await self._repeatable("publish_many", documents)
        return errors

    async def apply_attributes(self, collection: str, document_id: str) -> None:
        await self._repeatable("apply_attributes", collection, document_id)

    async def search(
        self,
        queries: Sequence[str],
        collections: str | Sequence[str],
        limit: int,
        max_chars: int,
        filters: Filter | None = None,
    ) -> list[types.Passage]:
        # Version 0.1, which may still run, knows no filters.
        filtered = [] if filters is None else [filters]
        passages: list[types.Passage] = await self._repeatable(
            "search", queries, collections, limit, max_chars, *filtered
        )
        return passages

    async def content(self, document: types.Document, first: int, limit: int) -> list[types.Chunk]:
        chunks: list[types.Chunk] = await self._repeatable("content", document, first, limit)
        return chunks

    async def documents(self, collection: str, limit: int, after: str | None) -> types.DocumentList:
        listed: types.DocumentList = await self._repeatable("documents", collection, limit, after)
        return listed

    async def document(self, collection: str, document_id: str, version: int) -> types.Document:
        found: types.Document = await self._repeatable("document", collection, document_id, version)
        return found

    async def unmoved_collections(self) -> list[str]:
        names: list[str] = await self._updated("unmoved_collections")
        return names

    async def move_collections(self) -> int:
        moved: int = await self._updated("move_collections")
        return moved

    async def _updated(self, method: str) -> Any:  # noqa: ANN401 - whatever it returns
        """Call a method that version 0.1 does not have, once its replicas are replaced."""
        async for attempt in stamina.retry_context(
            on=MissingMethod, attempts=None, timeout=_UPDATE_S, wait_initial=1.0, wait_max=2.0
        ):
            with attempt:
                return await self._repeatable(method)
        raise AssertionError  # pragma: no cover - the last attempt returns or raises

    async def delete(self, collection: str, document_id: str) -> bool:
        removed: bool = await self._repeatable("delete", collection, document_id)
        return removed

    async def collections(self) -> list[str]:
        names: list[str] = await self._repeatable("collections")
        return names

    async def drop(self, collection: str) -> bool:
        removed: bool = await self._repeatable("drop", collection)
        return removed

    async def purge(self, age_s: float) -> bool:
        purged: bool = await self._repeatable("purge", age_s)
        return purged

    async def backup(self, name: str) -> bool:
        made: bool = await self._repeatable("backup", name)
        return made


class RemoteImageGenerator(_Remote):
    """The Images deployment."""

    def __init__(self, handle: Handle, name: str) -> None:
        super().__init__(handle, name)
        self._stream = handle.options(method_name="generate", stream=True, **_transport(large=True))

    async def generate(
        self, request: types.ImageRequest
    ) -> AsyncGenerator[types.ImageProgress, None]:
        async with contextlib.aclosing(_streamed(self._stream, self._name, request)) as steps:
            async for step in steps:
                yield step


class RemoteJobs(_Remote):
    """The Jobs deployment."""

    _methods = ("submit_ingest", "submit_images", "begin_batches", "job", "jobs", "cancel")

    def __init__(self, handle: Handle, name: str) -> None:
        super().__init__(handle, name)
        self._stream = handle.options(method_name="watch", stream=True)

    async def submit_ingest(self, spec: types.IngestSpec, key: str | None) -> types.Submitted:
        # Repeated even without a key: the same file twice is one document.
        submitted: types.Submitted = await self._repeatable("submit_ingest", spec, key)
        return submitted

    async def submit_images(self, spec: types.ImagesSpec, key: str | None) -> types.Submitted:
        # Without a key, a repeated call could make a second job.
        call = self._call if key is None else self._repeatable
        submitted: types.Submitted = await call("submit_images", spec, key)
        return submitted

    async def begin_batches(self) -> None:
        await self._repeatable("begin_batches")

    async def job(self, job_id: str) -> types.Job:
        job: types.Job = await self._repeatable("job", job_id)
        return job

    async def jobs(self, query: types.JobQuery) -> types.JobList:
        listed: types.JobList = await self._repeatable("jobs", query)
        return listed

    async def cancel(self, job_id: str) -> types.Job:
        job: types.Job = await self._repeatable("cancel", job_id)
        return job

    async def watch(self, job_id: str) -> AsyncGenerator[types.Job, None]:
        async with contextlib.aclosing(_streamed(self._stream, self._name, job_id)) as jobs:
            async for job in jobs:
                yield job


async def _streamed(handle: Handle, name: str, *args: Any) -> AsyncGenerator[Any, None]:  # noqa: ANN401
    """Whatever a deployment yields; closing it stops the deployment's work."""
    async with translated(name, handle.deployment_name):
        items = cast("DeploymentResponseGenerator[Any]", handle.remote(*args))
        try:
            async for item in items:
                yield item
        finally:
            # Harmless after the end; before it, this is what stops the work.
            items.cancel()
