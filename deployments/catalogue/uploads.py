"""Catalogue records of uploads that are not parsed yet."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from deployments.catalogue.entries import Upload
from deployments.types import Document

if TYPE_CHECKING:
    from deployments.types import IngestSpec


def upload_of(spec: IngestSpec, job_id: str) -> Upload:
    """Return what the catalogue needs to know of an upload."""
    return Upload(
        spec.collection,
        spec.filename,
        spec.size_bytes,
        spec.digest,
        job_id,
        document_id=spec.document_id or None,
        on_conflict=spec.on_conflict,
        author=spec.owner,
        attributes=spec.attributes,
        chunking=spec.chunking,
        restored_from=spec.restored_from,
        batch_id=spec.batch_id,
    )


def new_document(spec: IngestSpec, job_id: str, version: int) -> Document:
    """Return what is known of a version before it is read."""
    return Document(
        id=spec.document_id,
        collection=spec.collection,
        filename=spec.filename,
        title="",
        media_type="",
        size_bytes=spec.size_bytes,
        pages=None,
        chunks=0,
        created_at=time.time(),
        job_id=job_id,
        version=version,
    )
