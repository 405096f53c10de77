"""The doctor where no service runs: it opens the stores itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from deployments.catalogue.import_0_1 import SOURCE
from deployments.catalogue.opening import open_catalogue
from deployments.errors import Unavailable
from deployments.file_store import FileStore
from deployments.jobs.doctor.doctor import Doctor
from deployments.retriever.document_retriever import DocumentRetriever
from deployments.retriever.opening import open_store

if TYPE_CHECKING:
    from deployments.interfaces import Embedder
    from deployments.types import EmbeddingModel
    from serve_app.settings import AppSettings


class _NoEmbedder:
    """There is no embedding model."""

    async def model(self) -> EmbeddingModel:
        """Raise Unavailable."""
        msg = "this needs the embedding model: start the service"
        raise Unavailable(msg)


class _StoredVectors(DocumentRetriever):
    """The retriever over the store of a service that does not run."""

    async def check_health(self) -> None:
        """Do nothing: the store is in this process."""


async def examine(found: AppSettings, url: str, *, mend: bool, thorough: bool) -> dict[str, Any]:
    """Run the doctor here; return the record of its report.

    Raises Unavailable if a service uses the stores, or one does not answer, or if the catalogue has
    not imported the data of version 0.1: the doctor would take that for left behind.
    """
    catalogue = open_catalogue(url)
    try:
        if await catalogue.imported_ms(SOURCE) is None:
            msg = "the data of version 0.1 is not imported yet: start the service once first"
            raise Unavailable(msg)
        store = open_store(found.retriever, found.data_dir)
        try:
            retriever = _StoredVectors(
                store,
                cast("Embedder", _NoEmbedder()),
                found.retriever,
                attributes=catalogue.documents.attributes,
                collections=catalogue.collections,
            )
            doctor = Doctor(catalogue, retriever, FileStore(found.files), url, submit=None)
            return (await doctor.run(mend=mend, thorough=thorough)).record()
        finally:
            await store.close()
    finally:
        catalogue.close()
