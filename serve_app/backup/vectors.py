"""Vectors of a backup: a copy that the embedded store makes of itself, or points of a server."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from typing import TYPE_CHECKING

from deployments.errors import Unavailable
from deployments.retriever.edge.store import BACKUPS, INDEXES
from deployments.retriever.opening import open_server, open_store, vectors_folder
from serve_app.backup.manifest import VECTORS
from serve_app.launch.database import is_running
from serve_app.launch.progress import StartError, say

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from deployments.catalogue.backups import Backups
    from deployments.retriever.qdrant.store import ServerStore
    from serve_app.backup.manifest import Part
    from serve_app.settings import AppSettings

EDGE = "edge"
_POLL_S = 0.5
_COLLECTIONS_OF_0_1 = "*.*"  # NAME.DIMENSIONS


async def save_vectors(found: AppSettings, url: str, backups: Backups, folder: Path) -> None:
    """Copy all vectors into a folder, while the service uses them or not."""
    if found.retriever.store == EDGE:
        await _save_embedded(found, url, backups, folder)
        return
    (folder / VECTORS).mkdir()
    async with _server(found) as server:
        if left := sorted(await server.collections_of_0_1.dimensions()):
            msg = f"collections of version 0.1 that are not moved cannot be copied: {left}"
            raise StartError(msg)
        await server.copies.save(folder / VECTORS)


async def restore_vectors(found: AppSettings, folder: Path, parts: Sequence[Part]) -> None:
    """Put the vectors of a backup into an empty store."""
    if found.retriever.store == EDGE:
        await asyncio.to_thread(_restore_embedded, found, folder, parts)
        return
    async with _server(found) as server:
        await server.copies.load(folder / VECTORS)


async def has_vectors(found: AppSettings) -> bool:
    """Return whether the store holds anything."""
    if found.retriever.store == EDGE:
        folder = vectors_folder(found.data_dir)
        return any(folder.glob(f"{INDEXES}/*")) or any(folder.glob(_COLLECTIONS_OF_0_1))
    async with _server(found) as server:
        return await server.copies.exist()


@contextlib.asynccontextmanager
async def _server(found: AppSettings) -> AsyncIterator[ServerStore]:
    server = open_server(found.retriever)
    try:
        yield server
    finally:
        await server.close()


async def _save_embedded(found: AppSettings, url: str, backups: Backups, folder: Path) -> None:
    """Have the embedded store copied, by the service if one runs, and move the copy."""
    store = vectors_folder(found.data_dir)
    number = await backups.want_vectors()
    said = False
    while (made := await backups.made(number)) is None:
        if not await is_running(url):
            try:
                await _copy_here(found, str(number))
                break
            except Unavailable:
                if not await is_running(url):  # else it has just started
                    raise
        if not said:
            said = True
            say("    the service copies its vectors: a minute for 100,000 chunks")
        await asyncio.sleep(_POLL_S)
    copied = store / BACKUPS / str(number)
    if made is False:
        msg = "the service could not copy its vectors: its log says why"
        raise StartError(msg)
    if not copied.is_dir():
        msg = f"{copied} does not exist: run this command on the node of the Retriever"
        raise StartError(msg)
    await asyncio.to_thread(_move, store, copied, folder / VECTORS)


def _restore_embedded(found: AppSettings, folder: Path, parts: Sequence[Part]) -> None:
    """Copy the files that the manifest lists."""
    for part in parts:
        name, _, below = part.path.partition("/")
        if name == VECTORS:
            target = vectors_folder(found.data_dir) / below
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / part.path, target)


async def _copy_here(found: AppSettings, name: str) -> None:
    """Copy the store; raise Unavailable if a service uses it."""
    store = await asyncio.to_thread(open_store, found.retriever, found.data_dir)
    try:
        await store.backup(name)
    finally:
        await store.close()


def _move(store: Path, copied: Path, target: Path) -> None:
    """Move a copy, and copy the collections of version 0.1: they only change by being deleted."""
    (copied / INDEXES).mkdir(exist_ok=True)
    target.mkdir()
    shutil.move(copied / INDEXES, target / INDEXES)
    shutil.rmtree(store / BACKUPS)
    for each in store.glob(_COLLECTIONS_OF_0_1):
        if each.is_dir() and not each.name.startswith("."):
            shutil.copytree(each, target / each.name)
