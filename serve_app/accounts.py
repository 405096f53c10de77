"""Accounts: what the requests of one owner can use, isolated from all other owners."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from deployments.catalogue.owned import OwnedCatalogue, OwnedErasures
from deployments.file_store import NOTES_OF_0_1, UPLOADS, folder_of
from serve_app.access.fair_services import (
    FairEmbedder,
    FairTextGenerator,
    answer_queue,
    embedding_queue,
)
from serve_app.access.keys import NOBODY
from serve_app.access.metering import MeteredTextGenerator
from serve_app.access.ownership import OwnedJobs, OwnedRetriever, OwnedScraper, OwnedTextGenerator
from serve_app.access.shares import Shares
from serve_app.answering.answer import Answering
from serve_app.documents.attachments import Attachments
from serve_app.documents.documents import Documents
from serve_app.documents.exports import Exports
from serve_app.documents.file_batches import FileBatches
from serve_app.documents.file_content import FileContents
from serve_app.documents.files import KeptFiles
from serve_app.documents.imports import Imports
from serve_app.documents.originals import Originals
from serve_app.documents.uploads import Uploads
from serve_app.documents.vector_stores import VectorStores
from serve_app.images import Imaging
from serve_app.responses.background import Background
from serve_app.responses.conversations import StoredConversations
from serve_app.responses.responding import Responding
from serve_app.responses.stored import StoredResponses

if TYPE_CHECKING:
    from collections.abc import Mapping

    from deployments.catalogue.catalogue import Catalogue
    from deployments.file_store import FileStore
    from deployments.interfaces import TextGenerator
    from serve_app.access.fair_queue import FairQueue
    from serve_app.access.rate_limits import Allowance
    from serve_app.services import Services
    from serve_app.settings import AppSettings

_MAX_WAITING_PICTURES = 64


@dataclass(frozen=True, slots=True)
class Account:
    """One for each owner, made at start; `services` see the owner's data only."""

    services: Services
    allowance: Allowance
    answering: Answering
    responding: Responding
    responses: StoredResponses
    conversations: StoredConversations
    background: Background
    documents: Documents
    uploads: Uploads
    imaging: Imaging
    kept_files: KeptFiles
    attachments: Attachments
    vector_stores: VectorStores
    file_batches: FileBatches
    file_contents: FileContents
    erasures: OwnedErasures
    exports: Exports
    imports: Imports
    originals: Originals


class Common:
    """What the owners share: capabilities, stored state, and the bounds of this ingress replica."""

    def __init__(
        self,
        services: Services,
        settings: AppSettings,
        files: FileStore,
        catalogue: Catalogue,
        *,
        weights: Mapping[str, float],
    ) -> None:
        self.services = services
        self.settings = settings
        self.files = files
        self.catalogue = catalogue
        self.answers: FairQueue = answer_queue(weights)
        self.embeddings = embedding_queue(weights, settings.embedder.max_batch_tokens)
        self.pictures = Shares("requests that wait for pictures", _MAX_WAITING_PICTURES, weights)


def open_account(owner: str, allowance: Allowance, common: Common) -> Account:
    """Make the account of an owner over what all owners share."""
    services, settings, files = common.services, common.settings, common.files
    retriever = OwnedRetriever(services.retriever, common.catalogue, owner)
    jobs = OwnedJobs(services.jobs, owner)
    llm: TextGenerator = FairTextGenerator(services.llm, common.answers, owner)
    if owner != NOBODY:
        llm = MeteredTextGenerator(OwnedTextGenerator(llm, owner), allowance)
    pass_tokens = settings.embedder.max_batch_tokens
    embedder = FairEmbedder(services.embedder, common.embeddings, owner, pass_tokens)
    owned = replace(
        services,
        llm=llm,
        embedder=embedder,
        retriever=retriever,
        jobs=jobs,
        scraper=OwnedScraper(services.scraper, owner),
    )
    uploads = Uploads(jobs, files, settings.limits, folder_of(UPLOADS, owner))
    catalogue = OwnedCatalogue(common.catalogue, owner)
    kept = KeptFiles(catalogue.files, files, owner, settings.limits)
    documents = Documents(owned, catalogue, files)
    notes = folder_of(NOTES_OF_0_1, owner)
    attachments = Attachments(
        catalogue, documents, kept=kept, uploads=uploads, files=files, notes=notes
    )
    answering = Answering(owned, settings)
    stored = StoredResponses(
        catalogue.responses, catalogue.conversations, settings.limits.keep_responses_days
    )
    responding = partial(Responding, answering, llm, settings)
    return Account(
        services=owned,
        allowance=allowance,
        answering=answering,
        responding=responding(stored),
        responses=stored,
        conversations=StoredConversations(catalogue.conversations, stored),
        background=Background(owner, jobs, catalogue, stored, responding),
        documents=documents,
        uploads=uploads,
        imaging=Imaging(
            jobs, settings.answer.total_timeout_s, partial(common.pictures.take, owner)
        ),
        kept_files=kept,
        attachments=attachments,
        vector_stores=VectorStores(
            owned,
            catalogue,
            documents=documents,
            attachments=attachments,
            kept=kept,
            files=files,
            notes=notes,
        ),
        file_batches=FileBatches(catalogue, documents, jobs),
        file_contents=FileContents(retriever),
        erasures=catalogue.erasures,
        exports=Exports(retriever, catalogue, files, kept),
        imports=Imports(jobs, catalogue, files, owner, settings.limits.max_stored_bytes),
        originals=Originals(catalogue, documents, files, kept),
    )
