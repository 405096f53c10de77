"""Find, fill and remove the vector store of a data set."""

from __future__ import annotations

import asyncio
import hashlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from serve_app.evaluation.client import REPORT_S
from serve_app.launch.progress import say
from serve_app.service_client import CommandError, Refusal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from serve_app.evaluation.client import Client
    from serve_app.evaluation.data_sets import DataSet, File

_UPLOADS = 16  # at once
_POLL_S = 1.0
_MAX_STALL_S = 900.0  # the longest time without a new searchable document
_FILE_STATUSES = {413, 415, 422}  # refusals that are the file's fault, not the service's
_PAGE = 100
_MAX_NAME_CHARS = 200
_SHOWN = 3
# Keys of its metadata.
_SET, _CONTENT, _READY = "evaluation_set", "evaluation_content", "evaluation_documents"


@dataclass(frozen=True)
class Filled:
    """The documents that can be searched, and the number of files that could not be read."""

    documents: int
    unread: int


async def prepared(client: Client, data: DataSet, digest: str) -> tuple[str, Filled]:
    """Return the id of the vector store with the documents of a data set.

    One that was filled before is used again, and one that was filled in part is filled up.
    """
    store = await _found(client, data.name, digest)
    if store is None:
        name = data.name[:_MAX_NAME_CHARS]
        metadata = {_SET: name, _CONTENT: digest}
        store_id = await new_store(client, f"evaluation: {name}", metadata)
        store = await client.json("GET", f"/v1/vector_stores/{store_id}")
    counts = store["file_counts"]
    if str(counts["completed"]) == store["metadata"].get(_READY):
        say(f"{store['id']} has the documents already")
        return store["id"], Filled(counts["completed"], len(data.files) - counts["completed"])
    filled = await fill(client, store["id"], data.files)
    metadata = store["metadata"] | {_READY: str(filled.documents)}
    await client.json("POST", f"/v1/vector_stores/{store['id']}", {"metadata": metadata})
    return store["id"], filled


async def new_store(client: Client, name: str, metadata: Mapping[str, str] | None = None) -> str:
    """Create a vector store; return its id."""
    body = {"name": name, "metadata": metadata or {}}
    return str((await client.json("POST", "/v1/vector_stores", body))["id"])


async def fill(client: Client, store_id: str, files: Sequence[File]) -> Filled:
    """Upload the files that the vector store does not have, and wait until they are read.

    Raises CommandError if none can be read, or nothing becomes searchable for a quarter of an hour.
    """
    present = {name async for name in _document_names(client, store_id)}
    filling = _Filling(client, store_id, len(files), present)
    try:
        async with asyncio.TaskGroup() as group:
            missing = [file for file in files if file.name not in present]
            uploading = group.create_task(client.each(filling.upload, missing, _UPLOADS))
            waiting = group.create_task(filling.wait(uploading))
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    counts, unread = waiting.result(), filling.unread
    if counts["failed"]:
        unread |= await _failures(client, store_id)
    for name, reason in list(unread.items())[:_SHOWN]:
        say(f"  not read: {name}: {reason}")
    if not counts["completed"]:
        msg = "none of the documents could be read"
        raise CommandError(msg)
    return Filled(counts["completed"], len(files) - counts["completed"])


async def remove(client: Client, name: str) -> int:
    """Delete all vector stores of a data set, for all its contents; return their number."""
    found = [store async for store in _stores(client) if _is_of(store, name)]
    for store in found:
        await client.json("DELETE", f"/v1/vector_stores/{store['id']}")
    return len(found)


