"""Changes of the embedding model in the catalogue, on SQLite and PostgreSQL."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deployments.catalogue.catalogue import Catalogue
from deployments.catalogue.database import Database
from deployments.catalogue.entries import ChangeState, ModelChange, Upload
from deployments.errors import Conflict, NotFound, Unavailable
from deployments.types import Document

pytestmark = pytest.mark.anyio

OLD, NEW = "old-index", "new-index"
BOTH = {OLD: "old", NEW: "new"}
PAPERS = "alice.papers"


@pytest.fixture
def catalogue(database: Database) -> Catalogue:
    return Catalogue(database)


async def begun(catalogue: Catalogue, name: str, collection: str = PAPERS) -> Document:
    upload = Upload(collection, f"{name}.txt", 9, name, f"job_{name}")
    return replace((await catalogue.versions.begin(upload)).document, chunks=2)


async def uploaded(
    catalogue: Catalogue, name: str, loaded: dict[str, str], collection: str = PAPERS
) -> Document:
    """Complete a document as a job does; it is marked if its collection has a pair."""
    document = await begun(catalogue, name, collection)
    indexes = await catalogue.collections.claim_index(collection, loaded)
    if indexes.pair:
        stored = {indexes.name, indexes.other} & loaded.keys()
        if stored:
            await catalogue.model_changes.mark(document, {name for name in stored if name})
    await catalogue.versions.complete(document)
    return document


async def change_of(catalogue: Catalogue) -> ModelChange:
    change = await catalogue.model_changes.latest()
    assert change is not None
    return change


async def started(catalogue: Catalogue, *, beside: bool = True) -> ModelChange:
    loaded = BOTH if beside else {NEW: "new"}
    await catalogue.model_changes.begin(NEW, loaded, beside=beside, automatic=True)
    change = await change_of(catalogue)
    await catalogue.model_changes.pair(change, list(loaded))
    return change


async def copy_all(catalogue: Catalogue, loaded: dict[str, str]) -> list[str]:
    """Mark what a worker would copy; return the ids."""
    changes = catalogue.model_changes
    found = await changes.to_copy(list(loaded), None, 100)
    for each in found:
        indexes = await catalogue.collections.index(each.document.collection)
        assert indexes.name
        assert indexes.other
        assert await changes.mark(each.document, {indexes.name, indexes.other})
    return [each.document.id for each in found]


async def names(catalogue: Catalogue, collection: str = PAPERS) -> tuple[str | None, str | None]:
    indexes = await catalogue.collections.index(collection)
    return indexes.name, indexes.other


async def test_a_switch_waits_for_every_document_and_can_be_undone(catalogue: Catalogue) -> None:
    changes = catalogue.model_changes
    first = await uploaded(catalogue, "first", {OLD: "old"})
    await uploaded(catalogue, "other", {OLD: "old"}, "bob.notes")
    await started(catalogue)
    assert await names(catalogue) == (OLD, NEW)
    second = await uploaded(catalogue, "second", BOTH)
    with pytest.raises(Conflict, match="2 documents") as refused:
        await changes.switch()
    assert refused.value.code == "not_ready"
    progress = await changes.progress()
    assert (progress.documents, progress.done_documents, progress.chunks) == (3, 1, 6)
    (one, *_) = await changes.to_copy([NEW], None, 1)
    (after,) = await changes.to_copy([NEW], (one.document.collection, one.document.id), 9)
    assert [one.document.collection, after.document.collection] == [PAPERS, "bob.notes"]
    assert await changes.to_copy(["unloaded"], None, 9) == []
    assert (await copy_all(catalogue, BOTH))[0] == first.id
    # A version that was stored before the second index existed, and ended after it did.
    late = await begun(catalogue, "late")
    await catalogue.versions.complete(late)
    with pytest.raises(Conflict, match="1 documents"):
        await changes.switch()
    await catalogue.documents.remove(PAPERS, late.id)
    assert await changes.switch() == 2
    assert await names(catalogue) == (NEW, OLD) == await names(catalogue, "bob.notes")
    assert (await change_of(catalogue)).state is ChangeState.SWITCHED
    assert await copy_all(catalogue, BOTH) == []
    # A new collection is in the new index although the configuration names the old model first.
    await uploaded(catalogue, "third", BOTH, "carol.new")
    assert await names(catalogue, "carol.new") == (NEW, OLD)
    assert await changes.back() == 3
    assert await names(catalogue) == (OLD, NEW)
    change = await change_of(catalogue)
    assert (change.state, change.automatic) == (ChangeState.RUNNING, False)
    assert await changes.switch(PAPERS) == 1
    assert await names(catalogue, "bob.notes") == (OLD, NEW)
    assert await changes.back(PAPERS) == 1
    assert second.id


async def test_what_a_change_leaves_is_emptied_once_it_ends(catalogue: Catalogue) -> None:
    changes = catalogue.model_changes
    for refused in (changes.switch(), changes.back(), changes.pause(), changes.finish()):
        with pytest.raises(Conflict, match="no change"):
            await refused
    with pytest.raises(NotFound, match=r"embedder\.next"):
        await changes.start()
    await uploaded(catalogue, "first", {OLD: "old"})
    await started(catalogue)
    await copy_all(catalogue, BOTH)
    with pytest.raises(Conflict, match="switch first"):
        await changes.finish()
    await changes.switch()
    with pytest.raises(Conflict, match="go back first"):
        await changes.cancel()
    await changes.finish()
    assert await names(catalogue) == (NEW, None)
    assert await changes.to_empty(9) == [(PAPERS, OLD)]
    await changes.pair(await change_of(catalogue), list(BOTH))
    assert await names(catalogue) == (NEW, None)  # it is in the new one
    await changes.emptied(PAPERS, OLD)
    assert await changes.to_empty(9) == []
    # The configuration may stay: new collections are in the new index, and no second one.
    await uploaded(catalogue, "third", BOTH, "carol.new")
    assert await names(catalogue, "carol.new") == (NEW, None)
    # The next change: what was in both indexes of the last one is in neither pair.
    await changes.begin(OLD, {NEW: "new", OLD: "old"}, beside=True, automatic=True)
    await changes.pair(await change_of(catalogue), list(BOTH))
    assert len(await changes.to_copy(list(BOTH), None, 9)) == 2
    await changes.pause()
    assert (await change_of(catalogue)).state is ChangeState.PAUSED
    await changes.resume()
    await changes.cancel()
    assert sorted(await changes.to_empty(9)) == [(PAPERS, OLD), ("carol.new", OLD)]
    await changes.start()
    assert (await change_of(catalogue)).state is ChangeState.RUNNING
    await changes.pair(await change_of(catalogue), list(BOTH))
    assert await names(catalogue) == (NEW, None)  # it is emptied first


async def test_one_model_after_the_other(catalogue: Catalogue) -> None:
    """The present model is not loaded: uploads go into the second index alone."""
    changes, new = catalogue.model_changes, {NEW: "new"}
    first = await uploaded(catalogue, "first", {OLD: "old"})
    await uploaded(catalogue, "served", new, "bob.notes")
    assert await changes.unserved([NEW]) == [(PAPERS, None)]
    await started(catalogue, beside=False)
    assert await names(catalogue) == (OLD, NEW)
    assert await names(catalogue, "bob.notes") == (NEW, None)
    upload = await uploaded(catalogue, "upload", new)
    assert await changes.unserved([NEW]) == [(PAPERS, NEW)]
    with pytest.raises(Conflict, match="no earlier model"):
        await changes.cancel()
    await catalogue.collections.remove("bob.notes")
    # The operator sets the old model again: the upload must be copied to its index.
    await changes.begin(OLD, {OLD: "old"}, beside=False, automatic=True)
    await changes.pair(await change_of(catalogue), [OLD])
    with pytest.raises(Conflict, match="only in the index"):
        await changes.finish()
    (found,) = await changes.to_copy([OLD], None, 9)
    assert (found.document.id, found.only_second) == (upload.id, True)
    # And the new one once more.
    await changes.begin(NEW, new, beside=False, automatic=True)
    await changes.pair(await change_of(catalogue), [NEW])
    assert await copy_all(catalogue, new) == [first.id]
    assert await changes.switch(PAPERS) == 1
    assert await names(catalogue) == (NEW, OLD)
    assert await changes.to_copy([NEW], None, 9) == []
    (found,) = await changes.to_copy([OLD], None, 9)  # if that were loaded
    assert (found.document.id, found.only_second) == (upload.id, False)
    assert (await change_of(catalogue)).state is ChangeState.SWITCHED
    await changes.finish()
    assert await changes.to_empty(9) == [(PAPERS, OLD)]


async def test_an_upload_in_progress_during_a_switch_is_copied_to_the_new_index(
    catalogue: Catalogue,
) -> None:
    """It may be stored in the earlier index alone, which is not emptied before."""
    changes = catalogue.model_changes
    await uploaded(catalogue, "first", {OLD: "old"})
    await started(catalogue)
    await copy_all(catalogue, BOTH)
    late, marked = await begun(catalogue, "late"), await begun(catalogue, "marked")
    assert await changes.mark(marked, [OLD, NEW])
    assert await changes.switch() == 1
    with pytest.raises(Conflict, match="only in the index"):
        await changes.finish()
    for document in (late, marked):
        await catalogue.versions.complete(document)
    (found,) = await changes.to_copy(list(BOTH), None, 9)
    assert (found.document.id, found.only_second) == (late.id, True)
    with pytest.raises(Conflict, match="only in the index"):
        await changes.finish()
    assert await changes.mark(late, [OLD, NEW])
    await changes.finish()


async def test_a_version_is_marked_as_the_indexes_are_then(catalogue: Catalogue) -> None:
    """They may be exchanged between storing it and recording that."""
    changes = catalogue.model_changes
    await uploaded(catalogue, "first", {OLD: "old"})
    await started(catalogue)
    await copy_all(catalogue, BOTH)
    document = await begun(catalogue, "late")
    await changes.switch()
    await catalogue.versions.complete(document)
    for index, only_second in ((OLD, True), (NEW, False)):
        assert await changes.mark(document, [index])
        (found,) = await changes.to_copy(list(BOTH), None, 9)
        assert found.only_second == only_second
    with pytest.raises(Conflict, match="still being copied"):
        await changes.finish()
    with pytest.raises(Unavailable, match="try again"):
        await changes.mark(document, ["another"])


async def test_an_index_that_is_emptied_gets_no_uploads(catalogue: Catalogue) -> None:
    """Not even those of a collection without documents, which follow the configuration."""
    changes = catalogue.model_changes
    first = await uploaded(catalogue, "first", {OLD: "old"})
    await started(catalogue)
    await copy_all(catalogue, BOTH)
    await changes.switch()
    await changes.finish()
    await catalogue.documents.remove(PAPERS, first.id)
    for loaded in (BOTH, {OLD: "old"}):
        claimed = await catalogue.collections.claim_index(PAPERS, loaded)
        assert (claimed.name, claimed.other) == (NEW, None)
    assert await changes.to_empty(9) == [(PAPERS, OLD)]
    await changes.emptied(PAPERS, OLD)
    await catalogue.collections.claim_index(PAPERS, {OLD: "old"})
    assert await names(catalogue) == (OLD, None)


async def test_an_upload_gives_its_collection_an_index_that_is_loaded(
    catalogue: Catalogue,
) -> None:
    """The worker may not have come to it yet."""
    await uploaded(catalogue, "first", {OLD: "old"})
    await uploaded(catalogue, "second", {NEW: "new"})
    assert await names(catalogue) == (OLD, NEW)


async def test_one_worker_at_a_time(catalogue: Catalogue) -> None:
    changes = catalogue.model_changes
    assert await changes.claim(60) is None
    await started(catalogue)
    change = await changes.claim(60)
    assert change is not None
    assert await changes.claim(60) is None
    await changes.report(change, [NEW], 12.5, 1)
    assert await changes.claim(60) is None
    assert (await change_of(catalogue)).chunks_per_s == 12.5
    await changes.release(change)
    assert await changes.claim(60) is not None
    await uploaded(catalogue, "first", BOTH)
    await copy_all(catalogue, BOTH)
    await changes.switch()
    with pytest.raises(Conflict, match="does not have the earlier model"):
        await changes.back()
