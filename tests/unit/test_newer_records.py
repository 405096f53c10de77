"""Records that a newer version wrote, before a rollback or during a rolling update, are read."""

from __future__ import annotations

import pytest

from deployments.retriever import points
from deployments.types import Chunk, Document

pytestmark = pytest.mark.anyio
NEWER = {"tags": ["new"], "checksum": "5e"}
DOCUMENT = Document("doc_a", "default", "a.txt", "A", "text/plain", 1, None, 1, 1.0)


async def test_a_stored_document_and_chunk_with_unknown_fields_are_read() -> None:
    published = points.published_payload(DOCUMENT)
    published["document"] |= NEWER
    payload = points.chunk_payload(DOCUMENT, "1.1", Chunk(0, "snow", 1)) | published | NEWER
    assert points.document_from(published) == DOCUMENT
    assert points.stored_from(payload).document == DOCUMENT
