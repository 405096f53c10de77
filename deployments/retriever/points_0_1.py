"""Points as version 0.1 stored them, and how they become points of an index.

A collection had a store of its own. Beside its chunks it had a record of each document, without
vectors; `state` said what could be found.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from deployments.retriever import points
from deployments.types import DocumentList

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_STATE, _PUBLISHED = "state", "published"
_KIND, _CHUNK, _RECORD = "kind", "chunk", "document"
IS_LISTED = {_STATE: _PUBLISHED, _KIND: _RECORD}
IS_FOUND = {_STATE: _PUBLISHED, _KIND: _CHUNK}


def record_id(document_id: str) -> str:
    """Return the id of the record of a document."""
    return str(uuid.uuid5(points.NAMESPACE, document_id))


def page_of(payloads: Sequence[Mapping[str, Any]], limit: int, after: str | None) -> DocumentList:
    """Return `limit` documents behind `after`, of `limit` + 2 records if so many exist."""
    documents = [points.document_from(payload) for payload in payloads]
    documents = [document for document in documents if document.id != after]
    page = tuple(documents[:limit])
    return DocumentList(page, page[-1].id if len(documents) > limit else None)


def moved(collection: str, payload: Mapping[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """Return id and payload of a chunk in an index; None for the record of a document."""
    if payload.get(_KIND) != _CHUNK:
        return None
    kept = {name: value for name, value in payload.items() if name not in {_STATE, _KIND}}
    kept |= {
        points.COLLECTION: collection,
        points.VERSION: kept.get(points.VERSION, str(points.FIRST_VERSION)),
    }
    document_id, edition = kept[points.DOCUMENT_ID], kept[points.EDITION]
    if payload.get(_STATE) == _PUBLISHED:
        kept[points.FOUND_IN] = collection
    return points.chunk_id_of(collection, document_id, edition, kept["number"]), kept
