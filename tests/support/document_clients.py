"""What clients of the kill test do with documents: versions, file batches, filters, deletions.

Each client has a document of its own and a vector store of its own, so that it knows how both must
stand once its last request is answered.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import httpx

_FILES = 3  # of a batch
_LINES = (4, 24)
_DELETED_SHARE = 0.2
_PAUSE_S = 0.5
_RECONCILED_S = 130.0  # attributes that were not written because something was killed
_MARKED = "marked"


class Ask(Protocol):
    """Asks until somebody answers; None if nobody does."""

    def __call__(self, method: str, path: str, **content: Any) -> httpx.Response | None:
        """Send a request."""
        ...


@dataclass
class Shelf:
    """How the document and the vector store of one client must stand.

    `version` is the newest one whose job succeeded. `attributes` are those of the files in the
    store, by their ids.
    """

    name: str
    document_id: str = ""
    version: int = 0
    store: str = ""
    attributes: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass
class Shelves:
    """Those of all clients, and the documents that were deleted."""

    all: dict[str, Shelf] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def of(self, name: str) -> Shelf:
        """Return the shelf of a client."""
        with self._lock:
            return self.all.setdefault(name, Shelf(name))

    def documents(self) -> dict[str, int]:
        """Return the version of each document that must be there."""
        kept = {one.document_id: one.version for one in self.all.values() if one.version}
        files = (file for one in self.all.values() for file in one.attributes)
        return kept | {f"doc_{file.removeprefix('file-')}": 1 for file in files}


class DocumentClient:
    """Changes one shelf; `lie` notes an answer that cannot be right."""

    def __init__(self, shelves: Shelves, name: str, ask: Ask, lie: Callable[[str], None]) -> None:
        self._shelves = shelves
        self._shelf = shelves.of(name)
        self._ask = ask
        self._lie = lie

    def new_version(self, draw: random.Random) -> Iterator[tuple[str, str]]:
        """Upload other content under the name of the document; yield its job and the document."""
        lines = [f"line {draw.getrandbits(40):x} of a report" for _ in range(draw.randint(*_LINES))]
        content = "\n\n".join(lines).encode()
        file = {"file": (f"report-{self._shelf.name}.txt", content)}
        answer = self._done("POST", "/upload", files=file)
        if answer is not None:
            told = answer.json()
            self._shelf.document_id = told["document_id"]
            yield told["job_id"], told["document_id"]

    def version_ended(self, status: str) -> None:
        """Note that the job of the newest version has ended."""
        if status == "succeeded":
            answer = self._done("GET", f"/v1/documents/{self._shelf.document_id}")
            if answer is not None:
                version = answer.json()["version"]
                if version <= self._shelf.version:
                    self._lie(f"{self._shelf.document_id} has version {version} again")
                self._shelf.version = version

    def delete(self) -> None:
        """Delete the document; after a lost answer it is not found any more."""
        if not self._shelf.version:
            return
        path = f"/v1/documents/{self._shelf.document_id}"
        if (answer := self._ask("DELETE", path)) is None:
            return
        if answer.status_code not in {httpx.codes.NO_CONTENT, httpx.codes.NOT_FOUND}:
            self._lie(f"a deletion was answered {answer.status_code}: {answer.text}")
        self._shelves.deleted.add(self._shelf.document_id)
        self._shelf.document_id, self._shelf.version = "", 0

    def batch(self, draw: random.Random, ends: Callable[[], bool]) -> None:
        """Put files into the store as one batch, and mark the first one afterwards."""
        shelf, number = self._shelf, draw.getrandbits(30)
        if not shelf.store:
            made = self._done("POST", "/v1/vector_stores", json={"name": shelf.name})
            if made is None:
                return
            shelf.store = made.json()["id"]
        ids = list(self._kept(number))
        attributes = {"batch": number}
        url = f"/v1/vector_stores/{shelf.store}/file_batches"
        body = {"file_ids": ids, "attributes": attributes}
        if len(ids) < _FILES or (begun := self._done("POST", url, json=body)) is None:
            return
        counts = self._ended(f"{url}/{begun.json()['id']}", ends)
        if counts is None:
            return
        if counts["completed"] != _FILES:
            self._lie(f"a batch ended with {counts}")
            return
        shelf.attributes |= dict.fromkeys(ids, attributes)
        marked = attributes | {_MARKED: True}
        path = f"/v1/vector_stores/{shelf.store}/files/{ids[0]}"
        if self._done("POST", path, json={"attributes": marked}) is not None:
            shelf.attributes[ids[0]] = marked

    def _kept(self, number: int) -> Iterator[str]:
        """Keep the files of a batch and yield their ids."""
        for position in range(_FILES):
            file = (f"{number}-{position}.txt", f"note {number:x} {position}".encode())
            form = {"files": {"file": file}, "data": {"purpose": "assistants"}}
            if (kept := self._done("POST", "/v1/files", **form)) is not None:
                yield kept.json()["id"]

    def _ended(self, url: str, ends: Callable[[], bool]) -> dict[str, int] | None:
        """Wait for a batch and return its counts; None if the service does not answer."""
        while (batch := self._done("GET", url)) is not None and not ends():
            if batch.json()["status"] != "in_progress":
                counts: dict[str, int] = batch.json()["file_counts"]
                return counts
            time.sleep(_PAUSE_S)
        return None

    def act(self, draw: random.Random, ends: Callable[[], bool]) -> Iterator[tuple[str, str]]:
        """Do one of these; yield the job of a new version and its document."""
        if draw.random() < _DELETED_SHARE:
            self.delete()
        elif draw.random() < 0.5:
            self.batch(draw, ends)
        else:
            yield from self.new_version(draw)

    def _done(self, method: str, path: str, **content: Any) -> httpx.Response | None:
        """Ask; note an answer that is not a success."""
        answer = self._ask(method, path, **content)
        if answer is not None and not answer.is_success:
            self._lie(f"{method} {path} was answered {answer.status_code}: {answer.text}")
            return None
        return answer


def audit_shelves(shelves: Shelves, get: Callable[..., httpx.Response]) -> Iterator[str]:
    """Yield what is not as it must be, over HTTP."""
    for document_id in sorted(shelves.deleted - set(shelves.documents())):
        if (
            code := get("GET", f"/v1/documents/{document_id}").status_code
        ) != httpx.codes.NOT_FOUND:
            yield f"{document_id} was deleted, and answers {code}"
    for shelf in shelves.all.values():
        if shelf.version:
            told = get("GET", f"/v1/documents/{shelf.document_id}").json()
            if told.get("version") != shelf.version:
                yield f"{shelf.document_id} is {told}, and not version {shelf.version}"
        for filters, expected in _searches(shelf):
            body = {"query": "note", "max_num_results": 50, "filters": filters}
            end = time.monotonic() + _RECONCILED_S
            while True:
                answer = get("POST", f"/v1/vector_stores/{shelf.store}/search", json=body)
                found = {one["file_id"] for one in answer.json().get("data", ())}
                if found == expected:
                    break
                if time.monotonic() > end:
                    yield f"{shelf.store}: {filters} finds {found} and not {expected}"
                    break
                time.sleep(_PAUSE_S)


def _searches(shelf: Shelf) -> Iterator[tuple[dict[str, Any], set[str]]]:
    """Yield filters, and the files that they must find."""
    for number in sorted({each["batch"] for each in shelf.attributes.values()}):
        of_batch = {file for file, each in shelf.attributes.items() if each["batch"] == number}
        is_of_batch = {"type": "eq", "key": "batch", "value": number}
        yield is_of_batch, of_batch
        is_marked = {"type": "eq", "key": _MARKED, "value": True}
        marked = {file for file in of_batch if _MARKED in shelf.attributes[file]}
        yield {"type": "and", "filters": [is_of_batch, is_marked]}, marked
