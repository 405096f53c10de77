"""Reconciliation of the catalogue with jobs that ended without updating it.

Replicas of version 0.1 do not know the catalogue. A submission that was interrupted has left a
version without a job.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from loguru import logger

from deployments.catalogue.entries import LOST, VersionStatus
from deployments.catalogue.expiry import EXPIRED_KEPT_S
from deployments.contents import contents_folder, delete_earlier
from deployments.errors import NotFound, ServiceError
from deployments.jobs.records import fetch_jobs
from deployments.types import JobStatus

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deployments.catalogue.catalogue import Catalogue
    from deployments.catalogue.removals import Removal
    from deployments.file_store import FileStore
    from deployments.interfaces import Retriever, StoredDocuments
    from deployments.types import Document, Job

    class Backend(Retriever, StoredDocuments, Protocol):
        """The retriever, with what it has stored."""


_AGE_S = 60.0
_BATCH = 100
LOST_RESPONSE = "server_error", "the response was interrupted: send the request again"
INTERRUPTED = LOST, "the upload was interrupted: send the file again"


async def reconcile(catalogue: Catalogue, retriever: Backend, files: FileStore) -> None:
    """End the versions in progress whose jobs have ended, or were never submitted."""
    after: Document | None = None
    while documents := await catalogue.versions.unfinished(_AGE_S, _BATCH, after):
        after = documents[-1]
        job_ids = [document.job_id for document in documents if document.job_id is not None]
        jobs = {job.id: job for job in await fetch_jobs(job_ids)}
        for document in documents:
            job = jobs.get(document.job_id or "")
            if job is None or job.ended:
                logger.info("document {} is reconciled with its job", document.id)
                with _logged(document.id):
                    await reconcile_version(document, job, catalogue, retriever)
    while collection := await catalogue.collections.remove_expired(EXPIRED_KEPT_S):
        logger.info(
            "removed collection {}: it had expired, or its removal was interrupted", collection
        )
    await _remove_left(catalogue, retriever, files)
    await _apply_left(catalogue, retriever)
    while removed := await catalogue.responses.remove_expired(_BATCH):
        logger.info("{} expired responses removed", removed)
    await _fail_lost_responses(catalogue)


async def _fail_lost_responses(catalogue: Catalogue) -> None:
    """Fail unfinished responses whose job has ended or was never submitted."""
    after = ""
    while found := await catalogue.background_responses.unfinished(_AGE_S, _BATCH, after):
        after = found[-1].id
        jobs = {job.id: job for job in await fetch_jobs([one.job_id for one in found])}
        for one in found:
            job = jobs.get(one.job_id)
            if job is None or job.ended:
                with _logged(one.id):
                    await catalogue.background_responses.fail(one.owner, one.id, *LOST_RESPONSE)


async def _remove_left(catalogue: Catalogue, retriever: Backend, files: FileStore) -> None:
    """Delete what was removed where that was interrupted, or had to wait for a backup."""
    for _ in range(_BATCH):
        removal = await catalogue.removals.claim(_AGE_S)
        if removal is None:
            return
        with _logged(removal.document_id or removal.collection):
            await carry_out(removal, catalogue, retriever, files)


async def carry_out(
    removal: Removal, catalogue: Catalogue, retriever: Backend, files: FileStore
) -> None:
    """Delete what was removed, and forget the removal."""
    with contextlib.suppress(NotFound):
        await _remove(removal, catalogue, retriever, files)
    await catalogue.removals.done(removal)


async def _remove(
    removal: Removal, catalogue: Catalogue, retriever: Backend, files: FileStore
) -> None:
    if removal.path is not None:
        await files.delete(removal.path)
    elif removal.document_id is None:
        await retriever.drop(removal.collection)
        await files.delete(contents_folder(removal.collection))
    elif removal.version is None:
        await retriever.delete(removal.collection, removal.document_id)
        await files.delete(contents_folder(removal.collection, removal.document_id))
    else:
        await retriever.discard(removal.collection, removal.document_id, [removal.version])
        kept = await catalogue.versions.restorable(removal.collection, removal.document_id)
        if kept and not await catalogue.removals.held():  # asked last: see `catalogue.backups`
            await delete_earlier(files, removal.collection, removal.document_id, kept)


async def _apply_left(catalogue: Catalogue, retriever: Backend) -> None:
    """Write changed attributes to vectors where that was interrupted."""
    for _ in range(_BATCH):
        change = await catalogue.attribute_changes.claim(_AGE_S)
        if change is None:
            return
        with _logged(change.document_id):
            await retriever.apply_attributes(change.collection, change.document_id)
            await catalogue.attribute_changes.done([change])


@contextlib.contextmanager
def _logged(name: str) -> Iterator[None]:
    """Log an error and go on with the next one; this one is tried again."""
    try:
        yield
    except NotFound:
        pass  # removed meanwhile
    except ServiceError as error:
        logger.warning("{} could not be reconciled: {}", name, error)


async def reconcile_version(
    document: Document, job: Job | None, catalogue: Catalogue, retriever: Backend
) -> None:
    """End a version in progress as its job has ended; `job` is None if there is none."""
    versions = catalogue.versions
    if job is None or job.status is JobStatus.SUCCEEDED:
        try:
            stored = await retriever.document(document.collection, document.id, document.version)
        except NotFound:
            stored = None
        if stored is not None:
            if job is not None:
                stored = replace(stored, warnings=job.warnings)
            if useless := await versions.complete(stored):
                await retriever.discard(document.collection, document.id, useless)
            return
        status = await versions.settle(document, VersionStatus.FAILED, *INTERRUPTED)
    elif job.status is JobStatus.FAILED:
        error = job.error_code, job.error_message
        status = await versions.settle(document, VersionStatus.FAILED, *error)
    else:
        status = await versions.settle(document, VersionStatus.CANCELLED)
    if status in {VersionStatus.FAILED, VersionStatus.CANCELLED}:
        await retriever.discard(document.collection, document.id, [document.version])
