"""What a document must have in the vector store and in the file store; nothing here does I/O."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deployments.attribute_payloads import attributes_digest
from deployments.catalogue.entries import KEPT_EARLIER, VersionStatus
from deployments.contents import content_path, contents_folder
from deployments.jobs.doctor.findings import Finding
from deployments.types import DamageKind

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from deployments.catalogue.entries import VersionEntry
    from deployments.catalogue.inspection import KnownDocument
    from deployments.file_store import StoredFile
    from deployments.jobs.doctor.tallies import Tally, Versions

_ENDED = (VersionStatus.SUPERSEDED, VersionStatus.FAILED, VersionStatus.CANCELLED)


@dataclass(frozen=True, slots=True)
class Grace:
    """How old things must be before they are looked at, in seconds.

    `version_s` is of a version in progress without a job, which reconciliation ends within a
    minute; `file_s` of a file, which a sweep may still remove; `look_s` lies between the two looks
    at everything that is suspicious; `waiting_s` is of removals and changes. `pause_s` lies between
    two slices of any kind, so that other work comes in between.
    """

    pause_s: float = 0.02
    look_s: float = 5.0
    version_s: float = 180.0
    file_s: float = 3 * 3600.0
    waiting_s: float = 3600.0


def judge_vectors(
    document: KnownDocument,
    stored: Versions,
    active: Collection[str],
    unreadable: Collection[str],
    grace: Grace,
) -> Iterator[Finding]:
    """Compare a document with its vectors; `active` are jobs that have not ended.

    `unreadable` are indexes. What an active job works on is not looked at, nor what is rechunked.
    """
    busy = document.rechunked or not document.job_ids.isdisjoint(active)
    by_number = {one.document.version: one for one in document.versions}
    if not busy:
        for (_, number), tally in stored.items():
            version = by_number.get(number)
            if version is None or version.status in _ENDED:
                kind = DamageKind.OLD_VECTORS if tally.published else DamageKind.HIDDEN_CHUNKS
                yield _finding(kind, document, number, f"{tally.published + tally.hidden} chunks")
        yield from _judge_current(document, stored, unreadable)
    for version in document.versions:
        waits = version.status is VersionStatus.IN_PROGRESS
        age_s = time.time() - version.document.created_at
        if waits and version.document.job_id not in active and age_s > grace.version_s:
            yield _finding(DamageKind.VERSION_LOST, document, version.document.version)


def _judge_current(
    document: KnownDocument, stored: Versions, unreadable: Collection[str]
) -> Iterator[Finding]:
    current = document.current
    if current is None:
        return
    number, expected = current.document.version, current.document.chunks
    # A collection of version 0.1 that is not moved yet has no index.
    for index in document.indexes:
        if index in unreadable:
            continue
        tally = stored.get((index, number))
        if tally is None or not tally.published:
            yield _finding(DamageKind.NO_VECTORS, document, number, f"{expected} chunks")
        elif tally.published < expected:
            detail = f"{expected - tally.published} of {expected} chunks"
            yield _finding(DamageKind.CHUNKS_MISSING, document, number, detail)
        else:
            yield from _judge_whole(document, number, tally)


def _judge_whole(document: KnownDocument, number: int, tally: Tally) -> Iterator[Finding]:
    if tally.hidden:
        yield _finding(DamageKind.HIDDEN_CHUNKS, document, number, f"{tally.hidden} chunks")
    if tally.attributes != attributes_digest(document.attributes):
        yield _finding(DamageKind.ATTRIBUTES_DIFFER, document, number)


def restorable(document: KnownDocument) -> dict[int, VersionEntry]:
    """Return the versions whose contents may be kept; see `Versions.restorable`."""
    earlier = [one for one in document.versions if one.status is VersionStatus.SUPERSEDED]
    wanted = [one for one in document.versions if one.status is VersionStatus.COMPLETED]
    return {one.document.version: one for one in (*wanted, *earlier[-KEPT_EARLIER:])}


def kept_contents(document: KnownDocument) -> dict[int, VersionEntry]:
    """Return the versions whose contents must be kept.

    Of those that version 0.1 has stored nothing was kept, and an attached file is a kept file.
    """
    if not document.named:
        return {}
    return {number: one for number, one in restorable(document).items() if one.digest}


def judge_contents(
    document: KnownDocument, files: Iterable[StoredFile], active: Collection[str], grace: Grace
) -> Iterator[Finding]:
    """Compare a document with the files in its folder."""
    if not document.job_ids.isdisjoint(active):
        return
    missing = kept_contents(document)
    needed = restorable(document).keys() | {one.restored_from for one in document.versions}
    folder = contents_folder(document.collection, document.id)
    for file in files:
        name = file.path.removeprefix(f"{folder}/")
        number = int(name) if name.isdecimal() else 0
        version = missing.pop(number, None)
        if version is not None:
            size = version.document.size_bytes
            if file.size_bytes != size:
                detail = f"{file.size_bytes:,} bytes, not {size:,}"
                yield _finding(DamageKind.CONTENT_DIFFERS, document, number, detail, file.path)
        elif (
            number not in needed
            and _is_left(number, document)
            and time.time() - file.changed_at > grace.file_s
        ):
            yield _finding(DamageKind.UNKNOWN_FILE, document, 0, path=file.path)
    for number in missing:
        path = content_path(document.collection, document.id, number)
        yield _finding(DamageKind.CONTENT_MISSING, document, number, path=path)


def _is_left(number: int, document: KnownDocument) -> bool:
    """Return whether nothing will ever need the content of a version."""
    version = next((one for one in document.versions if one.document.version == number), None)
    return version is None or version.status in _ENDED


def _finding(
    kind: DamageKind, document: KnownDocument, version: int, detail: str = "", path: str = ""
) -> Finding:
    return Finding(
        kind,
        collection=document.collection,
        document_id=document.id,
        version=version,
        detail=detail,
        path=path,
    )
