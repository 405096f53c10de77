"""The Ingress deployment: handles in, a FastAPI application out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ray import serve

from deployments.file_store import FileStore
from deployments.logs import log_to_serve
from deployments.remote import (
    RemoteEmbedder,
    RemoteImageGenerator,
    RemoteJobs,
    RemoteParser,
    RemoteRetriever,
    RemoteScraper,
    RemoteTextGenerator,
)
from serve_app.app import create_app
from serve_app.services import Services

if TYPE_CHECKING:
    from fastapi import FastAPI
    from ray.serve.handle import DeploymentHandle

    from serve_app.settings import AppSettings


@serve.deployment(name="Ingress", max_ongoing_requests=256)
@serve.ingress()
class Ingress:
    """Serve makes the application in the replica, after this constructor."""

    def __init__(  # noqa: PLR0913 - one handle a deployment
        self,
        settings: AppSettings,
        *,
        llm: DeploymentHandle[Any],
        embedder: DeploymentHandle[Any],
        scraper: DeploymentHandle[Any],
        parser: DeploymentHandle[Any],
        retriever: DeploymentHandle[Any],
        images: DeploymentHandle[Any],
        jobs: DeploymentHandle[Any],
    ) -> None:
        log_to_serve()
        self._settings = settings
        self._services = Services(
            llm=RemoteTextGenerator(llm, "language model"),
            embedder=RemoteEmbedder(embedder, "embedder"),
            scraper=RemoteScraper(scraper, "page reader"),
            parser=RemoteParser(parser, "document parser"),
            retriever=RemoteRetriever(retriever, "document search"),
            images=RemoteImageGenerator(images, "image generator"),
            jobs=RemoteJobs(jobs, "job runner"),
        )

    def __serve_build_asgi_app__(self) -> FastAPI:
        return create_app(self._services, self._settings, FileStore(self._settings.files))
