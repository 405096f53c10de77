"""Files are whole or not there, in a folder and in an object store alike."""

from __future__ import annotations

import asyncio
import io
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from deployments.errors import InvalidRequest, NotFound, TooLarge, Unavailable
from deployments.file_store import FileStore

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["folder", "objects"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> FileStore:
    """fsspec's store in memory stands for the others."""
    root = str(tmp_path) if request.param == "folder" else f"memory://{os.urandom(4).hex()}"
    return FileStore(root)


def files_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def test_what_was_put_is_there_until_it_is_deleted(store: FileStore) -> None:
    await store.put("a/b/1.png", b"one")
    await store.put("a/b/2.png", io.BytesIO(b"two"))
    await store.put("a/b/1.png", b"one anew")
    assert await store.get("a/b/1.png") == b"one anew"
    assert await store.names("a/b") == ["1.png", "2.png"]
    await store.delete("a/b/1.png")
    assert await store.names("a/b") == ["2.png"]
    await store.delete("a")
    assert await store.names("a/b") == []
    await store.delete("a")
    with pytest.raises(NotFound):
        await store.get("a/b/2.png")


async def test_files_are_listed_with_their_size_and_age(store: FileStore) -> None:
    before = time.time() - 5
    for path, content in {"a/1": b"one", "a/2": b"longer", "a/b/3": b"", "c/4": b"four"}.items():
        await store.put(path, content)
    listed = await store.stats(["a", "c", "nothing", "a/1/below"])
    assert sorted((file.path, file.size_bytes) for file in listed) == [
        ("a/1", 3),
        ("a/2", 6),
        ("c/4", 4),
    ]
    assert all(before < file.changed_at < time.time() + 5 for file in listed)
    assert [file.path for file in await store.infos(["a/2", "a/9", "a", "a/b/3"])] == [
        "a/2",
        "a/b/3",
    ]


async def test_a_file_is_moved_or_copied_whole(store: FileStore) -> None:
    await store.put("a/1", b"one")
    await store.copy("a/1", "b/c/1")
    await store.put("a/1", b"two")
    await store.move("a/1", "b/2")
    assert (await store.get("b/c/1"), await store.get("b/2")) == (b"one", b"two")
    assert await store.names("a") == []
    await store.put("a/1", b"three")
    await store.move("a/1", "b/2")
    assert await store.get("b/2") == b"three"
    for change in (store.move, store.copy):
        with pytest.raises(NotFound):
            await change("a/1", "b/2")
    assert await store.get("b/2") == b"three"


async def test_a_store_in_which_nothing_is_yet_is_well(store: FileStore) -> None:
    await store.check_health()
    await store.put("a", b"x")
    await store.check_health()


async def test_a_store_that_does_not_answer_is_not_well(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object, **__: object) -> None:
        raise ConnectionError("away")

    # fsspec's own `exists`, which most kinds of store have, takes this for an answer.
    monkeypatch.setattr(MemoryFileSystem, "info", away)
    elsewhere = FileStore("memory://elsewhere")
    with pytest.raises(Unavailable, match="file store"):
        await elsewhere.check_health()


@pytest.mark.parametrize("path", ["", ".", "/etc/passwd", "../x", "a/../../x", "a\0b"])
async def test_no_path_leads_out(store: FileStore, path: str) -> None:
    for call in (store.put(path, b"x"), store.get(path), store.delete(path)):
        with pytest.raises(InvalidRequest, match="path"):
            await call
    with pytest.raises(InvalidRequest, match="path"):
        async with store.opened(path, 99):
            pass


@pytest.mark.parametrize("pattern", ["uploads/*", "upl?ads", "uploads/[ab]"])
async def test_a_path_is_no_pattern(store: FileStore, pattern: str) -> None:
    await store.put("uploads/a", b"x")
    with pytest.raises(InvalidRequest, match="path"):
        await store.delete(pattern)
    assert await store.names("uploads") == ["a"]


async def test_an_opened_file_can_be_read_by_another_process(store: FileStore) -> None:
    await store.put("a", b"x" * 3_000_000)
    async with store.opened("a", 3_000_000) as file:
        assert os.fstat(file.fileno()).st_size == 3_000_000
        await store.delete("a")
        counted = await asyncio.to_thread(subprocess.check_output, ["wc", "-c"], stdin=file)
    assert int(counted) == 3_000_000
    await store.put("a", b"x" * 3_000_000)
    with pytest.raises(TooLarge, match="more than 2,999,999 bytes"):
        async with store.opened("a", 2_999_999):
            pass


async def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    store = FileStore(str(tmp_path))
    contents = [bytes([letter]) * 3_000_000 for letter in b"ab"]
    await store.put("file", contents[0])

    async def write() -> None:
        for number in range(20):
            await store.put("file", contents[number % 2])

    writing = asyncio.create_task(write())
    while not writing.done():
        assert await store.get("file") in contents
    await writing
    assert files_in(tmp_path) == ["file"]


async def test_a_write_that_breaks_leaves_what_was_there(tmp_path: Path) -> None:
    class Broken(io.BytesIO):
        def read(self, *_: object) -> bytes:
            raise OSError("the network is gone")

    store = FileStore(str(tmp_path))
    await store.put("file", b"before")
    with pytest.raises(OSError, match="network"):
        await store.put("file", Broken())
    assert await store.get("file") == b"before"
    assert files_in(tmp_path) == ["file"]


async def test_only_old_files_are_swept(tmp_path: Path) -> None:
    store = FileStore(str(tmp_path))
    long_ago = time.time() - 3600
    for name in ("old", "needed", "new"):
        await store.put(f"uploads/{name}", b"x")
        if name != "new":
            os.utime(tmp_path / "uploads" / name, (long_ago, long_ago))
    assert await store.delete_older("uploads", 1800, but=["uploads/needed"]) == 1
    assert await store.names("uploads") == ["needed", "new"]
    assert await store.delete_older("nowhere", 1) == 0


def test_a_store_whose_package_is_missing_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)  # as if it were not installed
    with pytest.raises(InvalidRequest, match=r"gs://bucket/there.*gcsfs"):
        FileStore("gs://bucket/there")
