"""The `backup` command: copy an installation at a consistent point, while it may be running."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from deployments.catalogue.backups import HOLD_S
from deployments.catalogue.opening import open_catalogue
from deployments.errors import ServiceError
from deployments.file_store import FileStore
from serve_app.backup.database import copy_database, kind_of, schema_of
from serve_app.backup.files import remove_unlisted, save_files
from serve_app.backup.manifest import (
    CHANGES,
    FILE_LIST,
    FILES,
    FORMAT,
    MANIFEST,
    PARTS,
    Manifest,
    part_of,
)
from serve_app.backup.vectors import save_vectors
from serve_app.launch.configuration import read, settings
from serve_app.launch.database import existing_database
from serve_app.launch.process import prepare_process
from serve_app.launch.progress import StartError, say, step
from serve_app.launch.version import genserve_version

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from deployments.catalogue.backups import Backups
    from deployments.catalogue.catalogue import Catalogue
    from serve_app.settings import AppSettings

_RENEWAL_S = HOLD_S / 6


def main(arguments: list[str]) -> int:
    """Back up and report what was copied; return the exit status."""
    asked = _parser().parse_args(arguments)
    prepare_process()
    try:
        found = settings(read(asked.file), asked.file)
        manifest = asyncio.run(back_up(found, Path(asked.output)))
    except (StartError, ServiceError) as error:
        say(f"error: {error}")
        return 1
    except OSError as error:
        say(f"error: {error.filename}: {error.strerror}")
        return 1
    size_bytes = manifest.files_bytes + sum(part.size_bytes for part in manifest.parts)
    say(f"backed up: {manifest.files} files; {size_bytes:,} bytes in all, in {asked.output}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="genserve backup",
        description="Copy database, vectors and files consistently, while the service runs or is "
        "stopped. With an embedded vector store, run it on the node of the Retriever.",
        allow_abbrev=False,
    )
    parser.add_argument("file", metavar="FILE", help="the configuration of the service")
    parser.add_argument(
        "--output",
        metavar="FOLDER",
        required=True,
        help="a new folder, or that of an earlier backup, which is replaced once this one is whole",
    )
    return parser


async def back_up(found: AppSettings, folder: Path) -> Manifest:
    """Copy an installation into a folder; return the manifest.

    Raises StartError if the backup fails, and Conflict if another backup is under way.
    """
    url = existing_database(found)
    before = _earlier(folder)
    catalogue = await asyncio.to_thread(open_catalogue, url)
    try:
        async with _held(catalogue.backups):
            manifest = await _copy(found, url, catalogue, folder, before)
    finally:
        catalogue.close()
    await asyncio.to_thread(os.sync)
    await asyncio.to_thread(manifest.write, folder)
    # Only now: until here, the backup before was whole.
    await asyncio.to_thread(_remove_other_parts, folder, manifest)
    listing = folder / manifest.folder / FILE_LIST
    await remove_unlisted(FileStore(str(folder / FILES)), listing)
    return manifest


def _remove_other_parts(folder: Path, manifest: Manifest) -> None:
    for left in folder.glob(f"{PARTS}*"):
        if left.name != manifest.folder:
            shutil.rmtree(left)


def _earlier(folder: Path) -> Path | None:
    """Return the file list of the backup in a folder; raise StartError if that is another's."""
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / MANIFEST).exists():
        return folder / Manifest.read(folder).folder / FILE_LIST
    known = {FILES, f".{MANIFEST}"}
    for each in folder.iterdir():
        if each.name not in known and not each.name.startswith(PARTS):
            msg = f"{folder}: neither empty nor a backup: name another folder"
            raise StartError(msg)
    return None


async def _copy(
    found: AppSettings, url: str, catalogue: Catalogue, folder: Path, before: Path | None
) -> Manifest:
    """Copy everything while removals are held."""
    began = datetime.now(UTC)
    parts = folder / f"{PARTS}{time.time_ns() // 1_000_000}"
    parts.mkdir()
    step("copying the database")
    await asyncio.to_thread(copy_database, url, parts)
    step("copying the vectors")
    await save_vectors(found, url, catalogue.backups, parts)
    step("copying the files")
    source, target = FileStore(found.files), FileStore(str(folder / FILES))
    files, files_bytes = await save_files(source, target, before, parts / FILE_LIST)
    # Those that changed since the database was copied: the vectors may have them.
    changes = await catalogue.attribute_changes.all()
    (parts / CHANGES).write_text(json.dumps(changes), encoding="utf-8")
    return await asyncio.to_thread(
        lambda: Manifest(
            FORMAT,
            began.isoformat(timespec="seconds"),
            genserve_version(),
            schema_of(url),
            kind_of(url),
            found.retriever.store,
            parts.name,
            tuple(part_of(parts, path) for path in sorted(parts.rglob("*")) if path.is_file()),
            files,
            files_bytes,
        )
    )


@contextlib.asynccontextmanager
async def _held(backups: Backups) -> AsyncIterator[None]:
    """Hold removals during the block, which is cancelled if the hold is lost."""
    token = await backups.begin()
    work = asyncio.current_task()
    lost: list[ServiceError] = []

    async def renew() -> None:
        nonlocal token
        while True:
            await asyncio.sleep(_RENEWAL_S)
            try:
                token = await backups.renew(token)
            except ServiceError as error:
                lost.append(error)
                if work is not None:
                    work.cancel()
                return

    renewal = asyncio.create_task(renew())
    try:
        yield
    except asyncio.CancelledError:
        if lost:
            raise lost[0] from None
        raise
    finally:
        renewal.cancel()
        await asyncio.gather(renewal, return_exceptions=True)
        await backups.end(token)
    if lost:
        raise lost[0]
