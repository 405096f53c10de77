"""The order of the members of an archive, checked as they come; nothing is kept of earlier ones."""

from __future__ import annotations

import re
from collections import deque

from deployments.archives.headers import BLOCK_BYTES, Member, bad_archive
from deployments.archives.records import (
    MAX_RECORD_BYTES,
    DocumentRecord,
    End,
    Manifest,
    parse,
    parse_manifest,
)
from deployments.document_ids import DOCUMENT_ID

MANIFEST, LAST = "manifest.json", "end.json"
CHUNKS, VECTORS, CONTENT = "chunks.jsonl", "vectors.f32", "content"

_DOCUMENT = re.compile(rf"documents/({DOCUMENT_ID})/document\.json")


def member_name(document_id: str, file: str) -> str:
    """Return the name of a file of a document."""
    return f"documents/{document_id}/{file}"


class Layout:
    """Checks each member against those before it.

    Documents come in the order of their ids, so none can come twice. A reader that goes on in the
    middle starts with the manifest, the number of the documents before and the id of the last one.
    """

    def __init__(
        self, manifest: Manifest | None = None, documents: int = 0, last_id: str = ""
    ) -> None:
        self.manifest = manifest
        self.documents = documents
        self.last_id = last_id
        self.end: End | None = None
        self._expected: deque[Member] = deque()
        self._name = ""

    def check(self, member: Member | None) -> bool:
        """Return whether the content of a member is a record, to be given to `read` next.

        None is the end of the archive. Raises Unprocessable for a member that may not come now.
        """
        if self.end is not None:
            if member is not None:
                msg = f"{member.name} comes after {LAST}"
                raise bad_archive(msg)
            return False
        if member is None:
            msg = f"it ends before {LAST}: it is not whole"
            raise bad_archive(msg)
        if self._expected:
            check_part(member, self._expected.popleft())
            return False
        self._check_record(member)
        self._name = member.name
        return True

    def _check_record(self, member: Member) -> None:
        if member.size_bytes > MAX_RECORD_BYTES:
            msg = f"{member.name} has more than {MAX_RECORD_BYTES} bytes"
            raise bad_archive(msg)
        if self.manifest is None:
            if member.name != MANIFEST:
                msg = f"{MANIFEST} must come first, not {member.name}"
                raise bad_archive(msg)
            return
        if member.name == LAST:
            return
        found = _DOCUMENT.fullmatch(member.name)
        if found is None:
            msg = f"{member.name} must not come here"
            raise bad_archive(msg)
        if found[1] <= self.last_id:
            msg = f"{member.name} comes twice, or not in the order of the ids"
            raise bad_archive(msg)

    def skip_parts(self) -> int:
        """Return how many bytes the members take that must come now; the caller checks them."""
        size = sum(
            BLOCK_BYTES + member.size_bytes + member.padding_bytes for member in self._expected
        )
        self._expected.clear()
        return size

    def read(self, data: bytes) -> DocumentRecord | None:
        """Read the record of the member that was checked last; return it if it is a document."""
        if self.manifest is None:
            self.manifest = parse_manifest(data)
            return None
        if self._name == LAST:
            end = parse(End, data, LAST)
            if end.documents != self.documents:
                msg = f"it has {self.documents} documents, and {LAST} says {end.documents}"
                raise bad_archive(msg)
            self.end = end
            return None
        record = parse(DocumentRecord, data, self._name)
        if member_name(record.id, "document.json") != self._name:
            msg = f"{self._name} is of another document"
            raise bad_archive(msg)
        if (record.vectors is not None) != self.manifest.vectors:
            msg = f"{self._name} and {MANIFEST} disagree about vectors"
            raise bad_archive(msg)
        self.documents += 1
        self.last_id = record.id
        self._expected.extend(parts_of(record))
        return record


def check_part(member: Member, expected: Member) -> None:
    """Raise Unprocessable unless a member is the one that must come now."""
    if member != expected:
        msg = (
            f"{expected.name} with {expected.size_bytes} bytes must come where "
            f"{member.name} with {member.size_bytes} bytes is"
        )
        raise bad_archive(msg)


def parts_of(record: DocumentRecord) -> list[Member]:
    """Return the members that follow the record of a document."""
    parts = ((CHUNKS, record.chunks), (VECTORS, record.vectors), (CONTENT, record.content))
    return [
        Member(member_name(record.id, name), part.bytes) for name, part in parts if part is not None
    ]
