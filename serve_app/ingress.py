"""The Ingress deployment: handles in, a FastAPI application out."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loguru import logger
from ray import serve
from ray.serve.context import _get_global_client

from deployments.catalogue.import_0_1 import SOURCE
from deployments.catalogue.opening import open_catalogue
from deployments.errors import InvalidRequest
from deployments.file_store import FileStore
from deployments.llm.local_tokenizer import load_tokenizer
from deployments.observability.logs import log_to_serve
from deployments.observability.metrics import export_metrics
from deployments.remote.embedder import RemoteEmbedder
from deployments.remote.images import RemoteImageGenerator
from deployments.remote.jobs import RemoteJobs
from deployments.remote.parser import RemoteParser
from deployments.remote.retriever import RemoteRetriever
from deployments.remote.scraper import RemoteScraper
from deployments.remote.text_generator import RemoteTextGenerator
from deployments.serving.capacity import answers_at_once, max_ongoing_requests
from deployments.serving.memory import keep_loaded, trim_regularly
from deployments.serving.private_files import keep_files_private
from deployments.serving.scale_to_zero import ScaleToZero
from deployments.settings import Secrets, database_url
from serve_app.access.keys import KEYS_NEEDED, Keys
from serve_app.app import Serving, create_app
from serve_app.http.urls import is_loopback
from serve_app.services import Services

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi import FastAPI
    from ray.serve.handle import DeploymentHandle

    from serve_app.access.admission import RequestShares
    from serve_app.accounts import Account
    from serve_app.settings import AppSettings


@serve.deployment(name="Ingress", max_ongoing_requests=256)
@serve.ingress()
class Ingress:
    """Serve makes the application in the replica, after this constructor.

    Its environment may hold GENSERVE_API_KEYS; without them it refuses to be bound to more than
    this machine, with ValueError.
    """

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
        keep_files_private(settings.data_dir)
        export_metrics()
        self._secrets = Secrets()
        _require_keys_or_loopback(Keys.read(self._secrets.api_keys))
        self._settings = settings
        tokenizer = load_tokenizer(settings.llm, Path(settings.data_dir))
        counts = tokenizer.count_tokens if tokenizer else None
        self._services = Services(
            llm=RemoteTextGenerator(llm, "language model", counts),
            embedder=RemoteEmbedder(embedder, "embedder"),
            scraper=RemoteScraper(scraper, "page reader"),
            parser=RemoteParser(parser, "document parser"),
            retriever=RemoteRetriever(retriever, "document search"),
            images=RemoteImageGenerator(images, "image generator"),
            jobs=RemoteJobs(jobs, "job runner"),
        )

    async def __serve_build_asgi_app__(self) -> FastAPI:
        files = FileStore(self._settings.files)
        serving = Serving(ScaleToZero().states, max_ongoing_requests(), answers_at_once)
        url = database_url(self._settings.database_url, self._secrets)
        catalogue = await asyncio.to_thread(open_catalogue, url, self._settings.limits.quotas)
        await catalogue.wait_for_import(SOURCE)
        app = create_app(
            self._services, self._settings, self._secrets, files, catalogue, serving=serving
        )
        keep_loaded()
        trim_regularly()
        self._accounts: Mapping[str, Account] = app.state.accounts
        self._places: RequestShares = app.state.places
        return app

    async def respond(self, owner: str, response_id: str) -> str:
        """Generate a response in the background, for its job; see `Responder`."""
        if owner not in self._accounts:
            msg = "the API key of this response is not configured any more"
            raise InvalidRequest(msg)
        # It takes a place of its key, as a request does; the job waits for one.
        async with self._places.taken("POST", "/v1/responses", owner):
            return await self._accounts[owner].background.run(response_id)

    async def check_health(self) -> None:
        """Return at once: an ingress replica has no dependency to check."""


def _require_keys_or_loopback(keys: Keys) -> None:
    client = _get_global_client()  # Serve tells a replica in no public way
    host = client.http_config.host if client is not None else None
    if keys:
        logger.info("API keys of {} are needed", ", ".join(keys.owners()))
    elif host is not None and not is_loopback(host):
        msg = f"http_options.host is {host} and GENSERVE_API_KEYS is not set: {KEYS_NEEDED}"
        raise ValueError(msg)
    else:
        logger.info("no API keys: only this machine is answered")
