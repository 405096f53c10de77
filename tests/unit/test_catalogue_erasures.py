"""Erasures in the catalogue: what they remove, count and refuse, on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from deployments.catalogue.catalogue import Catalogue
from deployments.catalogue.database import Database
from deployments.catalogue.entries import (
    CollectionEntry,
    ErasureEntry,
    FileEntry,
    PageQuery,
    Quotas,
    Removed,
    Upload,
)
from deployments.catalogue.migrate import VERSION_TABLE, migrate
from deployments.catalogue.removals import Removal
from deployments.catalogue.tables import METADATA
from deployments.errors import Conflict, InvalidRequest, NotFound, Overloaded
from tests.support.leftovers import files_with
from tests.support.postgres import serve_postgres

pytestmark = pytest.mark.anyio

QUOTAS = Quotas(collections=3, documents=100, files=100, size_bytes=100_000)
SECRET = "zebra61f0"


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with serve_postgres() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
async def catalogue(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Catalogue]:
    url = f"sqlite:///{tmp_path / 'catalogue.sqlite'}"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres")
        engine = sa.create_engine(sa.make_url(url).set(drivername="postgresql+psycopg"))
        with engine.begin() as connection:
            METADATA.drop_all(connection)
            connection.exec_driver_sql(f"DROP TABLE IF EXISTS {VERSION_TABLE}")
        engine.dispose()
    database = Database(url, retries_s=1)
    migrate(database)
    opened = Catalogue(database, QUOTAS)
    yield opened
    opened.close()


async def furnish(catalogue: Catalogue, owner: str, documents: int = 7) -> None:
    """Add documents to two collections, some in two versions, and files."""
    prefix = f"{owner}." if owner else ""
    for number in range(documents):
        upload = Upload(
            f"{prefix}{'notes' if number % 2 else 'default'}",
            f"{SECRET}-{owner}-{number}.pdf",
            10,
            f"{number:064x}",
            f"job_{number}",
            author=owner,
        )
        entry = await catalogue.versions.begin(upload)
        await catalogue.versions.complete(replace(entry.document, chunks=1))
        if number < 2:
            await catalogue.versions.begin(replace(upload, digest="f" * 64, size_bytes=20))
        file = FileEntry(f"file-{owner}{number}", f"{SECRET}-{owner}.txt", "user_data", 5, 9)
        await catalogue.files.add(owner, file)


async def run(catalogue: Catalogue, erasure: ErasureEntry, batch: int = 3) -> ErasureEntry:
    """Carry out the catalogue's part of an erasure."""
    if erasure.document_id is None:
        while await catalogue.erasures.remove_some(erasure, batch):
            pass
        await catalogue.erasures.forget(erasure)
    else:
        await catalogue.erasures.remove_document(erasure)
    await catalogue.purge()
    await catalogue.erasures.finish(erasure)
    return await catalogue.erasures.get(erasure.owner, erasure.id)


async def names(catalogue: Catalogue, owner: str) -> list[str]:
    page = await catalogue.collections.page(owner, PageQuery(9))
    return [entry.id for entry in page.entries]


@pytest.mark.parametrize(("owner", "other"), [("alice", "bob"), ("", "bob"), ("a_b", "axb")])
async def test_everything_of_an_owner_is_erased_and_nothing_of_another(
    catalogue: Catalogue, tmp_path: Path, owner: str, other: str
) -> None:
    for each in (owner, other):
        await furnish(catalogue, each)
    prefix = f"{owner}." if owner else ""
    before = await catalogue.erasures.request(owner, f"{prefix}{SECRET}", "doc_1")
    await run(catalogue, before)
    # Vectors that other replicas have not deleted yet: their names are known here.
    for each in (owner, other):
        full = f"{each}.{SECRET}-gone" if each else f"{SECRET}-gone"
        await catalogue.collections.add(CollectionEntry(full, SECRET, 1))
        await catalogue.collections.remove(full)
    erased = await run(catalogue, await catalogue.erasures.request(owner))
    assert erased.removed == Removed(2, 7, 9, 7, 0, 7 * 10 + 7 * 5)
    assert erased.finished_at is not None
    with pytest.raises(NotFound):
        await catalogue.erasures.get(owner, before.id)
    with pytest.raises(NotFound):
        await catalogue.erasures.get(other, erased.id)
    assert not (await catalogue.files.page(owner, PageQuery(9))).entries
    assert await names(catalogue, owner) == [f"{prefix}default"]
    removal = await catalogue.removals.claim(0)
    assert removal == Removal(f"{other}.{SECRET}-gone")
    # The whole quota is free again, and the other owner keeps what there was.
    await catalogue.files.check_quota(owner, QUOTAS.size_bytes)
    documents = await catalogue.documents.page(f"{other}.default", PageQuery(9))
    assert len(documents.entries) == 4
    entry = await catalogue.collections.get(f"{other}.default")
    assert (entry.completed, entry.size_bytes) == (4, 40)
    await catalogue.purge()
    if (tmp_path / "catalogue.sqlite").exists():
        # Of the file, only what is the other's contains the word.
        assert files_with(tmp_path, f"{SECRET}-{owner}-", f"{SECRET}-{owner}.txt") == []
        assert files_with(tmp_path, f"{SECRET}-{other}-")


