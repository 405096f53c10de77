"""A migrated catalogue beside a vector store of either kind."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deployments.catalogue.catalogue import Catalogue
from deployments.catalogue.database import Database
from deployments.catalogue.migrate import migrate
from deployments.retriever.edge.store import EdgeStore
from deployments.retriever.qdrant.store import ServerStore


@contextlib.asynccontextmanager
async def opened(
    request: pytest.FixtureRequest, folder: Path
) -> AsyncIterator[tuple[Catalogue, EdgeStore | ServerStore]]:
    """Open both; the parameter of the fixture, "edge" or "server", is the kind of the store."""
    database = Database(f"sqlite:///{folder / 'catalogue.sqlite'}")
    migrate(database)
    catalogue = Catalogue(database)
    store: EdgeStore | ServerStore
    if request.param == "edge":
        store = EdgeStore(folder / "vectors", chunker_version=1)
    else:
        store = ServerStore(":memory:", chunker_version=1)
    yield catalogue, store
    await store.close()
    catalogue.close()
