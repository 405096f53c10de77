"""The application over real stores, catalogue and jobs, in one process: without Ray and models.

Embeddings, parsing and pictures are stand-ins; all that is written to the disk is as in a service.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import SecretStr

from deployments.catalogue.catalogue import Catalogue
from deployments.catalogue.database import Database
from deployments.jobs.queries import list_jobs
from deployments.jobs.records import fetch_job
from deployments.retriever.document_retriever import DocumentRetriever
from deployments.retriever.edge.store import EdgeStore
from deployments.retriever.qdrant.store import ServerStore
from deployments.retriever.vector_store import VectorStore
from deployments.settings import RetrieverSettings, Secrets
from deployments.types import (
    EmbeddingModel,
    ImagesSpec,
    ImportSpec,
    IngestSpec,
    Job,
    JobList,
    JobQuery,
    ResponseSpec,
    Submitted,
    TextKind,
    ZipSpec,
)
from serve_app.app import create_app
from serve_app.testing import FakeEmbedder, Fakes, fake_settings
from tests.support.api_keys import KEYS
from tests.support.job_engine import Images, Parts, running
from tests.support.paths import ROOT

DIMENSIONS = 64


class WordEmbedder(FakeEmbedder):
    """Embeds a text as the sum of random vectors of its words."""

    async def model(self) -> EmbeddingModel:
        return EmbeddingModel("words", "words", DIMENSIONS)

    async def embed(
        self, texts: Sequence[str], kind: TextKind, fingerprint: str = ""
    ) -> NDArray[np.float32]:
        del kind, fingerprint
        return np.stack([vector_of(text) for text in texts])


def vector_of(text: str) -> NDArray[np.float32]:
    """Return the embedding of a text, of unit length."""
    seeds = [zlib.crc32(word.encode()) for word in text.lower().split()]
    drawn = sum(np.random.default_rng(seed).normal(size=DIMENSIONS) for seed in seeds or [0])
    unit = drawn / np.linalg.norm(drawn)
    return np.asarray(unit, dtype=np.float32)


class Searching(DocumentRetriever):
    """The retriever, as the ingress and the jobs see it."""

    async def check_health(self) -> None: ...


class EngineJobs:
    """The job engine of this process, as the ingress sees it."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def check_health(self) -> None: ...

    async def submit_ingest(self, spec: IngestSpec, key: str | None) -> Submitted:
        return await self._parts.submissions.ingest(spec, key)

    async def submit_images(self, spec: ImagesSpec, key: str | None) -> Submitted:
        return await self._parts.submissions.images(spec, key)

    async def submit_import(self, spec: ImportSpec, key: str) -> Submitted:
        return await self._parts.submissions.imports(spec, key)

    async def submit_zip(self, spec: ZipSpec, key: str | None) -> Submitted:
        return await self._parts.submissions.zips(spec, key)

    async def submit_response(self, spec: ResponseSpec) -> Submitted:
        return await self._parts.submissions.responses(spec)

    async def begin_batches(self) -> None:
        """Leave it to the engine, which looks every second."""

    async def job(self, job_id: str) -> Job:
        return await fetch_job(job_id)

    async def jobs(self, query: JobQuery) -> JobList:
        return await list_jobs(query)

    async def cancel(self, job_id: str) -> Job:
        return await self._parts.canceller.cancel(job_id)

    async def watch(self, job_id: str) -> AsyncGenerator[Job, None]:
        async for job in self._parts.watchers.watch(job_id):
            yield job


@dataclass
class WholeService:
    """The parts of a running service, and a client for each key."""

    folder: Path
    parts: Parts
    app: httpx.ASGITransport
    retriever: Searching
    store: EdgeStore | ServerStore

    def client(self, key: str) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            transport=self.app,
            base_url="http://127.0.0.1",
            headers={"authorization": f"Bearer {key}"},
        )


@contextlib.asynccontextmanager
async def whole_service(
    url: str,
    folder: Path,
    *,
    images: Images | None = None,
    embedder: FakeEmbedder | None = None,
    qdrant: str | None = None,
    **options: Any,
) -> AsyncIterator[WholeService]:
    """Run the service on a database, with everything else in `folder`.

    Vectors are there too, unless `qdrant` is the URL of a server. `options` are those of
    `job_engine.running`.
    """
    catalogue = Catalogue(Database(url))
    store: VectorStore
    if qdrant is None:
        store = EdgeStore(folder / "vectors", chunker_version=1)
    else:
        store = ServerStore(qdrant, chunker_version=1)
    retriever = Searching(
        store,
        embedder or WordEmbedder(),
        RetrieverSettings(),
        versions=catalogue.documents.current,
        attributes=catalogue.documents.attributes,
        collections=catalogue.collections,
        removals=catalogue.removals,
    )
    try:
        own = {"searching": retriever, "second_indexes": retriever}
        async with running(url, folder, images=images, **own | options) as parts:
            fakes = Fakes(files=parts.files, catalogue=parts.catalogue)
            jobs = EngineJobs(parts)
            services = replace(fakes.services(), retriever=retriever, jobs=jobs)
            secrets = Secrets(api_keys=SecretStr(KEYS))
            settings = fake_settings(limits={"requests_per_minute": None})
            app = create_app(services, settings, secrets, parts.files, parts.catalogue)
            yield WholeService(folder, parts, httpx.ASGITransport(app), retriever, store)
    finally:
        await store.close()
        catalogue.close()


def configuration(folder: Path) -> Path:
    """Write the shipped configuration with the data of `folder`."""
    document = yaml.safe_load((ROOT / "configs" / "cpu.yaml").read_text())
    args = document["applications"][0]["args"]
    args["data_dir"] = str(folder / "data")
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(document))
    return path
