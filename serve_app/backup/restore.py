"""The `restore` command: put a backup in place of an empty installation."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from deployments.errors import ServiceError
from deployments.file_store import FileStore
from deployments.private_files import make_private
from deployments.retriever.opening import vectors_folder
from deployments.settings import Secrets, database_url
from serve_app.backup.database import (
    POSTGRES_COPY,
    SQLITE_COPY,
    is_empty,
    is_known_schema,
    kind_of,
    restore_database,
)
from serve_app.backup.files import BACKED_UP, check_files, restore_files
from serve_app.backup.manifest import CHANGES, FILE_LIST, FILES, Manifest, check_part
from serve_app.backup.vectors import EDGE, has_vectors, restore_vectors
from serve_app.launch.configuration import read, settings
from serve_app.launch.process import prepare_process
from serve_app.launch.progress import StartError, say, step

if TYPE_CHECKING:
    from serve_app.settings import AppSettings


def main(arguments: list[str]) -> int:
    """Restore and say what to do next; return the exit status."""
    asked = _parser().parse_args(arguments)
    prepare_process()
    try:
        found = settings(read(asked.file), asked.file)
        manifest = asyncio.run(restore(Path(asked.folder), found))
    except (StartError, ServiceError) as error:
        say(f"error: {error}")
        return 1
    except OSError as error:
        say(f"error: {error.filename}: {error.strerror}")
        return 1
    say(f"restored the backup of {manifest.created_at}; now start the service")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="genserve restore",
        description="Put a backup in place of an empty installation: no service has stored "
        "anything in its database, `data_dir` and file store.",
        allow_abbrev=False,
    )
    parser.add_argument("folder", metavar="FOLDER", help="the backup")
    parser.add_argument("file", metavar="FILE", help="the configuration of the new installation")
    return parser


async def restore(folder: Path, found: AppSettings) -> Manifest:
    """Check a backup and restore it; return its manifest.

    Raises StartError if it is not whole, of a newer version or of another kind of installation, or
    if the installation is not empty.
    """
    manifest = Manifest.read(folder)
    url = database_url(found.database_url, Secrets())
    _check_kind(manifest, url, found)
    await _check_empty(url, found)
    parts, saved = folder / manifest.folder, FileStore(str(folder / FILES))
    step("checking the backup")
    await asyncio.to_thread(_check_parts, parts, manifest)
    await check_files(saved, parts / FILE_LIST)
    make_private(Path(found.data_dir))
    step("restoring the files")
    await restore_files(saved, FileStore(found.files), parts / FILE_LIST)
    step("restoring the vectors")
    await restore_vectors(found, parts, manifest.parts)
    step("restoring the database")
    changes = json.loads((parts / CHANGES).read_text(encoding="utf-8"))
    copy = parts / (SQLITE_COPY if manifest.database == "sqlite" else POSTGRES_COPY)
    await asyncio.to_thread(restore_database, copy, url, [(one[0], one[1]) for one in changes])
    await asyncio.to_thread(os.sync)
    return manifest


def _check_parts(folder: Path, manifest: Manifest) -> None:
    for part in manifest.parts:
        check_part(folder, part)


def _check_kind(manifest: Manifest, url: str, found: AppSettings) -> None:
    """Raise StartError if the backup is not for this version and kind of installation."""
    if not is_known_schema(manifest.schema):
        msg = (
            f"the backup was taken by GenServe {manifest.genserve}, with a schema "
            f"({manifest.schema}) that this version does not know: install that version"
        )
        raise StartError(msg)
    kinds = (manifest.database, kind_of(url)), (manifest.vectors, found.retriever.store)
    for saved, configured in kinds:
        if saved != configured:
            msg = f"the backup is of an installation with {saved}, and the file names {configured}"
            raise StartError(msg)


async def _check_empty(url: str, found: AppSettings) -> None:
    """Raise StartError if there is anything that a restore would mix with."""
    advice = "restore into an empty installation; if an earlier restore was interrupted, remove"
    if not await asyncio.to_thread(is_empty, url):
        msg = f"the database has data of GenServe: {advice} its tables or its file first"
        raise StartError(msg)
    if await has_vectors(found):
        store = (
            vectors_folder(found.data_dir) if found.retriever.store == EDGE else "the Qdrant server"
        )
        msg = f"{store} has vectors of GenServe: {advice} them first"
        raise StartError(msg)
    files = FileStore(found.files)
    for name in BACKED_UP:
        if await files.names(name):
            msg = f"{found.files} has files in {name}: {advice} them first"
            raise StartError(msg)
