"""The `erase` command: have the service erase, or erase itself where no service runs."""

from __future__ import annotations

import argparse
import asyncio
from typing import TYPE_CHECKING

from deployments.catalogue.opening import open_catalogue
from deployments.collection_names import DEFAULT_COLLECTION, check_collection_name, full_name
from deployments.document_ids import check_document_id
from deployments.errors import InvalidRequest, ServiceError
from deployments.file_store import FileStore
from deployments.jobs.erasing import Eraser
from deployments.retriever.opening import open_store
from serve_app.launch.configuration import read, settings
from serve_app.launch.database import existing_database, is_running
from serve_app.launch.process import prepare_process
from serve_app.launch.progress import StartError, say

if TYPE_CHECKING:
    from deployments.catalogue.catalogue import Catalogue
    from deployments.catalogue.entries import ErasureEntry
    from serve_app.settings import AppSettings

_POLL_S = 1.0


def main(arguments: list[str]) -> int:
    """Erase and report what was removed; return the exit status."""
    parser = _parser()
    asked = parser.parse_args(arguments)
    if (asked.document is None) != asked.everything:
        parser.error("name a --document, or erase --everything of the key")
    prepare_process()
    collection = None if asked.everything else full_name(asked.key, asked.collection)
    try:
        check_collection_name(collection or full_name(asked.key, DEFAULT_COLLECTION))
        found = settings(read(asked.file), asked.file)
        erasure = asyncio.run(_erase(found, asked.key, collection, asked.document))
    except (StartError, ServiceError) as error:
        say(f"error: {error}")
        return 1
    removed = erasure.removed
    say(
        f"erased: {removed.collections} collections, {removed.documents} documents in "
        f"{removed.versions} versions, {removed.files} files, {removed.jobs} jobs, "
        f"{removed.responses} responses, {removed.conversations} conversations; "
        f"{removed.size_bytes:,} bytes as they were uploaded"
    )
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="genserve erase",
        description="Erase a document, or everything that belongs to an API key, also from the "
        "files of the stores. It cannot be undone. A service that runs does it; if none runs, this "
        "command does, on this node.",
        allow_abbrev=False,
    )
    parser.add_argument("file", metavar="FILE", help="the configuration of the service")
    parser.add_argument(
        "--key",
        metavar="NAME",
        required=True,
        help="the name of the API key, which need not be valid any more; '' for data that was "
        "stored without API keys",
    )
    parser.add_argument("--everything", action="store_true", help="all that belongs to the key")
    parser.add_argument(
        "--document",
        metavar="ID",
        type=_document_id,
        help="only this document, in all its versions",
    )
    parser.add_argument(
        "--collection",
        metavar="NAME",
        default=DEFAULT_COLLECTION,
        help="the collection of the document (default: %(default)s)",
    )
    return parser


def _document_id(value: str) -> str:
    try:
        check_document_id(value)
    except InvalidRequest as error:
        raise argparse.ArgumentTypeError(error.message) from error
    return value


async def _erase(
    found: AppSettings, owner: str, collection: str | None, document_id: str | None
) -> ErasureEntry:
    url = existing_database(found)
    catalogue = await asyncio.to_thread(open_catalogue, url)
    try:
        erasure = await catalogue.erasures.request(owner, collection, document_id)
        said = False
        while erasure.finished_at is None:
            if not await is_running(url):
                await _erase_here(found, url, catalogue)
            elif not said:
                said = True
                say(f"{erasure.id}: waiting for the service, some 20 s or more")
            await asyncio.sleep(_POLL_S)
            erasure = await catalogue.erasures.get(owner, erasure.id)
        return erasure
    finally:
        catalogue.close()


async def _erase_here(found: AppSettings, url: str, catalogue: Catalogue) -> None:
    """Carry out all erasures that are left; raise Unavailable if a service uses the stores."""
    store = open_store(found.retriever, found.data_dir)
    try:
        eraser = Eraser(catalogue, store, FileStore(found.files), url, cancel=None, in_flight_s=0.0)
        await eraser.run(claim_s=0.0)
    finally:
        await store.close()
