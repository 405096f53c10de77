"""Records that a newer version wrote, before a rollback or during a rolling update, are read."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest

from deployments.archives.records import WarningRecord, warning_record
from deployments.records import warnings_from
from deployments.retriever import points
from deployments.types import Chunk, Document, DocumentWarning

pytestmark = pytest.mark.anyio
NEWER = {"tags": ["new"], "checksum": "5e"}
DOCUMENT = Document("doc_a", "default", "a.txt", "A", "text/plain", 1, None, 1, 1.0)


async def test_a_stored_document_and_chunk_with_unknown_fields_are_read() -> None:
    published = points.published_payload(DOCUMENT)
    published["document"] |= NEWER
    payload = points.chunk_payload(DOCUMENT, "1.1", Chunk(0, "snow", 1)) | published | NEWER
    assert points.document_from(published) == DOCUMENT
    assert points.stored_from(payload).document == DOCUMENT


def test_an_object_of_a_version_with_fewer_or_more_fields_is_unpickled() -> None:
    warned = replace(DOCUMENT, warnings=(DocumentWarning("partly_read", "a part", (1,)),))
    newest = replace(warned, language="de")
    assert copy.copy(newest) == newest
    state: list[object] = newest.__getstate__()  # type: ignore[assignment]  # of dataclasses
    for pickled in (state[:-1], [*state, "new"]):
        read = object.__new__(Document)
        read.__setstate__(pickled)
        assert read == (warned if len(pickled) < len(state) else newest)


def test_warnings_fit_into_an_archive_and_come_back() -> None:
    long = DocumentWarning("pages_by_ocr", "x" * 900, tuple(range(1, 500)))
    record = warning_record(long)
    read = WarningRecord.model_validate_json(record.model_dump_json())
    (back,) = warnings_from([read.model_dump()])
    assert (back.code, back.pages) == ("pages_by_ocr", tuple(range(1, 101)))
    assert long.message.startswith(back.message)