def content_digest(files: Sequence[File]) -> str:
    """Return a digest of the names and contents of files."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{len(file.name)} {file.name}".encode())
        digest.update(hashlib.sha256(file.data).digest())
    return digest.hexdigest()


class _Filling:
    """Uploads files and waits for them, with a report every few seconds.

    `present` are the names of the documents that the vector store has or will have; `unread` are
    the reasons why files were refused, by their names.
    """

    def __init__(self, client: Client, store_id: str, total: int, present: set[str]) -> None:
        self.unread: dict[str, str] = {}
        self._client = client
        self._store_id = store_id
        self._total = total
        self._present = present
        self._first = len(present)  # documents that were searchable before
        self._started_at = self._reported_at = self._progressed_at = time.monotonic()
        self._state: object = None

    async def upload(self, file: File) -> None:
        """Upload a file; note it if the service cannot read it."""
        try:
            self._present.add(await self._client.upload(self._store_id, file))
        except Refusal as refusal:
            if refusal.status not in _FILE_STATUSES:
                raise
            self.unread[file.name] = str(refusal)

    async def wait(self, uploading: asyncio.Task[Any]) -> dict[str, int]:
        """Wait until all uploads have ended; return the counts of the store."""
        while True:
            uploaded = uploading.done()
            store = await self._client.json("GET", f"/v1/vector_stores/{self._store_id}")
            counts: dict[str, int] = store["file_counts"]
            # A document is counted from the moment at which its job begins.
            ended = counts["completed"] + counts["failed"] + counts["cancelled"]
            if uploaded and ended >= len(self._present) and not counts["in_progress"]:
                return counts
            self._report(counts["completed"], counts["failed"] + len(self.unread))
            await asyncio.sleep(_POLL_S)

    def _report(self, completed: int, unread: int) -> None:
        """Report the progress; raise CommandError if there is none for too long."""
        now, state = time.monotonic(), (completed, unread, len(self._present))
        if state != self._state:
            self._state, self._progressed_at = state, now
        if now - self._progressed_at > _MAX_STALL_S:
            msg = f"no document became searchable in {_MAX_STALL_S:.0f} s: see `GET /v1/jobs`"
            raise CommandError(msg)
        if now - self._reported_at < REPORT_S:
            return
        self._reported_at = now
        words = f"searchable: {completed:,} of {self._total:,} documents"
        if unread:
            words += f", {unread:,} not read"
        if completed > self._first:
            rate = (completed - self._first) / (now - self._started_at)
            words += f", about {(self._total - completed - unread) / rate:.0f} s left"
        say(words)


async def _found(client: Client, name: str, digest: str) -> dict[str, Any] | None:
    """Return the vector store of this content; mention those of an earlier content."""
    found, others = None, 0
    async for store in _stores(client):
        if _is_of(store, name):
            if store["metadata"].get(_CONTENT) == digest and store["status"] != "expired":
                found = store
            else:
                others += 1
    if others:
        say(f"{others} vector stores have other contents of {name}: `--remove` deletes them")
    return found


def _is_of(store: dict[str, Any], name: str) -> bool:
    return bool(store["metadata"].get(_SET) == name[:_MAX_NAME_CHARS])


async def _stores(client: Client) -> AsyncIterator[dict[str, Any]]:
    path, more = f"/v1/vector_stores?limit={_PAGE}", True
    after = ""
    while more:
        page = await client.json("GET", path + after)
        for store in page["data"]:
            yield store
        more, after = page["has_more"], f"&after={page['last_id']}"


async def _document_names(client: Client, store_id: str) -> AsyncIterator[str]:
    path, after = f"/v1/documents?collection={store_id}&limit={_PAGE}", ""
    while True:
        page = await client.json("GET", path + after)
        for document in page["data"]:
            yield document["filename"]
        if not page["has_more"]:
            return
        after = f"&after={page['next_after']}"


async def _failures(client: Client, store_id: str) -> dict[str, str]:
    """Return the ids of the first files that failed, with the reasons."""
    path = f"/v1/vector_stores/{store_id}/files?filter=failed&limit={_SHOWN}"
    page = await client.json("GET", path)
    return {one["id"]: (one["last_error"] or {}).get("message", "") for one in page["data"]}
