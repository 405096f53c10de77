"""Entries of the catalogue, as it returns them."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

    from deployments.filters import Attributes
    from deployments.types import Chunking, Document, OnConflict

T = TypeVar("T")


LOST = "lost"
"""Code of the error of a version whose submission was interrupted."""
FILE_DELETED = "file_deleted"
"""Code of the error of a version whose file was deleted before it was read."""
KEPT_EARLIER = 1
"""Versions before the current one whose contents are kept, so that they can be restored."""


class DocumentStatus(StrEnum):
    """The status of a document; only a completed one can be found."""

    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class VersionStatus(StrEnum):
    """The status of a version; that of the current one is completed."""

    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    SUPERSEDED = "superseded"
    FAILED = "failed"
    CANCELLED = "cancelled"


ACTIVE = (VersionStatus.IN_PROGRESS.value, VersionStatus.COMPLETED.value)


@dataclass(frozen=True, slots=True)
class Upload:
    """A version of a document that a job is about to ingest.

    The document has `document_id`, or the name `filename` if that is None; `on_conflict` says what
    becomes of one that has the name already. A document with `document_id` gets the name too if it
    is `named` and the name is free. `digest` is the SHA-256 of the file in hexadecimal. With
    `attributes`, the document gets these; else it keeps its own. Without `chunking`, it is cut as
    the parser's settings say. `restored_from` is the number of the version whose content it has.
    With `batch_id` it is a file of that batch, whose attributes it gets. A new document is refused
    if the quota has no room for `room_bytes`, of which only its size is counted.
    """

    collection: str
    filename: str
    size_bytes: int
    digest: str
    job_id: str | None
    document_id: str | None = None
    on_conflict: OnConflict = "replace"
    author: str = ""
    created_at: float | None = None  # now
    named: bool = False
    attributes: Attributes | None = None
    chunking: Chunking | None = None
    restored_from: int | None = None
    batch_id: str | None = None
    room_bytes: int = 0


@dataclass(frozen=True, slots=True)
class DocumentEntry:
    """A document of a collection, in its current version, or the newest if none is completed.

    Its title, pages and chunks are known once it is completed.
    """

    document: Document
    status: DocumentStatus
    error_code: str | None = None
    error_message: str | None = None
    chunking: Chunking | None = None


@dataclass(frozen=True, slots=True)
class CurrentVersion:
    """The current version of a completed document, and the document's name and attributes."""

    number: int
    filename: str
    attributes: Attributes = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class VersionEntry:
    """A version of a document; `author` is the name of the API key that uploaded it.

    `restored_from` is the number of the version whose content it has again.
    """

    document: Document
    status: VersionStatus
    digest: str
    author: str
    error_code: str | None = None
    error_message: str | None = None
    restored_from: int | None = None
    chunking: Chunking | None = None


@dataclass(frozen=True, slots=True)
class CollectionEntry:
    """A collection, with the number of its documents of each status.

    `size_bytes` is that of the completed documents; times are in seconds since the epoch. It
    expires `expires_days` after it was last used, if that is set.
    """

    id: str
    name: str
    created_at: int
    metadata: Mapping[str, str] = field(default_factory=dict)
    in_progress: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    size_bytes: int = 0
    expires_days: int | None = None
    active_at: int | None = None
    expires_at: int | None = None
    expired: bool = False


@dataclass(frozen=True, slots=True)
class Expiry:
    """When a collection expires: so many days after it was last used, or never."""

    days: int | None


@dataclass(frozen=True, slots=True)
class CollectionIndex:
    """The vector index of a collection, with the name of its embedding model.

    The name of the index is None as long as no document is completed. It is also None with
    completed documents, if version 0.1 has stored these and they are not moved yet. `other` is a
    second index that is kept equal, and `pair` names the two. `languages` are those of documents
    that were ever completed, ISO 639 codes in order.
    """

    name: str | None
    model: str
    completed: int
    other: str | None = None
    other_model: str = ""
    pair: str | None = None
    languages: tuple[str, ...] = ()


