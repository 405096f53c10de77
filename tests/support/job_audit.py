"""What the kill test finds afterwards: over HTTP, and in the files once the service has ended."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from deployments.retriever import points
from deployments.retriever.edge.index import Index
from tests.support.document_clients import audit_shelves
from tests.support.job_clients import ENDED, IMAGES, INGEST, PATIENCE_S, Acknowledged, Ledger, ask
from tests.support.paths import ROOT
from tests.support.processes import Command

LOST = "acknowledged jobs lost"
STUCK = "acknowledged jobs that never ended"
LIES = "answers that cannot be true"
NO_REASON = "failed jobs without a reason"
MISSING = "succeeded documents that are not there"
HALF = "half-visible documents"
TWICE = "points stored twice"
LEFT_POINTS = "points left by failed, cancelled or unfinished work"
LEFT_FILES = "files left by ended work"
PICTURES = "pictures missing or broken"
SHELVES = "versions, batches, filters and deletions that are not as they must be"
DAMAGE = "findings of the doctor"
GIVEN_UP = "requests nobody answered for 5 minutes"
MUST_BE_ZERO = (
    *(
        LOST,
        STUCK,
        LIES,
        NO_REASON,
        MISSING,
        HALF,
        TWICE,
        LEFT_POINTS,
        LEFT_FILES,
        PICTURES,
        SHELVES,
    ),
    DAMAGE,
    GIVEN_UP,
)

Get = Callable[[str], httpx.Response]

_PAGE = 100
_SCROLL = 1000
_REQUEST_TIMEOUT_S = 60.0
_DOCTOR_TIMEOUT_S = 300.0


@dataclass
class Verdict:
    """What is wrong, by heading, with a line for each case; and how much was looked at."""

    wrong: dict[str, list[str]] = field(default_factory=lambda: {n: [] for n in MUST_BE_ZERO})
    looked_at: Counter[str] = field(default_factory=Counter)

    @property
    def good(self) -> bool:
        """Whether nothing is wrong."""
        return not any(self.wrong.values())

    def __str__(self) -> str:
        return "\n".join(f"{name}: {case}" for name, cases in self.wrong.items() for case in cases)


def over_http(url: str, ledger: Ledger, verdict: Verdict) -> dict[str, int]:
    """Ask for every job, document and picture that was promised.

    Returns the searchable documents, with the number of their chunks. Raises TimeoutError if
    nobody answers.
    """
    with httpx.Client(base_url=url, timeout=_REQUEST_TIMEOUT_S, trust_env=False) as http:

        def get(path: str) -> httpx.Response:
            answer = ask(http, ledger, time.monotonic() + PATIENCE_S, "GET", path)
            if answer is None:
                raise TimeoutError("the service does not answer any more")
            return answer

        for job in ledger.jobs.values():
            ledger.said(job, get(f"/v1/jobs/{job.job_id}"))
            if job.job_id in ledger.lost:
                continue
            _judge(job, verdict)
            if job.kind == IMAGES:
                _look_at_pictures(get, job, verdict)
        listed = {document["id"]: document["chunks"] for document in _documents(get)}
        kept = _succeeded(ledger) - ledger.shelves.deleted
        for document_id in sorted(kept):
            answer = get(f"/v1/documents/{document_id}")
            if document_id not in listed or not answer.is_success:
                verdict.wrong[MISSING].append(f"{document_id}: GET {answer.status_code}")
            elif answer.json()["chunks"] != listed[document_id]:
                verdict.wrong[HALF].append(f"{document_id}: two different numbers of chunks")
        listed |= _shelves(http, ledger, verdict)
    verdict.looked_at["files of batches"] = sum(
        len(shelf.attributes) for shelf in ledger.shelves.all.values()
    )
    verdict.wrong[LOST] += sorted(ledger.lost)
    verdict.wrong[LIES] += ledger.lies
    verdict.wrong[GIVEN_UP] += ["a request"] * ledger.given_up
    verdict.looked_at["jobs"] = len(ledger.jobs)
    return listed


def in_files(
    data: Path, ledger: Ledger, listed: Mapping[str, int], kills: int, verdict: Verdict
) -> None:
    """Read every point of the embedded store, and look for files; the service must have ended.

    A kill between the storing of an upload and the submission of its job leaves the upload, which
    the service deletes after an hour: more of these than kills are wrong.
    """
    stored: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for folder in sorted((data / "vectors" / "indexes").iterdir()):
        for payload in _payloads(folder):
            stored[payload[points.DOCUMENT_ID]].append(payload)
    succeeded = _succeeded(ledger) - ledger.shelves.deleted
    succeeded |= set(ledger.shelves.documents())
    for document_id, payloads in stored.items():
        verdict.looked_at["points"] += len(payloads)
        if document_id in succeeded:
            verdict.looked_at["documents"] += 1
            _look_at_points(document_id, payloads, listed.get(document_id), verdict)
        else:
            verdict.wrong[LEFT_POINTS].append(f"{document_id}: {len(payloads)} points")
    verdict.wrong[MISSING] += [f"{one}: no point" for one in sorted(succeeded - stored.keys())]
    contents = data / "files" / "contents"
    verdict.wrong[LEFT_FILES] += [
        str(folder.relative_to(data))
        for folder in contents.glob("*/*")
        if folder.name in ledger.shelves.deleted
    ]
    interrupted = list(_files(data, "uploads"))
    verdict.looked_at["uploads without a job"] = len(interrupted)
    left = list(_files(data, "chunks")) + interrupted[kills:]
    # Like its points, the content of a document goes with it.
    left += [file for file in _files(data, "contents") if file.parent.name not in succeeded]
    verdict.wrong[LEFT_FILES] += [str(file.relative_to(data)) for file in left]


def with_doctor(command: Command, verdict: Verdict) -> None:
    """Have the doctor look at everything; the service that this command starts must have ended."""
    examined = subprocess.run(
        [sys.executable, "-m", "serve_app.doctor", command.args[-1], "--json"],
        cwd=ROOT,
        env=os.environ | dict(command.env),
        capture_output=True,
        text=True,
        timeout=_DOCTOR_TIMEOUT_S,
        check=False,
    )
    if examined.returncode not in {0, 1}:
        verdict.wrong[DAMAGE].append(examined.stderr)
        return
    record = json.loads(examined.stdout)
    verdict.looked_at["chunks (doctor)"] = record["looked_at"]["chunks"]
    verdict.wrong[DAMAGE] += [
        f"{kind['kind']}: {example['subject']} {example['detail']}"
        for kind in record["kinds"]
        for example in kind["examples"]
    ]


def _judge(job: Acknowledged, verdict: Verdict) -> None:
    """Hold a job's last word against what was seen and promised before."""
    lies = verdict.wrong[LIES]
    if job.status not in ENDED:
        verdict.wrong[STUCK].append(f"{job.job_id}: {job.kind}, {job.status or 'never seen'}")
        return
    if job.cancelled and job.status != "cancelled":
        lies.append(f"{job.job_id} was to be cancelled and {job.status}")
    if job.status == "failed" and not (job.error and job.error.get("message")):
        verdict.wrong[NO_REASON].append(job.job_id)
    if job.status == "succeeded" and (job.error or not job.total or job.done != job.total):
        lies.append(f"{job.job_id} succeeded with {job.done} of {job.total}, error {job.error}")
    if job.status == "succeeded" and job.kind == IMAGES and job.total != job.pictures:
        lies.append(f"{job.job_id} counts {job.total} pictures of {job.pictures}")


