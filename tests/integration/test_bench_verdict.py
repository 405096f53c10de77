"""The verdict of the kill test sees what it looks for: each kind of damage, and no other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from qdrant_edge import UpdateOperation

from deployments.retriever import points
from deployments.retriever.bm25 import SparseVector
from deployments.retriever.edge.store import EdgeStore
from deployments.retriever.vector_store import EmbeddedChunk, VectorIndex
from deployments.types import Chunk, Document
from tests.support import job_audit as found
from tests.support.job_audit import Verdict, in_files
from tests.support.job_clients import IMAGES, INGEST, Acknowledged, Ledger

pytestmark = pytest.mark.anyio
CHUNKS = 3
INDEX = VectorIndex("test", 16)


def document(name: str) -> Document:
    return Document(name, "default", f"{name}.txt", name, "text/plain", 9, None, CHUNKS, 1.0)


def chunks(first: int = 0, last: int = CHUNKS) -> list[EmbeddedChunk]:
    row = np.eye(16, dtype=np.float32)[0]
    return [EmbeddedChunk(Chunk(n, "x", 1), row, SparseVector((), ())) for n in range(first, last)]


def ledger(**statuses: str) -> Ledger:
    written = Ledger()
    for name, status in statuses.items():
        job = Acknowledged(f"job_{name}", INGEST, document_id=name, status=status)
        written.acknowledge(replace(job, done=CHUNKS, total=CHUNKS))
    return written


def seen(data: Path, written: Ledger, listed: dict[str, int]) -> dict[str, int]:
    verdict = Verdict()
    in_files(data, written, listed, kills=0, verdict=verdict)
    return {name: len(cases) for name, cases in verdict.wrong.items() if cases}


async def test_only_whole_documents_of_jobs_that_succeeded_pass(tmp_path: Path) -> None:
    store = EdgeStore(tmp_path / "vectors", chunker_version=1)
    for name in ("good", "cut", "twice", "unlisted"):
        await store.add(INDEX, document(name), chunks())
        await store.publish(INDEX, document(name))
    await store.add(INDEX, document("half"), chunks(last=1))  # never published
    await store.add(INDEX, document("left"), chunks(last=2))  # of a job that failed
    # Damage that the store itself would not do.
    edge = store._indexes[INDEX.name].shard._edge
    other_cut = replace(document("twice"), chunks=9)
    await store.add(INDEX, other_cut, chunks(last=2))
    first = points.chunk_id(document("cut"), "1.3", 0)
    edge.update(UpdateOperation.delete_points([first]))
    await store.close()
    (tmp_path / "files" / "uploads" / "default").mkdir(parents=True)
    (tmp_path / "files" / "uploads" / "default" / "left").write_bytes(b"x")

    listed = dict.fromkeys(("good", "cut", "twice"), CHUNKS)
    good = ledger(good="succeeded")
    names = ("good", "cut", "twice", "unlisted", "half", "nowhere")
    written = ledger(**dict.fromkeys(names, "succeeded"), left="failed")
    assert seen(tmp_path, written, listed) == {
        found.HALF: 4,  # cut, twice, unlisted, half
        found.TWICE: 1,
        found.MISSING: 1,  # nowhere
        found.LEFT_POINTS: 1,
        found.LEFT_FILES: 1,
    }
    # Of nobody's promise is any point at all, but what was promised is well.
    assert seen(tmp_path, good, listed) == {found.LEFT_POINTS: 5, found.LEFT_FILES: 1}


@pytest.mark.parametrize(
    ("job", "wrong"),
    [
        (Acknowledged("a", IMAGES, pictures=3, status="succeeded", done=3, total=3), None),
        (Acknowledged("a", IMAGES, pictures=3, status="cancelled", cancelled=True), None),
        (Acknowledged("a", INGEST, status="failed", error={"message": "it is damaged"}), None),
        (Acknowledged("a", INGEST, status="failed", error={"message": ""}), found.NO_REASON),
        (Acknowledged("a", INGEST, status="failed"), found.NO_REASON),
        (Acknowledged("a", INGEST, status="running"), found.STUCK),
        (Acknowledged("a", INGEST), found.STUCK),
        (Acknowledged("a", IMAGES, pictures=3, status="succeeded", done=2, total=3), found.LIES),
        (Acknowledged("a", IMAGES, pictures=3, status="succeeded", done=2, total=2), found.LIES),
        (
            Acknowledged("a", INGEST, status="succeeded", done=1, total=1, cancelled=True),
            found.LIES,
        ),
    ],
)
def test_what_a_job_says_last_is_held_against_what_was_promised(
    job: Acknowledged, wrong: str | None
) -> None:
    verdict = Verdict()
    found._judge(job, verdict)
    assert [name for name, cases in verdict.wrong.items() if cases] == ([wrong] if wrong else [])
    assert verdict.good == (wrong is None)
