"""Locks of documents: batches of one are added side by side, all else is done alone."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class DocumentLock:
    """A lock that several additions share; an exclusive holder keeps later additions waiting."""

    def __init__(self) -> None:
        self.embedding = asyncio.Lock()
        """Held by the one batch that is embedded: a long document has one place, as a short one."""
        self._entrance = asyncio.Lock()
        self._additions = 0
        self._no_additions = asyncio.Event()
        self._no_additions.set()

    @contextlib.asynccontextmanager
    async def shared(self) -> AsyncIterator[None]:
        """Hold the lock with other additions."""
        async with self._entrance:
            self._additions += 1
            self._no_additions.clear()
        try:
            yield
        finally:
            self._additions -= 1
            if not self._additions:
                self._no_additions.set()

    @contextlib.asynccontextmanager
    async def exclusive(self) -> AsyncIterator[None]:
        """Hold the lock alone."""
        async with self._entrance:
            await self._no_additions.wait()
            yield


class DocumentLocks:
    """The locks of the documents that are being changed, by collection and id."""

    def __init__(self) -> None:
        self._locks = WeakValueDictionary[tuple[str, str], DocumentLock]()

    def of(self, collection: str, document_id: str) -> DocumentLock:
        """Return the lock of a document; it exists while somebody holds a reference."""
        key = collection, document_id
        lock = self._locks.get(key)
        if lock is None:
            lock = self._locks[key] = DocumentLock()
        return lock
