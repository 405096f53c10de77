"""Opening of the vector store that the settings name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from deployments.settings import Secrets

if TYPE_CHECKING:
    from deployments.retriever.qdrant.store import ServerStore
    from deployments.retriever.vector_store import VectorStore
    from deployments.settings import RetrieverSettings


NO_CHUNKER = 0
"""For a store in which no new documents are stored."""


def vectors_folder(data_dir: str) -> Path:
    """Return the folder of the embedded store."""
    return Path(data_dir) / "vectors"


def open_store(
    settings: RetrieverSettings, data_dir: str, chunker_version: int = NO_CHUNKER
) -> VectorStore:
    """Open the store; raise Unavailable if another process uses the embedded one."""
    # Imported here: only one of the two engines is needed.
    if settings.store == "edge":
        from deployments.retriever.edge.store import EdgeStore

        return EdgeStore(vectors_folder(data_dir), chunker_version=chunker_version)
    return open_server(settings, chunker_version)


def open_server(settings: RetrieverSettings, chunker_version: int = NO_CHUNKER) -> ServerStore:
    """Open the store on the Qdrant server that the settings name."""
    from deployments.retriever.qdrant.store import ServerStore

    key = Secrets().qdrant_api_key
    return ServerStore(
        settings.url or "",
        chunker_version=chunker_version,
        api_key=key.get_secret_value() if key else None,
    )
