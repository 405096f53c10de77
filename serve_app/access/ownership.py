"""Isolation of owners: capabilities that see the data of one owner only.

In the store a collection is named `OWNER.NAME`, and a job's specification names its owner. Callers
see neither. An id of another owner is answered exactly as one that does not exist.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from deployments.errors import NotFound
from deployments.types import ImportSpec, IngestSpec, JobList, ZipSpec

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from deployments.answer_events import AnswerEvent
    from deployments.catalogue.catalogue import Catalogue
    from deployments.filters import Filter
    from deployments.interfaces import Jobs, Retriever, Scraper, TextGenerator
    from deployments.types import (
        Chunk,
        Document,
        EmbeddedChunks,
        ImagesSpec,
        Job,
        JobQuery,
        ModelCard,
        Page,
        Passage,
        ResponseSpec,
        Submitted,
    )


class OwnedTextGenerator:
    """A TextGenerator that shares the engine's prompt cache among requests of one owner only."""

    def __init__(self, llm: TextGenerator, owner: str) -> None:
        self._llm = llm
        self._owner = owner

    async def chat(self, body: Mapping[str, Any]) -> dict[str, Any]:
        return await self._llm.chat(self._salted(body))

    def stream_chat(self, body: Mapping[str, Any]) -> AsyncGenerator[Sequence[AnswerEvent], None]:
        return self._llm.stream_chat(self._salted(body))

    async def complete(self, body: Mapping[str, Any]) -> dict[str, Any]:
        return await self._llm.complete(self._salted(body))

    def stream_complete(
        self, body: Mapping[str, Any]
    ) -> AsyncGenerator[Sequence[AnswerEvent], None]:
        return self._llm.stream_complete(self._salted(body))

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return await self._llm.count_tokens(texts)

    async def prompt_tokens(self, body: Mapping[str, Any]) -> int:
        return await self._llm.prompt_tokens(body)

    async def card(self) -> ModelCard:
        return await self._llm.card()

    async def check_health(self) -> None:
        await self._llm.check_health()

    def _salted(self, body: Mapping[str, Any]) -> dict[str, Any]:
        return {**body, "cache_salt": self._owner}


class OwnedScraper:
    """A Scraper that takes turns by owner."""

    def __init__(self, scraper: Scraper, owner: str) -> None:
        self._scraper = scraper
        self._owner = owner

    async def check_health(self) -> None:
        await self._scraper.check_health()

    async def fetch(self, urls: Sequence[str], owner: str = "") -> list[Page]:
        return await self._scraper.fetch(urls, owner or self._owner)


class OwnedRetriever:
    """A Retriever over the collections of one owner.

    A collection that the catalogue has, and of which nothing has been stored yet, is empty.
    """

    def __init__(self, retriever: Retriever, catalogue: Catalogue, owner: str) -> None:
        self._retriever = retriever
        self._catalogue = catalogue
        self._prefix = _prefix(owner)

    async def check_health(self) -> None:
        await self._retriever.check_health()

    async def add(self, document: Document, chunks: Sequence[Chunk]) -> None:
        await self._retriever.add(self._kept(document), chunks)

    async def add_embedded(self, document: Document, chunks: EmbeddedChunks) -> None:
        await self._retriever.add_embedded(self._kept(document), chunks)

    async def publish(self, document: Document, chunks: Sequence[Chunk] = ()) -> None:
        await self._retriever.publish(self._kept(document), chunks)

    async def discard(self, collection: str, document_id: str, versions: Sequence[int]) -> None:
        await self._retriever.discard(self._prefix + collection, document_id, versions)

    async def apply_attributes(self, collection: str, document_id: str) -> None:
        await self._retriever.apply_attributes(self._prefix + collection, document_id)

    async def search(  # noqa: PLR0913 - a question and its bounds
        self,
        queries: Sequence[str],
        collections: str | Sequence[str],
        limit: int,
        max_chars: int,
        filters: Filter | None = None,
        *,
        by_document: bool = False,
    ) -> list[Passage]:
        names = [collections] if isinstance(collections, str) else collections
        owned = [self._prefix + name for name in names]
        for name in owned:
            if len(owned) > 1:
                await self._catalogue.collections.get(name)
            await self._catalogue.collections.use(name)
        searched = owned[0] if len(owned) == 1 else owned
        try:
            found = await self._retriever.search(
                queries, searched, limit, max_chars, filters, by_document=by_document
            )
        except NotFound:
            for name in owned:
                await self._catalogue.collections.get(name)
            return []
        return [
            replace(each, collection=each.collection.removeprefix(self._prefix)) for each in found
        ]

    async def content(self, document: Document, first: int, limit: int) -> list[Chunk]:
        return await self._retriever.content(self._kept(document), first, limit)

    async def embedded(self, document: Document, first: int, limit: int) -> EmbeddedChunks:
        return await self._retriever.embedded(self._kept(document), first, limit)

    async def delete(self, collection: str, document_id: str) -> bool:
        return await self._retriever.delete(self._prefix + collection, document_id)

    async def drop(self, collection: str) -> bool:
        return await self._retriever.drop(self._prefix + collection)

    def _kept(self, document: Document) -> Document:
        return replace(document, collection=self._prefix + document.collection)


