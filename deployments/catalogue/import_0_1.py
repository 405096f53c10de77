"""Import of the data of version 0.1, which had no catalogue.

It noted files and vector stores in the file store, and documents with their vectors. The records
in the file store are left unchanged; the vectors are moved into the index.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any

from loguru import logger

from deployments.catalogue.entries import CollectionEntry, FileEntry, Upload
from deployments.collection_names import full_name, owner_of, short_name
from deployments.errors import InvalidRequest, NotFound
from deployments.file_store import NO_OWNER
from deployments.kept_files import CARD_BYTES, document_id_of, kept_path
from deployments.records import from_record

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from deployments.catalogue.catalogue import Catalogue
    from deployments.file_store import FileStore
    from deployments.interfaces import StoredDocuments
    from deployments.types import Document

SOURCE = "0.1"
_BATCH = 100
_AT_ONCE = 32


class ImportOf01:
    """Adds to a catalogue without quotas; may be interrupted, and then begins again.

    What cannot be read is logged and left out.
    """

    def __init__(self, catalogue: Catalogue, files: FileStore, stored: StoredDocuments) -> None:
        self._catalogue = catalogue
        self._files = files
        self._stored = stored

    async def run_if_needed(self) -> None:
        """Import if that has never been finished, and move the vectors that could not be moved."""
        async with self._catalogue.exclusively():
            if await self._catalogue.imported_ms(SOURCE) is None:
                await self.run()
            else:
                await self._stored.move_collections()

    async def run(self) -> None:
        """Import everything that the catalogue does not have."""
        files = await self._import_files()
        stores = await self._import_vector_stores()
        documents = await self._import_documents()
        await self._stored.move_collections()
        await self._catalogue.set_imported(SOURCE)
        if files or stores or documents:
            logger.info(
                "imported from version 0.1: {} files, {} vector stores, {} documents",
                *(files, stores, documents),
            )

    async def _import_files(self) -> int:
        imported = 0
        for folder in await self._files.names("kept"):
            for batch in _batches(await self._files.names(f"kept/{folder}")):
                missing = sorted(await self._catalogue.files.missing(batch))
                cards = [kept_path(_owner(folder), file_id) for file_id in missing]
                async for path, card in self._read(cards, CARD_BYTES):
                    with _left_out_if_broken(path):
                        entry = from_record(FileEntry, card)
                        await self._catalogue.files.add(_owner(folder), entry)
                        imported += 1
        return imported

    async def _import_vector_stores(self) -> int:
        imported = 0
        for folder in await self._files.names("vector_stores"):
            for name in await self._files.names(f"vector_stores/{folder}"):
                root = f"vector_stores/{folder}/{name}"
                collection = full_name(_owner(folder), name)
                async for path, about in self._read([f"{root}/about"]):
                    with _left_out_if_broken(path):
                        entry = CollectionEntry(
                            collection,
                            str(about.get("name", name)),
                            int(about.get("created_at", 0)),
                            dict(about.get("metadata", {})),
                        )
                        await self._catalogue.collections.add(entry)
                        imported += 1
                for batch in _batches(await self._files.names(f"{root}/files")):
                    async for path, note in self._read([f"{root}/files/{each}" for each in batch]):
                        with _left_out_if_broken(path):
                            await self._import_attachment(collection, note)
        return imported

    async def _import_attachment(self, collection: str, note: dict[str, Any]) -> None:
        """Add what was attached; what is searchable becomes completed with the documents."""
        document_id = document_id_of(note["file_id"])
        with contextlib.suppress(NotFound):
            await self._catalogue.documents.get(collection, document_id)
            return
        upload = Upload(
            collection,
            await self._filename(collection, note["file_id"]),
            int(note["size_bytes"]),
            digest="",
            job_id=note.get("job_id"),
            document_id=document_id,
            author=owner_of(collection),
            created_at=float(note["created_at"]),
        )
        if note.get("status") == "failed":
            error = note.get("error_code") or "", note.get("error_message") or ""
            await self._catalogue.versions.add_failed(upload, *error)
        else:
            await self._catalogue.versions.begin(upload)

    async def _filename(self, collection: str, file_id: str) -> str:
        try:
            return (await self._catalogue.files.get(owner_of(collection), file_id)).filename
        except NotFound:
            return file_id

    async def _import_documents(self) -> int:
        imported = 0
        for collection in await self._stored.unmoved_collections():
            try:
                imported += await self._import_collection(collection)
            except InvalidRequest as error:  # of another program
                logger.warning("collection {} is left out: {}", collection, error)
        return imported

    async def _import_collection(self, collection: str) -> int:
        imported, created_at = 0, 0
        async for documents in self._documents(collection):
            if not imported:
                created_at = int(min(document.created_at for document in documents))
                await self._add_collection(collection, created_at)
            await self._catalogue.versions.import_completed(documents)
            imported += len(documents)
        if not imported:
            await self._add_collection(collection, created_at)
        return imported

    async def _add_collection(self, collection: str, created_at: int) -> None:
        entry = CollectionEntry(collection, short_name(collection), created_at)
        await self._catalogue.collections.add(entry)

    async def _documents(self, collection: str) -> AsyncIterator[Sequence[Document]]:
        after: str | None = None
        while True:
            listed = await self._stored.documents(collection, _BATCH, after)
            if listed.documents:
                yield listed.documents
            if (after := listed.next_after) is None:
                return

    async def _read(
        self, paths: Sequence[str], end: int | None = None
    ) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """Read JSON notes, as far as byte `end`; those that do not exist are left out."""
        for start in range(0, len(paths), _AT_ONCE):
            some = paths[start : start + _AT_ONCE]
            contents = await asyncio.gather(*(self._content(path, end) for path in some))
            for path, content in zip(some, contents, strict=True):
                with _left_out_if_broken(path):
                    if content is not None:
                        yield path, json.loads(content)

    async def _content(self, path: str, end: int | None) -> bytes | None:
        try:
            return await self._files.get(path, end)
        except NotFound:
            return None


@contextlib.contextmanager
def _left_out_if_broken(path: str) -> Iterator[None]:
    """Log a note that cannot be read: it must not keep the service from starting."""
    try:
        yield
    except (ValueError, TypeError, KeyError, AttributeError, InvalidRequest) as error:
        logger.warning("{} is left out: {}: {}", path, type(error).__name__, error)


def _batches(names: Sequence[str]) -> list[Sequence[str]]:
    return [names[start : start + _BATCH] for start in range(0, len(names), _BATCH)]


def _owner(folder: str) -> str:
    return "" if folder == NO_OWNER else folder
