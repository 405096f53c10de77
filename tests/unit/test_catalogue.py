"""The catalogue: what exists, counted and listed, on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from deployments.catalogue.catalogue import Catalogue
from deployments.catalogue.database import Database
from deployments.catalogue.entries import (
    BatchFile,
    CollectionEntry,
    CurrentVersion,
    DocumentStatus,
    Expiry,
    FileEntry,
    PageQuery,
    Quotas,
    Upload,
    VersionStatus,
)
from deployments.catalogue.migrate import VERSION_TABLE, config, migrate, revision_of
from deployments.catalogue.new_batches import NewBatch
from deployments.catalogue.removals import Removal
from deployments.catalogue.tables import COLLECTIONS, METADATA
from deployments.errors import Conflict, InvalidRequest, NotFound, Overloaded, Unavailable
from deployments.filters import Attributes, AttributeValue
from deployments.types import Chunking, Document

pytestmark = pytest.mark.anyio

QUOTAS = Quotas(collections=4, documents=10, files=3, size_bytes=1000)
REPORT = Upload("alice.papers", "report.pdf", 100, "a" * 64, "job_1")


@pytest.fixture
def catalogue(database: Database) -> Catalogue:
    return Catalogue(database, QUOTAS)


async def test_the_migrations_make_the_tables_and_are_run_once(catalogue_url: str) -> None:
    first, second = Database(catalogue_url), Database(catalogue_url)
    await asyncio.gather(asyncio.to_thread(migrate, first), asyncio.to_thread(migrate, second))

    def differences(connection: sa.Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        found = compare_metadata(context, METADATA)
        return [each for each in found if "genserve_executor" not in str(each)]

    assert await first.read(differences) == []
    await Catalogue(first).versions.begin(REPORT)

    def undone(connection: sa.Connection) -> str | None:
        alembic = config()
        alembic.attributes["connection"] = connection
        command.downgrade(alembic, "base")
        return revision_of(connection)

    assert await second.write(undone) is None
    migrate(second)
    assert not (await Catalogue(second).documents.page("alice.papers", PageQuery(9))).entries
    first.close()
    second.close()


async def test_data_in_the_schema_before_the_last_migration_is_kept(
    database: Database, catalogue: Catalogue
) -> None:
    """It opens and answers; the documents of version 0.1 have a test of their own."""
    document = (await catalogue.versions.begin(REPORT)).document
    await catalogue.versions.complete(replace(document, chunks=2))

    def downgrade(connection: sa.Connection) -> str | None:
        alembic = config()
        alembic.attributes["connection"] = connection
        command.downgrade(alembic, "-1")
        return revision_of(connection)

    before = await database.write(downgrade)
    migrate(database)
    assert await database.read(revision_of) != before
    current = await catalogue.documents.current(document.collection, [document.id])
    assert current[document.id].filename == document.filename
    assert (await catalogue.collections.get(document.collection)).completed == 1


async def test_a_newer_schema_is_left_as_it_is(database: Database) -> None:
    def advance(connection: sa.Connection) -> None:
        connection.exec_driver_sql("ALTER TABLE genserve_collections ADD COLUMN newer TEXT")
        connection.exec_driver_sql("UPDATE genserve_schema SET version_num = '9999'")

    await database.write(advance)
    migrate(database)
    assert await database.read(revision_of) == "9999"
    catalogue = Catalogue(database)
    await catalogue.versions.begin(REPORT)
    assert (await catalogue.collections.get("alice.papers")).in_progress == 1


async def test_a_document_from_its_job_to_its_removal(catalogue: Catalogue) -> None:
    documents, collections = catalogue.documents, catalogue.collections
    versions = catalogue.versions
    begun = await versions.begin(REPORT)
    assert (begun.status, begun.document.version) == (VersionStatus.IN_PROGRESS, 1)
    assert begun.document.id.startswith("doc_")
    # A repeated request changes nothing.
    assert await versions.begin(replace(REPORT, job_id="job_2")) == begun
    assert await versions.find_same(REPORT) is None
    await versions.assign(begun.document, "job_3")
    document_id = begun.document.id
    entry = await documents.get("alice.papers", document_id)
    assert (entry.status, entry.document.job_id) == (DocumentStatus.IN_PROGRESS, "job_3")
    assert await versions.of_job("alice.papers", document_id, "job_3") == 1
    (waiting,) = await versions.in_progress("alice.papers")
    assert waiting.document == entry.document
    papers = await collections.get("alice.papers")
    assert (papers.name, papers.in_progress, papers.completed) == ("papers", 1, 0)
    assert papers.size_bytes == 0
    assert await documents.current("alice.papers", [document_id]) == {}

    read = as_read(entry.document)
    for _ in range(2):  # a step may be repeated
        assert await versions.complete(read) == []
    entry = await documents.get("alice.papers", document_id)
    assert (entry.document, entry.status) == (read, DocumentStatus.COMPLETED)
    assert await documents.current("alice.papers", [document_id, "doc_9"]) == {
        document_id: CurrentVersion(1, "report.pdf")
    }
    await versions.assign(read, "job_4")  # too late
    found = await versions.begin(replace(REPORT, job_id="job_5"))
    assert (found.document, found.status) == (read, VersionStatus.COMPLETED)
    assert await versions.find_same(REPORT) == found
    papers = await collections.get("alice.papers")
    assert (papers.in_progress, papers.completed, papers.size_bytes) == (0, 1, 100)

    assert await documents.remove("alice.papers", document_id)
    assert not await documents.remove("alice.papers", document_id)
    papers = await collections.get("alice.papers")
    assert (papers.completed, papers.size_bytes) == (0, 0)
    for missing in (
        documents.get("alice.papers", document_id),
        versions.complete(read),  # removed while its job was at work
        versions.page("alice.papers", document_id, PageQuery(9)),
        versions.of_job("alice.papers", document_id, "job_3"),
    ):
        with pytest.raises(NotFound):
            await missing
    assert await versions.settle(read, VersionStatus.FAILED) is None


def as_read(document: Document) -> Document:
    return replace(document, title="Report", media_type="application/pdf", pages=2, chunks=7)


async def test_a_new_version_replaces_the_old_one_once_it_is_whole(catalogue: Catalogue) -> None:
    documents, versions = catalogue.documents, catalogue.versions
    first = as_read((await versions.begin(REPORT)).document)
    await versions.complete(first)
    changed = replace(REPORT, digest="b" * 64, size_bytes=150, job_id="job_2", author="alice")
    begun = await versions.begin(changed)
    assert (begun.document.id, begun.document.version) == (first.id, 2)
    assert await documents.current("alice.papers", [first.id]) == {
        first.id: CurrentVersion(1, "report.pdf")
    }
    assert (await documents.get("alice.papers", first.id)).document == first
    second = as_read(begun.document)
    for _ in range(2):
        assert await versions.complete(second) == [1]
    assert await documents.current("alice.papers", [first.id]) == {
        first.id: CurrentVersion(2, "report.pdf")
    }
    papers = await catalogue.collections.get("alice.papers")
    assert (papers.completed, papers.size_bytes) == (1, 150)
    history = await versions.page("alice.papers", first.id, PageQuery(1, newest_first=True))
    assert [(each.document, each.status) for each in history.entries] == [
        (second, VersionStatus.COMPLETED)
    ]
    assert (history.entries[0].author, history.entries[0].digest) == ("alice", "b" * 64)
    older = await versions.page("alice.papers", first.id, PageQuery(9, "2", newest_first=True))
    assert [each.status for each in older.entries] == [VersionStatus.SUPERSEDED]

    # The newest content is what counts: the first file again is a third version.
    third = await versions.begin(replace(REPORT, job_id="job_3"))
    assert third.document.version == 3
    other = replace(third.document, job_id="job_9")
    assert await versions.settle(other, VersionStatus.FAILED) is VersionStatus.IN_PROGRESS
    failed = await versions.settle(third.document, VersionStatus.FAILED, "no_text", "No text.")
    assert failed is VersionStatus.FAILED
    assert await versions.settle(second, VersionStatus.CANCELLED) is VersionStatus.COMPLETED
    with pytest.raises(NotFound):
        await versions.complete(third.document)  # too late
    assert (await documents.get("alice.papers", first.id)).document == second
    assert (await catalogue.collections.get("alice.papers")).failed == 0


async def test_versions_that_end_in_another_order(catalogue: Catalogue) -> None:
    documents, versions = catalogue.documents, catalogue.versions
    uploads = [replace(REPORT, digest=letter * 64, job_id=f"job_{letter}") for letter in "abc"]
    first, second, third = [as_read((await versions.begin(each)).document) for each in uploads]
    assert await versions.complete(second) == []
    assert await versions.complete(first) == [1]
    assert await documents.current("alice.papers", [first.id]) == {
        first.id: CurrentVersion(2, "report.pdf")
    }
    assert await versions.settle(third, VersionStatus.CANCELLED) is VersionStatus.CANCELLED
    history = await versions.page("alice.papers", first.id, PageQuery(9))
    assert [each.status for each in history.entries] == [
        VersionStatus.SUPERSEDED,
        VersionStatus.COMPLETED,
        VersionStatus.CANCELLED,
    ]


async def test_a_name_that_is_taken(catalogue: Catalogue) -> None:
    documents, versions = catalogue.documents, catalogue.versions
    first = (await versions.begin(REPORT)).document
    other = replace(REPORT, digest="b" * 64, job_id="job_2")
    with pytest.raises(Conflict, match=r"report.pdf") as refused:
        await versions.begin(replace(other, on_conflict="reject"))
    assert refused.value.code == "name_taken"
    kept = (await versions.begin(replace(other, on_conflict="keep"))).document
    assert (kept.filename, kept.version) == ("report (2).pdf", 1)
    assert (await versions.begin(replace(other, on_conflict="keep"))).document == kept
    own = replace(REPORT, filename="report (final).pdf", digest="c" * 64, job_id="job_7")
    await versions.begin(own)
    third = replace(REPORT, digest="c" * 64, job_id="job_3", on_conflict="keep")
    kept = (await versions.begin(third)).document
    assert kept.filename == "report (3).pdf"
    with pytest.raises(Conflict):
        await documents.rename("alice.papers", kept.id, "report.pdf")
    renamed = await documents.rename("alice.papers", first.id, "annual.pdf")
    assert renamed.document.filename == "annual.pdf"
    await versions.complete(as_read(first))  # which had begun under the old name
    assert (await documents.get("alice.papers", first.id)).document.filename == "annual.pdf"
    assert await documents.current("alice.papers", [first.id]) == {
        first.id: CurrentVersion(1, "annual.pdf")
    }
    assert (await versions.begin(REPORT)).document.id != first.id
    with pytest.raises(NotFound):
        await documents.rename("alice.papers", "doc_9", "a.pdf")
    # A file that is attached is named by its id.
    attached = replace(REPORT, document_id="doc_7")
    assert (await versions.begin(attached)).document.id == "doc_7"
    assert (await versions.begin(replace(attached, document_id="doc_8"))).document.version == 1


async def test_a_document_that_failed_is_tried_again(catalogue: Catalogue) -> None:
    documents, versions = catalogue.documents, catalogue.versions
    document = (await versions.begin(REPORT)).document
    await versions.settle(document, VersionStatus.FAILED, "no_text", "There is no text.")
    entry = await documents.get("alice.papers", document.id)
    assert (entry.status, entry.error_code) == (DocumentStatus.FAILED, "no_text")
    assert entry.error_message == "There is no text."
    # A name that nobody can find is not taken.
    again = await versions.begin(replace(REPORT, job_id="job_2", on_conflict="reject"))
    assert (again.document.id, again.document.version) == (document.id, 2)
    entry = await documents.get("alice.papers", document.id)
    assert (entry.status, entry.error_code) == (DocumentStatus.IN_PROGRESS, None)
    assert entry.document.job_id == "job_2"
    refused = replace(REPORT, document_id="doc_2", job_id=None)
    await versions.add_failed(refused, "unsupported_media_type", "Not a format that is read.")
    papers = await catalogue.collections.get("alice.papers")
    assert (papers.in_progress, papers.failed) == (1, 1)
    failed = await documents.page("alice.papers", PageQuery(9), DocumentStatus.FAILED)
    assert [entry.document.id for entry in failed.entries] == ["doc_2"]
    assert [each.job_id for each in await versions.unfinished(0, 9)] == ["job_2"]
    assert await versions.unfinished(60, 9) == []


async def test_documents_are_listed_by_key(catalogue: Catalogue) -> None:
    for number in range(5):
        await catalogue.versions.begin(replace(REPORT, document_id=f"doc_{number}"))

    async def page(**query: object) -> tuple[list[str], bool]:
        found = await catalogue.documents.page("alice.papers", PageQuery(2, **query))  # type: ignore[arg-type]
        return [entry.document.id for entry in found.entries], found.more

    assert await page() == (["doc_0", "doc_1"], True)
    assert await page(after="doc_2") == (["doc_3", "doc_4"], False)
    assert await page(newest_first=True) == (["doc_4", "doc_3"], True)
    await catalogue.documents.remove("alice.papers", "doc_3")
    assert await page(newest_first=True, after="doc_3") == (["doc_2", "doc_1"], True)
    assert await catalogue.documents.collections_of("alice", "doc_1") == ["alice.papers"]
    assert await catalogue.documents.collections_of("bob", "doc_1") == []


async def test_collections_of_one_owner(catalogue: Catalogue) -> None:
    collections = catalogue.collections
    for name in ("alice.vs_2", "alice.vs_1", "bob.vs_1"):
        await collections.add(CollectionEntry(name, "Papers", 7, {"a": "b"}))
    await catalogue.versions.begin(REPORT)

    async def page(**query: object) -> list[str]:
        found = await collections.page("alice", PageQuery(9, **query))  # type: ignore[arg-type]
        return [entry.id for entry in found.entries]

    everything = ["alice.default", "alice.papers", "alice.vs_1", "alice.vs_2"]
    assert await page() == everything
    assert await page(newest_first=True) == everything[::-1]
    assert await page(after="alice.papers") == ["alice.vs_1", "alice.vs_2"]
    assert await page(after="alice.vs_1", newest_first=True) == ["alice.papers", "alice.default"]
    changed = await collections.change("alice.vs_1", "Letters", None)
    assert (changed.name, changed.metadata, changed.created_at) == ("Letters", {"a": "b"}, 7)
    assert (await collections.change("alice.vs_1", None, {})).metadata == {}
    with pytest.raises(NotFound):
        await collections.change("alice.vs_9", "Letters", None)
    with pytest.raises(NotFound):  # its first document does not create it
        await catalogue.versions.begin(replace(REPORT, collection="alice.vs_9"))
    assert (await collections.get("carol.default")).completed == 0
    assert await collections.remove("alice.papers")
    assert not await collections.remove("alice.papers")
    assert await page() == ["alice.default", "alice.vs_1", "alice.vs_2"]
    assert not (await catalogue.documents.page("alice.papers", PageQuery(9))).entries


async def test_quotas_of_an_owner(catalogue: Catalogue) -> None:
    file = FileEntry("file-1", "a.txt", "assistants", 400, 5)
    await catalogue.files.add("alice", file)
    await catalogue.files.add("alice", file)  # repeated
    await catalogue.files.check_quota("alice", 600)
    with pytest.raises(InvalidRequest, match="1,000 bytes") as refused:
        await catalogue.files.check_quota("alice", 601)
    assert refused.value.code == "quota_exceeded"
    await catalogue.versions.begin(replace(REPORT, size_bytes=600))
    with pytest.raises(InvalidRequest, match="1,000 bytes"):
        await catalogue.files.add("alice", replace(file, id="file-2", size_bytes=1))
    assert await catalogue.files.missing(["file-1", "file-2"]) == {"file-2"}
    await catalogue.files.check_quota("bob", 1000)
    assert await catalogue.collections.remove("alice.papers")
    await catalogue.removals.done(Removal("alice.papers"))
    for number in range(10):
        await catalogue.versions.begin(replace(REPORT, document_id=f"doc_{number}", size_bytes=1))
    with pytest.raises(InvalidRequest, match="10 documents"):
        await catalogue.versions.begin(replace(REPORT, document_id="doc_10", size_bytes=1))
    with pytest.raises(InvalidRequest, match="10 documents"):  # nothing of it is left
        await catalogue.versions.begin(replace(REPORT, document_id="x", collection="alice.y"))
    with pytest.raises(NotFound):
        await catalogue.collections.get("alice.y")
    for number in range(3):
        await catalogue.collections.add(CollectionEntry(f"alice.vs_{number}", "", 1))
    with pytest.raises(InvalidRequest, match="4 collections"):
        await catalogue.collections.add(CollectionEntry("alice.vs_3", "", 1))


async def test_files_of_an_owner(catalogue: Catalogue) -> None:
    files = [FileEntry(f"file-{n}", "a.txt", purpose, 1, 5) for n, purpose in enumerate("aba")]
    for file in files:
        await catalogue.files.add("alice", file)
    assert await catalogue.files.get("alice", "file-1") == files[1]
    for owner, file_id in (("bob", "file-1"), ("alice", "file-9")):
        with pytest.raises(NotFound):
            await catalogue.files.get(owner, file_id)
    page = await catalogue.files.page("alice", PageQuery(1, newest_first=True), "a")
    assert (page.entries, page.more) == ((files[2],), True)
    page = await catalogue.files.page("alice", PageQuery(1, "file-2", newest_first=True), "a")
    assert (page.entries, page.more) == ((files[0],), False)
    assert not await catalogue.files.remove("bob", "file-1")
    assert await catalogue.files.remove("alice", "file-1")
    assert not await catalogue.files.remove("alice", "file-1")


async def test_many_at_once_are_counted_exactly(database: Database, catalogue: Catalogue) -> None:
    other = Catalogue(database, QUOTAS)
    uploads = [replace(REPORT, document_id=f"doc_{number}", size_bytes=1) for number in range(10)]
    begun = await asyncio.gather(
        *(each.versions.begin(upload) for upload in uploads for each in (catalogue, other))
    )
    named = {each.document.id: each.document for each in begun}
    await asyncio.gather(*(catalogue.versions.complete(each) for each in named.values()))
    await asyncio.gather(
        *(other.documents.remove("alice.papers", f"doc_{number}") for number in range(4)),
        catalogue.collections.add(CollectionEntry("alice.vs_1", "", 1)),
    )
    papers = await catalogue.collections.get("alice.papers")
    assert (papers.in_progress, papers.completed, papers.size_bytes) == (0, 6, 6)
    await catalogue.versions.begin(replace(uploads[0], document_id="doc_10"))


async def test_an_import_is_noted_once(catalogue: Catalogue) -> None:
    assert await catalogue.imported_ms("0.1") is None
    await catalogue.set_imported("0.1")
    finished = await catalogue.imported_ms("0.1")
    await catalogue.set_imported("0.1")
    assert finished is not None
    assert await catalogue.imported_ms("0.1") == finished


async def test_a_database_that_is_away_is_unavailable(tmp_path: Path) -> None:
    database = Database(f"postgresql://nobody@127.0.0.1:1/{tmp_path.name}", retries_s=0.2)
    with pytest.raises(Unavailable):
        await Catalogue(database).collections.get("default")
    database.close()


async def test_a_broken_query_is_no_outage(database: Database) -> None:
    with pytest.raises(sa.exc.IntegrityError):
        await database.write(
            lambda connection: connection.execute(COLLECTIONS.insert().values(id="a"))
        )


async def test_a_removal_is_known_until_the_vectors_are_deleted(catalogue: Catalogue) -> None:
    documents, removals = catalogue.documents, catalogue.removals
    versions = catalogue.versions
    attached = replace(REPORT, document_id="doc_1")
    await versions.begin(attached)
    await versions.begin(replace(attached, document_id="doc_2"))
    await documents.remove("alice.papers", "doc_1")
    removal = Removal("alice.papers", "doc_1")
    assert await removals.claim(60) is None
    await asyncio.sleep(1.1)
    claims = await asyncio.gather(*(removals.claim(1) for _ in range(4)))
    assert [each for each in claims if each] == [removal]  # one caller has it
    with pytest.raises(Conflict, match="deleted"):  # its vectors would be deleted, too
        await versions.begin(attached)
    await removals.done(removal)
    await versions.begin(attached)
    await catalogue.collections.remove("alice.papers")
    assert await removals.claim(0) == Removal("alice.papers")
    with pytest.raises(Conflict, match="deleted"):
        await versions.begin(REPORT)
    await removals.done(Removal("alice.papers"))
    await versions.begin(REPORT)


async def test_attributes_are_those_of_the_document_and_changes_wait_for_the_vectors(
    catalogue: Catalogue,
) -> None:
    documents, versions, changes = (
        catalogue.documents,
        catalogue.versions,
        catalogue.attribute_changes,
    )
    hostile: dict[str, AttributeValue] = {
        '"\0é': "\0",
        "whole": 1,
        "real": 1.0,
        "flag": True,
        "big": 2**60,
        "small": 5e-324,
    }
    first = (await versions.begin(replace(REPORT, attributes=hostile))).document
    assert await changes.claim(0) is None  # the job publishes them
    stored = await documents.attributes(first.collection, first.id)
    assert stored is not None
    assert json.dumps(stored, sort_keys=True) == json.dumps(hostile, sort_keys=True)
    await versions.complete(first)
    assert await documents.current(first.collection, [first.id]) == {
        first.id: CurrentVersion(1, "report.pdf", hostile)
    }
    # A new version keeps them. The same file with others changes them, True into 1, too.
    second = replace(REPORT, digest="b" * 64, job_id="job_2")
    await versions.complete((await versions.begin(second)).document)
    assert await versions.find_same(replace(second, attributes=hostile)) is not None
    changed = replace(second, attributes=hostile | {"flag": 1})
    assert await versions.find_same(changed) is None
    assert (await versions.begin(changed)).document.version == 2
    entry = await documents.get(first.collection, first.id)
    assert entry.document.attributes["flag"] is not True
    (change,) = await changes.of_document(first.collection, first.id)
    # Another one that comes while it is written is not forgotten with it.
    entry = await documents.set_attributes(first.collection, first.id, {"year": 1})
    assert entry.document.attributes == {"year": 1}
    await documents.set_attributes(first.collection, first.id, {"year": 1})  # no change
    await changes.done([change])
    claims = await asyncio.gather(*(changes.claim(1) for _ in range(3)))
    assert claims == [None, None, None]
    await asyncio.sleep(1.1)
    claims = await asyncio.gather(*(changes.claim(1) for _ in range(3)))
    (left,) = [each for each in claims if each]
    assert (left.collection, left.document_id) == (first.collection, first.id)
    assert left != change
    await documents.remove(first.collection, first.id)
    assert await documents.attributes(first.collection, first.id) is None
    with pytest.raises(NotFound):
        await documents.set_attributes(first.collection, first.id, {})


async def test_text_that_postgresql_cannot_store_is_cleaned(catalogue: Catalogue) -> None:
    odd = replace(REPORT, filename="a\0b\ud800.txt")
    begun = await catalogue.versions.begin(odd)
    assert begun.document.filename == "ab?.txt"
    assert (await catalogue.versions.begin(odd)).document.id == begun.document.id
    await catalogue.collections.add(CollectionEntry("alice.vs_1", "a\0", 1, {"k": "\0v"}))
    assert (await catalogue.collections.get("alice.vs_1")).name == "a"


async def test_an_exclusive_lock_is_held_by_one(postgres: str) -> None:
    first, second = Database(postgres), Database(postgres)
    held: list[str] = []

    async def hold(database: Database, name: str) -> None:
        async with database.exclusively():
            held.append(name)
            await asyncio.sleep(0.2)
            held.append(name)

    await asyncio.gather(hold(first, "first"), hold(second, "second"))
    assert held in (["first"] * 2 + ["second"] * 2, ["second"] * 2 + ["first"] * 2)
    first.close()
    second.close()


async def test_a_batch_of_files_from_its_creation_to_its_end(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches, store = catalogue.batches, "alice.vs_1"
    documents = [f"doc_{number:032x}" for number in range(3)]
    await catalogue.collections.add(CollectionEntry(store, "a store", 1))
    for document_id in documents:
        entry = FileEntry(document_id.replace("doc_", "file-"), "a.txt", "user_data", 10, 1)
        await catalogue.files.add("alice", entry)

    def batch(number: int) -> NewBatch:
        return NewBatch(f"vsfb_{number}", store, list(map(BatchFile, documents)), 1_700_000_000)

    await batches.add(batch(1))
    assert await batches.waiting_owners() == ["alice"]
    assert (await catalogue.collections.get(store)).in_progress == 3
    waiting = await batches.waiting("alice", 2)
    assert [file.document_id for file in waiting] == documents[:2]
    upload = Upload(store, "a.txt", 10, "a" * 64, "job_a", document_id=documents[0])
    version = (await catalogue.versions.begin(upload)).document
    assert await batches.begun(waiting[0], version.version)
    await batches.failed(waiting[1], "bad", "for a reason")
    assert (await catalogue.collections.get(store)).in_progress == 2
    shown = await batches.get(store, "vsfb_1")
    assert (shown.created_at, shown.cancelled) == (1_700_000_000, False)
    assert shown.files == {DocumentStatus.IN_PROGRESS: 2, DocumentStatus.FAILED: 1}
    await catalogue.versions.complete(replace(version, chunks=1, chunker="3.800.400"))
    (known,) = (await catalogue.versions.page(store, documents[0], PageQuery(9))).entries
    assert known.document.chunker == "3.800.400"
    failed = await batches.files(store, "vsfb_1", PageQuery(9), DocumentStatus.FAILED)
    assert [(entry.document.id, entry.error_message) for entry in failed.entries] == [
        (documents[1], "for a reason")
    ]
    page = await batches.files(store, "vsfb_1", PageQuery(2, documents[0]), None)
    assert [entry.status for entry in page.entries] == [
        DocumentStatus.FAILED,
        DocumentStatus.IN_PROGRESS,
    ]
    last = (await batches.waiting("alice", 9))[-1]
    assert await batches.cancel(store, "vsfb_1") == []
    # Its job was just submitted; it must be cancelled now.
    assert not await batches.begun(last, 1)
    cancelled = await batches.get(store, "vsfb_1")
    assert cancelled.cancelled
    assert cancelled.files == dict.fromkeys(
        (DocumentStatus.COMPLETED, DocumentStatus.FAILED, DocumentStatus.CANCELLED), 1
    )
    with pytest.raises(NotFound):
        await batches.get("alice.vs_2", "vsfb_1")
    with pytest.raises(NotFound, match="there is no file"):
        await batches.add(replace(batch(2), files=[BatchFile("doc_" + "f" * 32)]))

    monkeypatch.setattr("deployments.catalogue.new_batches.MAX_BATCHES", 2)
    monkeypatch.setattr("deployments.catalogue.new_batches.MAX_WAITING_FILES", 6)
    await batches.add(batch(2))
    await batches.add(batch(3))  # in place of the first
    with pytest.raises(NotFound):
        await batches.get(store, "vsfb_1")
    with pytest.raises(Overloaded, match="6 files of batches are waiting"):
        await batches.add(batch(4))
    monkeypatch.setattr("deployments.catalogue.new_batches.MAX_WAITING_FILES", 99)
    with pytest.raises(Overloaded, match="files of 2 batches are waiting"):
        await batches.add(batch(4))
    await catalogue.collections.remove(store)
    assert await batches.waiting_owners() == []


async def test_a_vector_store_expires_after_its_last_use(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    collections, store, day_s = catalogue.collections, "alice.vs_1", 86_400
    clock_s = 1_800_000_000

    def pass_time(seconds: int) -> None:
        nonlocal clock_s
        clock_s += seconds
        for module in ("expiry", "collections"):
            name = f"deployments.catalogue.{module}.now_ms"
            monkeypatch.setattr(name, lambda: clock_s * 1000)

    pass_time(0)
    await collections.add(CollectionEntry(store, "a store", clock_s, expires_days=2))
    await catalogue.versions.begin(replace(REPORT, collection=store))
    shown = await collections.get(store)
    assert (shown.active_at, shown.expires_at, shown.expired) == (
        clock_s,
        clock_s + 2 * day_s,
        False,
    )

    async def becomes_active() -> None:
        async with asyncio.timeout(10):
            while (await collections.get(store)).active_at != clock_s:
                await asyncio.sleep(0.01)

    pass_time(30)
    await collections.use(store)
    await asyncio.sleep(0.1)
    assert (await collections.get(store)).active_at == clock_s - 30  # it is not written so often
    pass_time(day_s)
    await collections.use(store)
    await becomes_active()
    assert (await collections.get(store)).expires_at == clock_s + 2 * day_s
    pass_time(day_s)
    await catalogue.versions.begin(replace(REPORT, collection=store, digest="b" * 64))
    assert (await collections.get(store)).active_at == clock_s

    pass_time(2 * day_s)
    assert (await collections.get(store)).expired
    for use in (
        collections.use(store),
        catalogue.versions.begin(replace(REPORT, collection=store, digest="c" * 64)),
        catalogue.batches.add(NewBatch("vsfb_1", store, [], clock_s)),
    ):
        with pytest.raises(InvalidRequest, match="has expired") as refused:
            await use
        assert refused.value.code == "vector_store_expired"
    assert await collections.remove_expired(day_s) is None
    renewed = await collections.change(store, None, None, Expiry(1))
    assert (renewed.expired, renewed.expires_at) == (False, clock_s + day_s)
    await collections.change(store, "other", None)
    assert (await collections.get(store)).expires_days == 1

    await collections.add(CollectionEntry("alice.vs_2", "for ever", clock_s))
    pass_time(3 * day_s)
    assert await collections.remove_expired(day_s) == store
    assert await collections.remove_expired(day_s) is None
    with pytest.raises(NotFound):
        await collections.get(store)
    assert await catalogue.removals.claim(0) == Removal(store)
    forever = await collections.change("alice.vs_2", None, None, Expiry(None))
    assert (forever.expires_days, forever.expires_at) == (None, None)
    for other in ("alice.default", "alice.papers"):
        with pytest.raises(InvalidRequest, match="vector store can expire"):
            await collections.change(other, None, None, Expiry(1))
        await collections.use(other)


async def test_a_use_is_recorded_beside_a_change_of_the_expiry(
    catalogue: Catalogue, database: Database
) -> None:
    collections, store = catalogue.collections, "alice.vs_1"
    began_s = int(time.time()) - 120
    await collections.add(CollectionEntry(store, "a store", began_s, expires_days=2))
    changed, used = threading.Event(), threading.Event()

    def change(connection: sa.Connection) -> None:
        where = COLLECTIONS.update().where(COLLECTIONS.c.id == store)
        connection.execute(where.values(expires_days=9))
        changed.set()
        used.wait(10)

    async with asyncio.TaskGroup() as group:
        group.create_task(database.write(change))
        await asyncio.to_thread(changed.wait, 10)
        for _ in range(9):
            await collections.use(store)  # which waits for no lock
        assert not used.is_set()
        await asyncio.sleep(0.2)  # it is about to be recorded
        used.set()
    async with asyncio.timeout(10):
        while (entry := await collections.get(store)).active_at == began_s:
            await asyncio.sleep(0.01)
    assert entry.active_at is not None
    assert (entry.expires_days, entry.expires_at) == (9, entry.active_at + 9 * 86_400)


async def test_a_large_collection_is_gone_at_once_and_removed_bit_by_bit(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    collections, store = catalogue.collections, "alice.vs_1"
    monkeypatch.setattr("deployments.catalogue.collection_removals._DOCUMENTS_AT_ONCE", 2)
    await collections.add(CollectionEntry(store, "a store", int(time.time())))
    for name in (store, "alice.papers"):
        for number in range(5):
            upload = replace(REPORT, collection=name, filename=f"{number}.txt", size_bytes=1)
            document = (await catalogue.versions.begin(upload)).document

    class Interrupted(Exception):
        pass

    async def interrupt(_s: float) -> None:
        raise Interrupted

    for name, refusal in ((store, NotFound), ("alice.papers", Conflict)):
        with monkeypatch.context() as patched:
            patched.setattr("deployments.catalogue.collections.asyncio.sleep", interrupt)
            with pytest.raises(Interrupted):
                await collections.remove(name)
        page = await collections.page("alice", PageQuery(9))
        assert name not in [entry.id for entry in page.entries]
        for use in (collections.get(name), collections.index(name)):
            with pytest.raises(NotFound):
                await use
        await collections.use(name)  # it has not expired: the search then does not find it
        with pytest.raises(refusal):
            await catalogue.versions.begin(replace(REPORT, collection=name))
        assert not await collections.remove(name)
    with pytest.raises(NotFound):
        await catalogue.versions.complete(document)
    removed = {await collections.remove_expired(86_400) for _ in range(2)}
    assert removed == {store, "alice.papers"}
    assert await collections.remove_expired(86_400) is None
    claims = {await catalogue.removals.claim(0.0) for _ in range(2)}
    assert claims == {Removal(store), Removal("alice.papers")}
    # Nothing of them counts any more.
    quotas = Quotas(collections=2, documents=1, files=1, size_bytes=REPORT.size_bytes)
    await catalogue.with_quotas(quotas).versions.begin(replace(REPORT, collection="alice.other"))


async def test_what_was_accepted_last_counts_for_a_file_that_waits(catalogue: Catalogue) -> None:
    batches, documents, store = catalogue.batches, catalogue.documents, "alice.vs_1"
    doc = "doc_" + "0" * 32
    file = FileEntry(doc.replace("doc_", "file-"), "a.txt", "user_data", 10, 1)
    await catalogue.collections.add(CollectionEntry(store, "a store", 1))
    await catalogue.files.add("alice", file)
    attach = Upload(store, "a.txt", 10, "a" * 64, "job_a", document_id=doc)

    async def wait_in(batch_id: str, attributes: Attributes | None) -> tuple[BatchFile, Upload]:
        waiting = BatchFile(doc, store, batch_id, Chunking(200, 0), attributes)
        await batches.add(NewBatch(batch_id, store, [waiting], 1))
        of_batch = replace(
            attach, batch_id=batch_id, attributes=attributes, chunking=waiting.chunking
        )
        return waiting, of_batch

    # A file that is attached meanwhile has begun for the batch, too, and has its attributes.
    _, late = await wait_in("vsfb_1", {"year": 1})
    version = (await catalogue.versions.begin(attach)).document
    assert (await documents.get(store, doc)).document.attributes == {"year": 1}
    assert await batches.waiting_owners() == []
    with pytest.raises(Conflict, match="does not wait"):
        await catalogue.versions.begin(late)
    await catalogue.versions.complete(version)
    assert (await batches.get(store, "vsfb_1")).files == {DocumentStatus.COMPLETED: 1}
    # Attributes that are set while it waits are not overwritten, and are shown.
    waiting, late = await wait_in("vsfb_2", {"year": 2})
    await documents.set_attributes(store, doc, {"year": 3})
    entry = await catalogue.versions.begin(late)
    assert entry.document.version == 2  # cut in another way
    assert await batches.begun(waiting, 2)
    for batch_id in ("vsfb_1", "vsfb_2"):
        (shown,) = (await batches.files(store, batch_id, PageQuery(9), None)).entries
        assert shown.document.attributes == {"year": 3}
    await documents.set_attributes(store, doc, {})
    (shown,) = (await batches.files(store, "vsfb_2", PageQuery(9), None)).entries
    assert shown.document.attributes == {}
    # With a document goes what waits to become it.
    waiting, late = await wait_in("vsfb_3", {"year": 4})
    assert await documents.remove(store, doc)
    with pytest.raises(Conflict, match="does not wait"):
        await catalogue.versions.begin(late)
    assert not await batches.begun(waiting, 3)
    assert (await batches.get(store, "vsfb_3")).files == {DocumentStatus.CANCELLED: 1}


async def test_the_content_that_a_restore_needs_is_kept(catalogue: Catalogue) -> None:
    versions = catalogue.versions

    async def add(digest: str) -> Document:
        document = (await versions.begin(replace(REPORT, digest=digest * 64))).document
        await versions.complete(document)
        return document

    first = await add("a")
    await add("b")
    restore = replace(REPORT, document_id=first.id, job_id="job_r", restored_from=1)
    restored = (await versions.begin(restore)).document
    await add("c")
    assert await versions.restorable(first.collection, first.id) == {4, 2, 1}
    await versions.complete(restored)
    assert await versions.restorable(first.collection, first.id) == {4, 3}
