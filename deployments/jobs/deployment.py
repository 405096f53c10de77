"""The Jobs deployment: stores jobs and runs them by calling the other deployments."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any

from ray import serve

from deployments.catalogue.catalogue import NO_QUOTAS
from deployments.catalogue.import_0_1 import ImportOf01
from deployments.catalogue.opening import open_catalogue
from deployments.file_store import FileStore
from deployments.jobs.backup_vectors import BackupVectors
from deployments.jobs.batches import BatchFeeder
from deployments.jobs.cancellation import Cancellations, JobCanceller
from deployments.jobs.dispatcher import Dispatcher
from deployments.jobs.doctor.doctor import Doctor
from deployments.jobs.doctor.runs import DoctorRuns
from deployments.jobs.engine import Engine
from deployments.jobs.erasing import Eraser
from deployments.jobs.images import ImageSteps
from deployments.jobs.imports import ImportSteps
from deployments.jobs.ingest import IngestSteps
from deployments.jobs.leases import Lease
from deployments.jobs.queries import list_jobs
from deployments.jobs.rechunk_steps import RechunkSteps
from deployments.jobs.rechunking import Rechunker
from deployments.jobs.reconciliation import reconcile
from deployments.jobs.records import fetch_job
from deployments.jobs.reindexing import Reindexer
from deployments.jobs.responses import ResponseSteps
from deployments.jobs.retrying import BackendCaller
from deployments.jobs.steps import StepRunner
from deployments.jobs.submissions import Submissions
from deployments.jobs.turns import Places
from deployments.jobs.watching import JobWatchers
from deployments.jobs.workflows import VERSION, Workflows
from deployments.jobs.zip_files import ZipSteps
from deployments.observability.logs import log_to_serve
from deployments.observability.metrics import export_metrics
from deployments.remote.images import RemoteImageGenerator
from deployments.remote.parser import RemoteParser
from deployments.remote.responder import RemoteResponder
from deployments.remote.retriever import RemoteRetriever
from deployments.serving.memory import keep_loaded
from deployments.serving.private_files import keep_files_private
from deployments.serving.request_context import under_id
from deployments.settings import Secrets, database_url
from deployments.types import JobKind

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from ray.serve.handle import DeploymentHandle

    from deployments.catalogue.entries import Quotas
    from deployments.settings import JobsSettings
    from deployments.types import (
        ImagesSpec,
        ImportSpec,
        IngestSpec,
        Job,
        JobList,
        JobQuery,
        ResponseSpec,
        Submitted,
        ZipSpec,
    )


_SHORT_DOCUMENTS = 32  # at once, beside `ingest_concurrency`: they share a pass of the embedder
_SHORT_IMAGE_JOBS = 1
_IMPORTS = 2  # at once, of two keys if two wait
_ZIPS = 16  # at once: they mostly wait for the jobs of their files, which may take hours
_ZIPS_PER_OWNER = 4
_RESPONSES = 32  # at once: they wait for the language model, which has a queue of its own
_RESPONSES_PER_OWNER = 16


@serve.deployment(name="Jobs", max_ongoing_requests=256, max_queued_requests=256)
class Jobs:
    """Read the address of a PostgreSQL with its password from GENSERVE_DATABASE_URL."""

    async def __init__(  # type: ignore[misc]  # noqa: PLR0913 - Serve awaits it
        self,
        settings: JobsSettings,
        database: str,
        files: str,
        parser: DeploymentHandle[Any],
        retriever: DeploymentHandle[Any],
        *,
        images: DeploymentHandle[Any],
        images_at_once: int,
        batch_chunks: int,
        responder: str,
        shares: Mapping[str, float],
        quotas: Quotas,
        chunker: str,
        switch_automatically: bool = True,
    ) -> None:
        """Start the engine.

        Args:
            settings: the queues of jobs.
            database: URL of the catalogue and the jobs.
            files: folder or URL of the file store.
            parser: handle of the Parser deployment.
            retriever: handle of the Retriever deployment.
            images: handle of the Images deployment.
            images_at_once: pictures of one job that are requested together, to share a pass.
            batch_chunks: chunks that one step embeds and stores.
            responder: name of the deployment that generates responses in the background.
            shares: weights of API keys, by their names; 1 for those that are not named.
            quotas: the most that one API key keeps.
            chunker: the name of the parser's, for documents without sizes of their own.
            switch_automatically: whether collections are searched with the next embedding model
                once all documents are embedded by it.
        """
        log_to_serve()
        keep_files_private()
        export_metrics()
        url = database_url(database, Secrets())
        store = FileStore(files)
        search = RemoteRetriever(retriever, "document search")
        catalogue = await asyncio.to_thread(open_catalogue, url, quotas)
        await ImportOf01(catalogue.with_quotas(NO_QUOTAS), store, search).run_if_needed()
        cancellations = Cancellations()
        backends = BackendCaller(cancellations)
        reader = RemoteParser(parser, "document parser")
        ingest = IngestSteps(
            reader,
            search,
            store,
            backends,
            catalogue,
            batch_chunks,
        )
        generator = RemoteImageGenerator(images, "image generator")
        image_steps = ImageSteps(generator, store, backends, cancellations, catalogue.removals)
        imports = ImportSteps(search, store, backends, catalogue, batch_chunks)
        lease = Lease(url)
        steps = StepRunner(lease, cancellations)
        places = {
            JobKind.INGEST: Places(settings.ingest_concurrency, _SHORT_DOCUMENTS),
            JobKind.IMAGES: Places(settings.images_concurrency, _SHORT_IMAGE_JOBS),
            JobKind.IMPORT: Places(_IMPORTS),
            JobKind.ZIP: Places(_ZIPS, per_owner=_ZIPS_PER_OWNER),
            JobKind.RESPONSE: Places(_RESPONSES, per_owner=_RESPONSES_PER_OWNER),
        }
        dispatcher = Dispatcher(lease, places, shares, settings.max_queued, VERSION)
        self._watchers = JobWatchers()
        self._submissions = Submissions(self._watchers, catalogue, dispatcher)
        zips = ZipSteps(
            reader,
            search,
            store,
            backends,
            cancellations,
            catalogue,
            self._submissions.ingest,
            self.cancel,
            dispatcher.has_room_for_batch,
        )
        workflows = Workflows(
            ingest,
            image_steps,
            imports,
            zips,
            ResponseSteps(
                RemoteResponder(responder, "ingress"), catalogue.background_responses, backends
            ),
            steps,
            cancellations,
            dispatcher,
            images_at_once=images_at_once,
            with_request_id=under_id,
        )
        self._canceller = JobCanceller(cancellations, self._watchers, workflows.withdraw)
        eraser = Eraser(catalogue, search, store, url, cancel=self._canceller.cancel)
        reindexer = Reindexer(catalogue, search, automatic=switch_automatically)
        rechunker = Rechunker(RechunkSteps(catalogue, reader, search, store, chunker, batch_chunks))
        self._batches = BatchFeeder(
            catalogue,
            search,
            self._submissions.ingest,
            self._canceller.cancel,
            dispatcher.has_room_for_batch,
        )
        doctor = Doctor(catalogue, search, store, url, submit=self._submissions.ingest)
        self._catalogue = catalogue
        self._engine = Engine(
            url,
            lease,
            workflows,
            dispatcher,
            settings,
            reconcile=partial(reconcile, catalogue, search, store),
            feed_batches=self._batches.run,
            erase=eraser.run_pending,
            purge=search.purge,
            reindex=reindexer.run_pending,
            rechunk=rechunker.run_pending,
            doctor=DoctorRuns(lease, doctor, settings.doctor_every_hours, under_id),
            back_up=BackupVectors(catalogue.backups, search).run_pending,
            removals_held=catalogue.removals.held,
        )
        await self._engine.start(store)
        keep_loaded()

    async def submit_ingest(self, spec: IngestSpec, key: str | None) -> Submitted:
        return await self._submissions.ingest(spec, key)

    async def submit_images(self, spec: ImagesSpec, key: str | None) -> Submitted:
        return await self._submissions.images(spec, key)

    async def submit_import(self, spec: ImportSpec, key: str) -> Submitted:
        return await self._submissions.imports(spec, key)

    async def submit_zip(self, spec: ZipSpec, key: str | None) -> Submitted:
        return await self._submissions.zips(spec, key)

    async def submit_response(self, spec: ResponseSpec) -> Submitted:
        return await self._submissions.responses(spec)

    async def begin_batches(self) -> None:
        self._batches.wake()

    async def job(self, job_id: str) -> Job:
        return await fetch_job(job_id)

    async def jobs(self, query: JobQuery) -> JobList:
        return await list_jobs(query)

    async def cancel(self, job_id: str) -> Job:
        return await self._canceller.cancel(job_id)

    async def watch(self, job_id: str) -> AsyncGenerator[Job, None]:
        async with contextlib.aclosing(self._watchers.watch(job_id)) as jobs:
            async for job in jobs:
                yield job

    async def check_health(self) -> None:
        """Raise Unavailable if the executor lease was lost, so that Serve replaces this replica.

        A database that does not answer for longer than the lease lasts ends it, too: the new
        replica starts as soon as the database answers again.
        """
        self._engine.check_health()

    async def __del__(self) -> None:
        if hasattr(self, "_engine"):
            try:
                await self._engine.close()
            finally:
                await asyncio.to_thread(self._catalogue.close)
