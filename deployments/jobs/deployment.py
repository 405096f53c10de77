"""The Jobs deployment: takes jobs, keeps them, and has the other deployments do the work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ray import serve

from deployments.file_store import FileStore
from deployments.jobs.cancellation import Cancellations
from deployments.jobs.engine import Engine
from deployments.jobs.ingest import IngestSteps
from deployments.jobs.pictures import PictureSteps
from deployments.jobs.queries import JobBoard
from deployments.jobs.records import cancel_requested
from deployments.jobs.retrying import Patience
from deployments.jobs.submissions import Submissions
from deployments.jobs.workflows import Workflows
from deployments.observability.logs import log_to_serve
from deployments.observability.metrics import export_metrics
from deployments.remote import RemoteImageGenerator, RemoteParser, RemoteRetriever
from deployments.serving.request_context import under_id
from deployments.settings import Secrets

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from ray.serve.handle import DeploymentHandle

    from deployments.settings import JobsSettings
    from deployments.types import (
        ImagesSpec,
        IngestSpec,
        Job,
        JobList,
        JobQuery,
        Submitted,
    )


@serve.deployment(name="Jobs", max_ongoing_requests=256, max_queued_requests=256)
class Jobs:
    """Its environment may hold GENSERVE_JOBS_DATABASE_URL, for PostgreSQL."""

    async def __init__(  # type: ignore[misc]  # noqa: PLR0913 - Serve awaits it
        self,
        settings: JobsSettings,
        files: str,
        parser: DeploymentHandle[Any],
        retriever: DeploymentHandle[Any],
        images: DeploymentHandle[Any],
        *,
        images_at_once: int,
        batch_chunks: int,
    ) -> None:
        """Start the engine.

        Args:
            settings: the queues of jobs.
            files: folder or URL of the file store.
            parser: handle of the Parser deployment.
            retriever: handle of the Retriever deployment.
            images: handle of the Images deployment.
            images_at_once: pictures of one job that are requested together, to share a pass.
            batch_chunks: chunks that one step embeds and stores.
        """
        log_to_serve()
        export_metrics()
        secret = Secrets().jobs_database_url
        url = secret.get_secret_value() if secret else settings.database_url
        store = FileStore(files)
        search = RemoteRetriever(retriever, "document search")
        cancellations = Cancellations(cancel_requested)
        patience = Patience(cancellations)
        ingest = IngestSteps(
            RemoteParser(parser, "document parser"),
            search,
            store,
            patience,
            batch_chunks,
        )
        pictures = PictureSteps(
            RemoteImageGenerator(images, "image generator"), store, patience, cancellations
        )
        self._board = JobBoard(cancellations, ingest.tidy)
        self._submissions = Submissions(self._board, search, settings)
        self._engine = Engine(url or "", settings)
        Workflows(ingest, pictures, cancellations, images_at_once, under_id)
        await self._engine.start(store)

    async def submit_ingest(self, spec: IngestSpec, key: str | None) -> Submitted:
        return await self._submissions.ingest(spec, key)

    async def submit_images(self, spec: ImagesSpec, key: str | None) -> Submitted:
        return await self._submissions.images(spec, key)

    async def job(self, job_id: str) -> Job:
        return await self._board.job(job_id)

    async def jobs(self, query: JobQuery) -> JobList:
        return await self._board.jobs(query)

    async def find(self, job_ids: Sequence[str]) -> list[Job]:
        return await self._board.find(job_ids)

    async def cancel(self, job_id: str) -> Job:
        return await self._board.cancel(job_id)

    async def watch(self, job_id: str) -> AsyncGenerator[Job, None]:
        async for job in self._board.watch(job_id):
            yield job

    async def check_health(self) -> None:
        """Well while it answers: a database that is away is not cured by a new replica."""

    async def __del__(self) -> None:
        if hasattr(self, "_engine"):
            await self._engine.close()