def _look_at_pictures(get: Get, job: Acknowledged, verdict: Verdict) -> None:
    """Load every picture of a job that succeeded; one that was cancelled has none."""
    for number in range(job.pictures):
        answer = get(f"/v1/images/{job.job_id}/{number}.png")
        if job.status == "cancelled" and answer.is_success:
            verdict.wrong[LEFT_FILES].append(f"{job.job_id}: picture {number}")
        elif job.status == "succeeded":
            verdict.looked_at["pictures"] += 1
            if not answer.is_success or not _whole_png(answer.content):
                verdict.wrong[PICTURES].append(f"{job.job_id}/{number}: {answer.status_code}")


def _whole_png(data: bytes) -> bool:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as picture:
            picture.verify()  # the checksums; it cannot be read after that
        with Image.open(io.BytesIO(data)) as picture:
            picture.load()
    except (OSError, SyntaxError, ValueError):
        return False
    return True


def _look_at_points(
    document_id: str, payloads: list[dict[str, Any]], listed: int | None, verdict: Verdict
) -> None:
    """Hold the points of one document against each other and against the catalogue."""
    chunks = Counter(one["number"] for one in payloads)
    if twice := sum(count - 1 for count in chunks.values()):
        verdict.wrong[TWICE].append(f"{document_id}: {twice} points")
    hidden = sum(not points.is_published(one, one[points.COLLECTION]) for one in payloads)
    told = {one["document"]["chunks"] for one in payloads if "document" in one}
    if hidden or told != {listed} or set(chunks) != set(range(listed or 0)):
        verdict.wrong[HALF].append(
            f"{document_id}: {hidden} points hidden, {len(chunks)} chunks of {listed}, told {told}"
        )


def _succeeded(ledger: Ledger) -> set[str]:
    return {
        job.document_id
        for job in ledger.jobs.values()
        if job.kind == INGEST and job.status == "succeeded"
    }


def _shelves(http: httpx.Client, ledger: Ledger, verdict: Verdict) -> dict[str, int]:
    """Look at versions, batches and deletions; return the chunks of the files of batches."""

    def send(method: str, path: str, **content: Any) -> httpx.Response:
        answer = ask(http, ledger, time.monotonic() + PATIENCE_S, method, path, **content)
        if answer is None:
            raise TimeoutError("the service does not answer any more")
        return answer

    verdict.wrong[SHELVES] += audit_shelves(ledger.shelves, send)
    listed = {}
    for shelf in ledger.shelves.all.values():
        for file_id in shelf.attributes:
            document_id = f"doc_{file_id.removeprefix('file-')}"
            path = f"/v1/documents/{document_id}?collection={shelf.store}"
            answer = send("GET", path)
            listed[document_id] = answer.json()["chunks"] if answer.is_success else 0
    return listed


def _documents(get: Get) -> Iterator[dict[str, Any]]:
    path = f"/v1/documents?limit={_PAGE}"
    after = ""
    while True:
        page = get(path + after).raise_for_status().json()
        yield from page["data"]
        if not page["has_more"]:
            return
        after = f"&after={page['next_after']}"


def _payloads(folder: Path) -> Iterator[dict[str, Any]]:
    """Read what is really there, hidden or not."""
    index = Index(folder)
    try:
        after: str | None = None
        while found := index.shard.read(_SCROLL + 1, after):
            yield from (point.payload or {} for point in found[:_SCROLL])
            if len(found) <= _SCROLL:
                return
            after = str(found[_SCROLL].id)
    finally:
        index.close()


def _files(data: Path, name: str) -> Iterable[Path]:
    return (file for file in sorted((data / "files" / name).rglob("*")) if file.is_file())
