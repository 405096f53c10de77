"""Accounts: what the requests of one owner can use, isolated from all other owners."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from serve_app.access.keys import NOBODY
from serve_app.access.metering import MeteredTextGenerator
from serve_app.access.ownership import OwnedJobs, OwnedRetriever, OwnedTextGenerator
from serve_app.answering.answer import Answering
from serve_app.documents.files import KeptFiles
from serve_app.documents.uploads import Uploads
from serve_app.documents.vector_stores import VectorStores
from serve_app.images import Imaging

if TYPE_CHECKING:
    from deployments.file_store import FileStore
    from serve_app.access.rate_limits import Allowance
    from serve_app.services import Services
    from serve_app.settings import AppSettings


@dataclass(frozen=True, slots=True)
class Account:
    """One for each owner, made at start; `services` see the owner's data only."""

    services: Services
    allowance: Allowance
    answering: Answering
    uploads: Uploads
    imaging: Imaging
    kept_files: KeptFiles
    vector_stores: VectorStores


def open_account(
    owner: str, allowance: Allowance, services: Services, settings: AppSettings, files: FileStore
) -> Account:
    """Make the account of an owner over the capabilities that all owners share."""
    retriever = OwnedRetriever(services.retriever, owner)
    jobs = OwnedJobs(services.jobs, owner)
    llm = services.llm
    if owner != NOBODY:
        llm = MeteredTextGenerator(OwnedTextGenerator(llm, owner), allowance)
    owned = replace(services, llm=llm, retriever=retriever, jobs=jobs)
    uploads = Uploads(jobs, files, settings.limits)
    kept = KeptFiles(files, owner, settings.limits)
    return Account(
        services=owned,
        allowance=allowance,
        answering=Answering(owned, settings),
        uploads=uploads,
        imaging=Imaging(jobs, settings.answer.total_timeout_s),
        kept_files=kept,
        vector_stores=VectorStores(owned, kept, uploads, files, owner),
    )
