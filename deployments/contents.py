"""Contents of documents, as they were uploaded: kept so that a version can be read again.

The path is COLLECTION/DOCUMENT/VERSION. Attached files have no content here: the kept file itself
is used.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from deployments.collection_names import owner_of
from deployments.errors import NotFound
from deployments.kept_files import CARD_BYTES, file_id_of, kept_path

if TYPE_CHECKING:
    from collections.abc import Collection

    from deployments.file_store import FileStore
    from deployments.types import Document

CONTENTS = "contents"
"""Folder of the file store, with a folder for each collection."""


def content_path(collection: str, document_id: str, version: int) -> str:
    """Return the path of the content of a version."""
    return f"{contents_folder(collection, document_id)}/{version}"


def path_and_start(document: Document, *, named: bool) -> tuple[str, int]:
    """Return where the content of a version is, and its first byte there.

    A document that is not `named` is an attached file.
    """
    if named:
        return content_path(document.collection, document.id, document.version), 0
    return kept_path(owner_of(document.collection), file_id_of(document.id)), CARD_BYTES


def contents_folder(collection: str, document_id: str | None = None) -> str:
    """Return the folder of the contents of a document, or of a collection."""
    return "/".join(filter(None, (CONTENTS, collection, document_id)))


async def keep_content(files: FileStore, upload: str, target: str, *, copied: bool) -> None:
    """Move or copy an upload to where the content of its version is kept; may be repeated."""
    with contextlib.suppress(NotFound):  # it was moved before
        await (files.copy if copied else files.move)(upload, target)


async def delete_earlier(
    files: FileStore, collection: str, document_id: str, kept: Collection[int]
) -> None:
    """Delete the contents of versions that are older than the newest one that is kept."""
    for name in await files.names(contents_folder(collection, document_id)):
        if name.isdecimal() and int(name) < max(kept) and int(name) not in kept:
            await files.delete(content_path(collection, document_id, int(name)))
