"""Erasures in the catalogue: what they remove, count and refuse, on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from deployments.catalogue.catalogue import Catalogue
from deployments.catalogue.database import Database
from deployments.catalogue.entries import (
    BatchFile,
    CollectionEntry,
    ErasureEntry,
    FileEntry,
    PageQuery,
    Quotas,
    Removed,
    Upload,
)
from deployments.catalogue.migrate import migrate
from deployments.catalogue.new_batches import NewBatch
from deployments.catalogue.removals import Removal
from deployments.errors import Conflict, InvalidRequest, NotFound, Overloaded, Unavailable
from deployments.file_store import FileStore
from deployments.jobs.erasing import Eraser
from tests.support.leftovers import files_with

pytestmark = pytest.mark.anyio

QUOTAS = Quotas(collections=3, documents=100, files=100, size_bytes=100_000)
SECRET = "zebra61f0"


def document_id(number: int) -> str:
    return f"doc_{number:032x}"


@pytest.fixture
def catalogue(database: Database) -> Catalogue:
    return Catalogue(database, QUOTAS)


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
        while await catalogue.erased_rows.remove_some(erasure, batch):
            pass
        await catalogue.erased_rows.forget(erasure)
    else:
        await catalogue.erased_rows.remove_document(erasure)
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
    before = await catalogue.erasures.request(owner, f"{prefix}{SECRET}", document_id(1))
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
        catalogue.erasures.request("alice", "alice.default", document_id(1)),
        catalogue.batches.add(NewBatch("vsfb_1", "alice.default", [BatchFile("doc_alice0")], 1)),
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


async def test_an_erased_document_is_removed_from_file_batches(catalogue: Catalogue) -> None:
    erased, other = document_id(1), document_id(2)
    for each in (erased, other):
        file = FileEntry(f"file-{each.removeprefix('doc_')}", "a.txt", "user_data", 5, 9)
        await catalogue.files.add("alice", file)
    for name in ("notes", "more"):
        await catalogue.collections.add(CollectionEntry(f"alice.{name}", name, 1))
        files = [BatchFile(each, attributes={"about": SECRET}) for each in (erased, other)]
        await catalogue.batches.add(NewBatch(f"vsfb_{name}", f"alice.{name}", files, 1))
    erasure = await catalogue.erasures.request("alice", "alice.notes", erased)
    assert await catalogue.erased_rows.remove_document(erasure)
    assert not await catalogue.erased_rows.remove_document(erasure)
    waiting = await catalogue.batches.waiting("alice", 9)
    assert {(file.collection, file.document_id) for file in waiting} == {
        ("alice.notes", other),
        ("alice.more", erased),
        ("alice.more", other),
    }
    # The kept file stays while the other collection waits for it.
    assert await catalogue.erased_rows.is_in_use("alice", erased)
    assert not await catalogue.erased_rows.is_in_use("bob", erased)
    await catalogue.batches.cancel("alice.more", "vsfb_more")
    assert not await catalogue.erased_rows.is_in_use("alice", erased)
    await catalogue.versions.begin(
        Upload("alice.more", "a.txt", 1, "a" * 64, "job_1", document_id=erased)
    )
    assert await catalogue.erased_rows.is_in_use("alice", erased)


@pytest.mark.parametrize("wrong", ["", ".", "/", "..", "doc_*", f"{document_id(1)}/..", "doc_1"])
async def test_what_is_not_the_id_of_a_document_is_not_erased(
    catalogue: Catalogue, wrong: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await catalogue.erasures.request("alice", "alice.default", wrong)
    assert refused.value.param == "document_id"
    assert await catalogue.erasures.claim(0, 10) == []


async def test_one_process_has_an_erasure_until_its_claim_is_old(catalogue: Catalogue) -> None:
    erasure = await catalogue.erasures.request("alice")
    claims = await asyncio.gather(*(catalogue.erasures.claim(60, 10) for _ in range(5)))
    assert [claim.id for claimed in claims for claim in claimed] == [erasure.id]
    await asyncio.sleep(0.3)
    await catalogue.erasures.renew([erasure])
    assert await catalogue.erasures.claim(0.25, 10) == []
    await asyncio.sleep(0.3)
    assert await catalogue.erasures.claim(0.25, 10) == [erasure]
    # One that fails again and again keeps no place from a new one.
    new = await catalogue.erasures.request("bob")
    assert await catalogue.erasures.claim(0, 1) == [new]
    for each in (erasure, new):
        await catalogue.erasures.finish(each)
    assert await catalogue.erasures.claim(0, 10) == []


async def test_a_key_cannot_fill_the_list_of_erasures(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deployments.catalogue.erasures._UNFINISHED", 3)
    monkeypatch.setattr("deployments.catalogue.erasures._KEPT", 2)

    async def request(owner: str, number: int) -> ErasureEntry:
        return await catalogue.erasures.request(owner, f"{owner}.default", document_id(number))

    made = [await request("alice", number) for number in range(3)]
    with pytest.raises(Overloaded, match="3 documents are being erased"):
        await request("alice", 4)
    assert await request("alice", 1) == made[1]
    await request("bob", 1)
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


async def test_a_file_of_sqlite_is_rewritten_once_though_its_log_is_being_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deployments.catalogue.database._SQLITE_TIMEOUT_S", 0.05)
    path = tmp_path / "catalogue.sqlite"
    database = Database(f"sqlite:///{path}")
    migrate(database)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as reader:

        def rewrites() -> int:  # each changes the version of the schema
            (version,) = reader.execute("PRAGMA schema_version").fetchone()
            return int(version)

        before = rewrites()
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM genserve_collections").fetchall()
        with contextlib.closing(sqlite3.connect(path)) as watcher:
            purge = asyncio.create_task(database.purge(1024**2))
            async with asyncio.timeout(30):
                while watcher.execute("PRAGMA schema_version").fetchone() == (before,):
                    await asyncio.sleep(0.01)
                await asyncio.sleep(0.3)
        assert not purge.done()
        reader.execute("COMMIT")
        assert await purge
        assert rewrites() == before + 1
    assert path.with_name(f"{path.name}-wal").stat().st_size == 0
    database.close()


class FaultyVectors:
    """Has something new of alice each time, and fails for bob, until it is repaired."""

    faulty = True

    async def collections(self) -> list[str]:
        return ["alice.default", "bob.default"] if self.faulty else []

    async def delete(self, collection: str, document_id: str) -> bool:
        raise AssertionError((collection, document_id))

    async def drop(self, collection: str) -> bool:
        if collection == "bob.default":
            msg = "no answer"
            raise Unavailable(msg)
        return True

    async def purge(self, age_s: float) -> bool:
        await asyncio.sleep(0.1)
        return age_s == 0


async def test_erasures_of_one_owner_do_not_delay_those_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deployments.jobs.erasing._PAUSE_S", 0.01)
    monkeypatch.setattr("deployments.jobs.erasing._RESTS_PER_REWRITE", 1000)
    url = f"sqlite:///{tmp_path / 'catalogue.sqlite'}"
    database = Database(url)
    migrate(database)
    catalogue, vectors = Catalogue(database), FaultyVectors()
    eraser = Eraser(
        *(catalogue, vectors, FileStore(str(tmp_path / "files")), url),
        cancel=None,
        in_flight_s=0.0,
        rest_s=0.0,
        limit_s=0.1,
    )
    erasures = {}
    for owner in ("alice", "bob", "carol"):
        await furnish(catalogue, owner, 2)
        erasures[owner] = await catalogue.erasures.request(owner)

    async def finished() -> set[str]:
        found = [await catalogue.erasures.get(one.owner, one.id) for one in erasures.values()]
        return {one.owner for one in found if one.finished_at is not None}

    await eraser.run_pending()
    assert await finished() == {"carol"}
    # It rests, for long after a long rewrite.
    erasures["dave"] = await catalogue.erasures.request("dave")
    await eraser.run_pending()
    assert await finished() == {"carol"}
    vectors.faulty = False
    await eraser.run(claim_s=0)
    assert await finished() == set(erasures)
    # If all fail, that is an error.
    vectors.faulty = True
    await catalogue.erasures.request("bob")
    with pytest.raises(Unavailable, match="no answer"):
        await eraser.run(claim_s=0)
    catalogue.close()