class OwnedJobs:
    """Jobs of one owner."""

    def __init__(self, jobs: Jobs, owner: str) -> None:
        self._jobs = jobs
        self._owner = owner
        self._prefix = _prefix(owner)

    async def check_health(self) -> None:
        await self._jobs.check_health()

    async def submit_ingest(self, spec: IngestSpec, key: str | None) -> Submitted:
        collection = self._prefix + spec.collection
        owned = replace(spec, owner=self._owner, collection=collection)
        submitted = await self._jobs.submit_ingest(owned, key)
        return replace(submitted, job=self._shown(submitted.job))

    async def submit_images(self, spec: ImagesSpec, key: str | None) -> Submitted:
        return await self._jobs.submit_images(replace(spec, owner=self._owner), key)

    async def submit_import(self, spec: ImportSpec, key: str) -> Submitted:
        collection = self._prefix + spec.collection
        owned = replace(spec, owner=self._owner, collection=collection)
        submitted = await self._jobs.submit_import(owned, key)
        return replace(submitted, job=self._shown(submitted.job))

    async def submit_zip(self, spec: ZipSpec, key: str | None) -> Submitted:
        collection = self._prefix + spec.collection
        owned = replace(spec, owner=self._owner, collection=collection)
        submitted = await self._jobs.submit_zip(owned, key)
        return replace(submitted, job=self._shown(submitted.job))

    async def submit_response(self, spec: ResponseSpec) -> Submitted:
        return await self._jobs.submit_response(replace(spec, owner=self._owner))

    async def begin_batches(self) -> None:
        await self._jobs.begin_batches()

    async def job(self, job_id: str) -> Job:
        return self._shown(await self._jobs.job(job_id))

    async def jobs(self, query: JobQuery) -> JobList:
        if query.after is not None:
            await self.job(query.after)
        listed = await self._jobs.jobs(replace(query, owner=self._owner))
        return replace(listed, jobs=tuple(map(self._shown, listed.jobs)))

    async def cancel(self, job_id: str) -> Job:
        await self.job(job_id)
        return self._shown(await self._jobs.cancel(job_id))

    async def watch(self, job_id: str) -> AsyncGenerator[Job, None]:
        await self.job(job_id)  # before it takes one of the places for watching
        async with contextlib.aclosing(self._jobs.watch(job_id)) as changes:
            async for job in changes:
                yield self._shown(job)

    def _shown(self, job: Job) -> Job:
        if job.spec.owner != self._owner:
            msg = "there is no such job"
            raise NotFound(msg, param="job_id")
        if not isinstance(job.spec, IngestSpec | ImportSpec | ZipSpec):
            return job
        collection = job.spec.collection.removeprefix(self._prefix)
        return replace(job, spec=replace(job.spec, collection=collection))


def _prefix(owner: str) -> str:
    return f"{owner}." if owner else ""