async def test_nothing_new_is_accepted_meanwhile(catalogue: Catalogue) -> None:
    await furnish(catalogue, "alice", 2)
    erasure = await catalogue.erasures.request("alice")
    assert await catalogue.erasures.request("alice") == erasure
    new = Upload("alice.default", "new.pdf", 1, "a" * 64, "job_x")
    known = replace(new, filename=f"{SECRET}-alice-0.pdf")
    file = FileEntry("file-new", "a.txt", "user_data", 5, 9)
    for refused in (
        catalogue.versions.begin(new),
        catalogue.versions.begin(known),
        catalogue.files.add("alice", file),
        catalogue.files.check_quota("alice", 1),
        catalogue.collections.add(CollectionEntry("alice.new", "new", 1)),
        catalogue.erasures.check_accepted("alice"),
        catalogue.erasures.request("alice", "alice.default", "doc_1"),
    ):
        with pytest.raises(Conflict) as conflict:
            await refused
        assert conflict.value.code == "being_erased"
    await catalogue.versions.begin(replace(new, collection="bob.default"))
    await catalogue.erasures.check_accepted("bob")
    await run(catalogue, erasure)
    await catalogue.versions.begin(new)
    assert (await catalogue.erasures.request("alice")).id != erasure.id


async def test_a_document_is_erased_with_its_versions_and_counts(catalogue: Catalogue) -> None:
    await furnish(catalogue, "alice", 3)
    (first, *_) = (await catalogue.documents.page("alice.default", PageQuery(9))).entries
    erasure = await catalogue.erasures.request("alice", "alice.default", first.document.id)
    # Other work of the owner goes on.
    await catalogue.versions.begin(Upload("alice.default", "new.pdf", 7, "a" * 64, "job_x"))
    erased = await run(catalogue, erasure)
    assert erased.removed == Removed(0, 1, 2, 0, 0, 10)
    entry = await catalogue.collections.get("alice.default")
    assert (entry.completed, entry.in_progress, entry.size_bytes) == (1, 1, 10)
    again = await run(catalogue, replace(erasure))
    assert again.removed == erased.removed


async def test_one_process_has_an_erasure_until_its_claim_is_old(catalogue: Catalogue) -> None:
    erasure = await catalogue.erasures.request("alice")
    claims = await asyncio.gather(*(catalogue.erasures.claim(60, 10) for _ in range(5)))
    assert [claim.id for claimed in claims for claim in claimed] == [erasure.id]
    await asyncio.sleep(0.3)
    await catalogue.erasures.renew([erasure])
    assert await catalogue.erasures.claim(0.25, 10) == []
    await asyncio.sleep(0.3)
    assert await catalogue.erasures.claim(0.25, 10) == [erasure]
    await catalogue.erasures.finish(erasure)
    assert await catalogue.erasures.claim(0, 10) == []


async def test_a_key_cannot_fill_the_list_of_erasures(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deployments.catalogue.erasures._UNFINISHED", 3)
    monkeypatch.setattr("deployments.catalogue.erasures._KEPT", 2)
    made = [await catalogue.erasures.request("alice", "alice.default", f"d{n}") for n in range(3)]
    with pytest.raises(Overloaded, match="3 documents are being erased"):
        await catalogue.erasures.request("alice", "alice.default", "d4")
    assert await catalogue.erasures.request("alice", "alice.default", "d1") == made[1]
    await catalogue.erasures.request("bob", "bob.default", "d1")
    everything = await catalogue.erasures.request("alice")
    for erasure in made:
        await catalogue.erasures.finish(erasure)
    with pytest.raises(NotFound):
        await catalogue.erasures.get("alice", made[0].id)
    for erasure in (made[1], made[2], everything):
        assert await catalogue.erasures.get("alice", erasure.id)


async def test_a_key_has_a_quota_of_collections(catalogue: Catalogue) -> None:
    for number in range(QUOTAS.collections):
        await catalogue.collections.add(CollectionEntry(f"alice.n{number}", "n", 1))
    await catalogue.collections.add(CollectionEntry("alice.n0", "n", 1))  # again
    with pytest.raises(InvalidRequest, match="is 3 collections: delete something") as refused:
        await catalogue.collections.add(CollectionEntry("alice.one-more", "n", 1))
    assert (refused.value.code, refused.value.param) == ("quota_exceeded", "collection")
    with pytest.raises(InvalidRequest, match="3 collections"):
        await catalogue.versions.begin(Upload("alice.other", "a.pdf", 1, "a" * 64, "job_1"))
    await catalogue.collections.add(CollectionEntry("bob.n", "n", 1))
    await catalogue.collections.remove("alice.n0")
    await catalogue.collections.add(CollectionEntry("alice.one-more", "n", 1))


async def test_a_large_file_of_sqlite_is_not_rewritten(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'catalogue.sqlite'}")
    migrate(database)
    catalogue = Catalogue(database, QUOTAS)
    await furnish(catalogue, "alice")
    assert not await catalogue.purge(1000)
    assert (tmp_path / "catalogue.sqlite-wal").stat().st_size == 0
    assert await catalogue.purge()
    catalogue.close()