class ChangeState(StrEnum):
    """The state of a change of the embedding model; the last two are final."""

    RUNNING = "running"
    PAUSED = "paused"
    SWITCHED = "switched"
    FINISHED = "finished"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class ModelChange:
    """A change of the embedding model: all collections are embedded into another index.

    `index_name` and `model` are the new ones. With `beside`, the service has both models; else a
    collection cannot be searched until it is done. With `automatic`, all collections are switched
    once every document is done. `loaded` are the indexes of the models that the service has, and
    `failed` the documents that could not be copied. Times are in seconds since the epoch.
    """

    number: int
    index_name: str
    model: str
    beside: bool
    automatic: bool
    state: ChangeState
    created_at: float
    finished_at: float | None = None
    loaded: tuple[str, ...] = ()
    chunks_per_s: float = 0.0
    failed: int = 0

    @property
    def ended(self) -> bool:
        """Whether its collections have one index again."""
        return self.state in {ChangeState.FINISHED, ChangeState.CANCELLED}


@dataclass(frozen=True, slots=True)
class ChangeProgress:
    """Completed documents and their chunks, and how many of them are in both indexes.

    `collections` have two indexes, and `switched` of them are searched in the new one.
    """

    documents: int = 0
    done_documents: int = 0
    chunks: int = 0
    done_chunks: int = 0
    collections: int = 0
    switched: int = 0


@dataclass(frozen=True, slots=True)
class DocumentToCopy:
    """A document that one of the indexes of its collection lacks: the second, or the first."""

    document: Document
    only_second: bool


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file that is kept; `created_at` in seconds since the epoch.

    `digest` is its SHA-256 in hexadecimal, empty if version 0.1 has stored it.
    """

    id: str
    filename: str
    purpose: str
    size_bytes: int
    created_at: int
    digest: str = ""


@dataclass(frozen=True, slots=True)
class BatchFile:
    """A file of a batch, by the document that it becomes in the collection."""

    document_id: str
    collection: str = ""
    batch_id: str = ""
    chunking: Chunking | None = None
    attributes: Attributes | None = None


@dataclass(frozen=True, slots=True)
class BatchEntry:
    """A file batch, with the number of its files of each status.

    A file that was removed from the collection counts as cancelled. `created_at` is in seconds
    since the epoch.
    """

    id: str
    collection: str
    created_at: int
    cancelled: bool
    files: Mapping[DocumentStatus, int]


@dataclass(frozen=True, slots=True)
class EntryPage(Generic[T]):
    """A page of a list; `more` says whether another one follows."""

    entries: tuple[T, ...]
    more: bool = False


@dataclass(frozen=True, slots=True)
class PageQuery:
    """At most `limit` entries that follow the id `after`, in the order of their ids."""

    limit: int
    after: str | None = None
    newest_first: bool = False


@dataclass(frozen=True, slots=True)
class Quotas:
    """The most that one owner keeps."""

    collections: int
    documents: int
    files: int
    size_bytes: int
    responses: int = sys.maxsize
    conversations: int = sys.maxsize
    responses_bytes: int = sys.maxsize


@dataclass(frozen=True, slots=True)
class Removed:
    """How much an erasure has removed; `size_bytes` is that of documents and files."""

    collections: int = 0
    documents: int = 0
    versions: int = 0
    files: int = 0
    jobs: int = 0
    size_bytes: int = 0
    responses: int = 0
    conversations: int = 0


@dataclass(frozen=True, slots=True)
class ErasureEntry:
    """An erasure of a document, or of everything of the owner; times in seconds since the epoch."""

    id: str
    owner: str
    created_at: float
    collection: str | None = None
    document_id: str | None = None
    finished_at: float | None = None
    removed: Removed = field(default_factory=Removed)
