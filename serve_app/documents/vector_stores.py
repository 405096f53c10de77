"""Vector stores as OpenAI has them: collections with a name, and files attached to them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from deployments.errors import Conflict, InvalidRequest, NotFound
from deployments.serving.request_context import detached
from deployments.types import (
    VECTOR_STORE_PREFIX,
    Collection,
    IngestSpec,
    JobKind,
    JobQuery,
    JobStatus,
)
from serve_app.documents.attachments import Attachments, file_id_of
from serve_app.documents.files import NO_OWNER
from serve_app.schemas.fields import DEFAULT_COLLECTION

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from deployments.file_store import FileStore
    from deployments.types import Job
    from serve_app.documents.attachments import Attachment, AttachmentStatus
    from serve_app.documents.files import KeptFiles
    from serve_app.documents.uploads import Uploads
    from serve_app.services import Services

_JOBS_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class VectorStore:
    """A collection under the name it was given; `unfinished` is what cannot be searched in it.

    A collection that came to be by an upload is called by its id.
    """

    id: str
    name: str
    created_at: int
    metadata: Mapping[str, str] = field(default_factory=dict)
    holds: Collection = field(default_factory=lambda: Collection(""))
    unfinished: Sequence[Attachment] = ()


class VectorStores:
    """The vector stores of one owner.

    What a collection has no place for (names, metadata, attachments) lies in the file store.
    Ids begin with the time, so their order is that of making.
    """

    def __init__(
        self, services: Services, kept: KeptFiles, uploads: Uploads, files: FileStore, owner: str
    ) -> None:
        """Bind the owner's capabilities, and the files that all owners share."""
        self._retriever = services.retriever
        self._jobs = services.jobs
        self._kept = kept
        self._files = files
        self._root = f"vector_stores/{owner or NO_OWNER}"
        self._attachments = Attachments(services, kept, uploads, files, self._root)

    async def create(
        self, name: str, metadata: Mapping[str, str], file_ids: Sequence[str]
    ) -> VectorStore:
        """Make a vector store, with files; raises NotFound for a file that is not there.

        If anything fails, nothing of it is left.
        """
        await asyncio.gather(*map(self._kept.file, file_ids))
        now_ms = time.time_ns() // 1_000_000
        store_id = f"{VECTOR_STORE_PREFIX}{now_ms:012x}{secrets.token_hex(6)}"
        store = VectorStore(store_id, name, now_ms // 1000, metadata)
        try:
            await self._retriever.create(store.id)
            await self._write_note(store)
            for file_id in dict.fromkeys(file_ids):
                await self._attachments.add(store.id, file_id)
            return await self.get(store.id)
        except BaseException:
            with contextlib.suppress(Exception):
                await asyncio.shield(detached(self.delete(store.id)))
            raise

    async def change(
        self, store_id: str, name: str | None, metadata: Mapping[str, str] | None
    ) -> VectorStore:
        """Give a vector store another name or other metadata; raises NotFound."""
        store = await self.get(store_id)
        changed = replace(
            store,
            name=store.name if name is None else name,
            metadata=store.metadata if metadata is None else metadata,
        )
        await self._write_note(changed)
        return changed

    async def get(self, store_id: str) -> VectorStore:
        """Find a vector store and count what is in it; raises NotFound."""
        holds = await self._held(store_id)
        noted, attachments = await asyncio.gather(
            self._noted(store_id), self._attachments.all(store_id)
        )
        return replace(
            noted,
            created_at=noted.created_at or int(holds.created_at or 0),
            holds=holds,
            unfinished=[each for each in attachments if each.status != "completed"],
        )

    async def stores(
        self, *, limit: int, after: str | None, newest_first: bool
    ) -> tuple[list[VectorStore], bool]:
        """List vector stores from behind the id `after`, and say whether there are more.

        Collections that came to be by an upload are taken for older than all others.
        """
        there = {*await self._retriever.collections(), DEFAULT_COLLECTION}
        ids = sorted(there, key=_age, reverse=newest_first)
        if after is not None:
            bound = _age(after)
            ids = [
                each for each in ids if (_age(each) < bound if newest_first else _age(each) > bound)
            ]
        found = []
        for store_id in ids[:limit]:
            with contextlib.suppress(NotFound):  # deleted just now
                found.append(await self.get(store_id))
        return found, len(ids) > limit

    async def delete(self, store_id: str) -> None:
        """Remove a vector store and all that is in it, but not the files; raises NotFound."""
        await self._held(store_id)
        for job in await self._at_work_on(store_id):
            with contextlib.suppress(Conflict, NotFound):
                await self._jobs.cancel(job.id)
        await self._retriever.drop(store_id)
        await self._files.delete(f"{self._root}/{store_id}")

    async def attach(self, store_id: str, file_id: str) -> Attachment:
        """Have a kept file made searchable in a vector store; raises NotFound for either."""
        await self._held(store_id)
        return await self._attachments.add(store_id, file_id)

    async def attachment(self, store_id: str, file_id: str) -> Attachment:
        """Say how a file stands in a vector store; raises NotFound."""
        return await self._attachments.one(store_id, file_id)

    async def attachments(
        self,
        store_id: str,
        *,
        status: AttachmentStatus | None,
        limit: int,
        after: str | None,
        newest_first: bool,
    ) -> tuple[list[Attachment], bool]:
        """List what was attached, by file id, and say whether there is more; raises NotFound."""
        await self._held(store_id)
        found = await self._attachments.all(store_id)
        if newest_first:
            found.reverse()
        if after is not None:
            found = [
                each
                for each in found
                if (each.file_id < after if newest_first else each.file_id > after)
            ]
        found = [each for each in found if status in {None, each.status}]
        return found[:limit], len(found) > limit

    async def detach(self, store_id: str, file_id: str) -> None:
        """Take a file out of a vector store; raises NotFound."""
        await self._attachments.remove(store_id, file_id)

    async def detach_everywhere(self, file_id: str) -> None:
        """Take a file out of all vector stores."""
        await self._attachments.remove_everywhere(file_id)

    async def forget(self, store_id: str, document_id: str) -> None:
        """Remove the note of a document that was deleted."""
        await self._attachments.forget(store_id, file_id_of(document_id))

    async def _held(self, store_id: str) -> Collection:
        try:
            return await self._retriever.collection(store_id)
        except (NotFound, InvalidRequest):
            msg = "there is no such vector store"
            raise NotFound(msg, param="vector_store_id") from None

    async def _at_work_on(self, store_id: str) -> list[Job]:
        found: list[Job] = []
        for status in (JobStatus.QUEUED, JobStatus.RUNNING):
            after: str | None = None
            while True:
                listed = await self._jobs.jobs(
                    JobQuery(JobKind.INGEST, status, _JOBS_AT_ONCE, after)
                )
                found += [
                    job
                    for job in listed.jobs
                    if isinstance(job.spec, IngestSpec) and job.spec.collection == store_id
                ]
                if (after := listed.next_after) is None:
                    break
        return found

    async def _write_note(self, store: VectorStore) -> None:
        """Write name and metadata; fields of the note that a newer version added are kept."""
        note = await self._read_note(store.id) | {
            "name": store.name,
            "created_at": store.created_at,
            "metadata": dict(store.metadata),
        }
        await self._files.put(self._note_path(store.id), json.dumps(note).encode())

    async def _read_note(self, store_id: str) -> dict[str, Any]:
        try:
            note: dict[str, Any] = json.loads(await self._files.get(self._note_path(store_id)))
        except NotFound:
            return {}
        return note

    def _note_path(self, store_id: str) -> str:
        return f"{self._root}/{store_id}/about"

    async def _noted(self, store_id: str) -> VectorStore:
        note = await self._read_note(store_id)
        return VectorStore(
            store_id,
            note.get("name", store_id),
            note.get("created_at", 0),
            note.get("metadata", {}),
        )


def _age(store_id: str) -> tuple[bool, str]:
    return store_id.startswith(VECTOR_STORE_PREFIX), store_id
