"""The application over fakes of all capabilities."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, ClassVar

from pydantic import SecretStr

from deployments.catalogue.catalogue import Catalogue
from deployments.catalogue.database import Database
from deployments.catalogue.tables import METADATA
from deployments.file_store import FileStore
from deployments.settings import Secrets
from serve_app.app import create_app
from serve_app.services import Services
from serve_app.settings import AppSettings
from serve_app.testing.documents import FakeEmbedder, FakeParser, FakeRetriever, FakeScraper
from serve_app.testing.jobs import FakeImages, FakeJobs
from serve_app.testing.llm import MODEL, FakeModel

if TYPE_CHECKING:
    import httpx
    from fastapi import FastAPI

    from serve_app.accounts import Account


class FakeResponder:
    """The ingress as Jobs calls it."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    async def check_health(self) -> None: ...

    async def respond(self, owner: str, response_id: str) -> str:
        account: Account = self._app.state.accounts[owner]
        return await account.background.run(response_id)


def _new_files() -> FileStore:
    return FileStore(f"memory://{uuid.uuid4().hex}")


def new_catalogue() -> Catalogue:
    """Return an empty catalogue in memory."""
    database = Database("sqlite://")
    database.write_now(METADATA.create_all)
    return Catalogue(database)


@dataclass
class Fakes:
    """One fake of each capability, and the application over them.

    `api_keys` has the form of `GENSERVE_API_KEYS`. `client` finds the service below `root_path`,
    as behind Serve's setting of that name. Jobs stay queued until the test calls
    `jobs.change` or `jobs.run`, or sets `jobs.runs`.
    """

    root_path: ClassVar[str] = ""

    llm: FakeModel = field(default_factory=FakeModel)
    embedder: FakeEmbedder = field(default_factory=FakeEmbedder)
    scraper: FakeScraper = field(default_factory=FakeScraper)
    parser: FakeParser = field(init=False)
    retriever: FakeRetriever = field(default_factory=FakeRetriever)
    images: FakeImages = field(default_factory=FakeImages)
    files: FileStore = field(default_factory=_new_files)
    catalogue: Catalogue = field(default_factory=new_catalogue)
    api_keys: str = ""
    jobs: FakeJobs = field(init=False)

    def __post_init__(self) -> None:
        self.parser = FakeParser(self.files)
        self.retriever.catalogue = self.catalogue
        self.jobs = FakeJobs(self.files, self.parser, self.retriever, self.images, self.catalogue)

    def services(self) -> Services:
        """Return the capabilities as the application takes them."""
        return Services(**{each.name: getattr(self, each.name) for each in fields(Services)})

    def app(self, **changes: object) -> FastAPI:
        """Return the application; `changes` are fields of `AppSettings`."""
        secrets = Secrets(api_keys=SecretStr(self.api_keys) if self.api_keys else None)
        settings = fake_settings(**changes)
        catalogue = self.catalogue.with_quotas(settings.limits.quotas)
        app = create_app(self.services(), settings, secrets, self.files, catalogue)
        self.jobs.responder = FakeResponder(app)
        return app

    def client(self, **changes: object) -> httpx.AsyncClient:
        """Return an HTTP client of a new application; needs the package `httpx`."""
        import httpx

        transport = httpx.ASGITransport(
            self.app(**changes), raise_app_exceptions=False, root_path=self.root_path
        )
        return httpx.AsyncClient(transport=transport, base_url=f"http://127.0.0.1{self.root_path}")


def fake_service(fakes: Fakes | None = None, **changes: object) -> FastAPI:
    """Return the application over `fakes`; `changes` are fields of `AppSettings`.

    Without `fakes`, every job has succeeded when its submission is answered.
    """
    if fakes is None:
        fakes = Fakes()
        fakes.jobs.runs = True
    return fakes.app(**changes)


def fake_settings(**changes: object) -> AppSettings:
    """Return settings that name the fake models, with these fields replaced."""
    given = {
        "llm": {"model": "a/b", "served_name": MODEL},
        "embedder": {"model": "c/d"},
        **changes,
    }
    return AppSettings.model_validate(given)
