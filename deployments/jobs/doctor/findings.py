"""Findings: what differs, what follows for users, and what mends it."""

from __future__ import annotations

from dataclasses import dataclass

from deployments.types import DamageKind


@dataclass(frozen=True, slots=True)
class About:
    """A kind in words; `remedy` is what `--mend` does, or what a person can do."""

    what: str
    consequence: str
    remedy: str
    mendable: bool = True


_RESTORE = "copy it from `files/` of a backup to the same path of the file store"
_INGEST = (
    "it is copied again from another index that has it whole, or ingested again from its kept "
    "content; if nothing of it is left, it is marked as failed, and must be uploaded again"
)

ABOUT = {
    DamageKind.DATABASE_DAMAGED: About(
        "SQLite finds its file damaged",
        "requests that need the damaged part fail, and more may be lost",
        "stop the service, and restore the database from a backup",
        mendable=False,
    ),
    DamageKind.INDEX_UNREADABLE: About(
        "an index of the vector store cannot be opened",
        "searches of its collections fail, and nothing can be deleted",
        "restore its folder from a backup, or move it away and let the doctor mend its documents",
        mendable=False,
    ),
    DamageKind.INDEX_MISSING: About(
        "the index of a collection does not exist",
        "nothing in the collection is found",
        "mend the findings `no_vectors` of its documents",
        mendable=False,
    ),
    DamageKind.NO_VECTORS: About(
        "a completed document has no vectors", "it is listed, but never found", _INGEST
    ),
    DamageKind.CHUNKS_MISSING: About(
        "some chunks of a completed document are not searchable",
        "parts of it are never found, and its content cannot be shown whole",
        _INGEST,
    ),
    DamageKind.HIDDEN_CHUNKS: About(
        "chunks were left by a job that has ended",
        "they take up space; users see nothing of them",
        "they are deleted",
    ),
    DamageKind.OLD_VECTORS: About(
        "vectors of a version are left that is not the current one",
        "they take up space, and searches find and drop them, which takes time",
        "they are deleted",
    ),
    DamageKind.UNKNOWN_DOCUMENT: About(
        "there are vectors of a document that the catalogue does not know",
        "what may have been deleted is still on the disk; searches drop it",
        "they are deleted",
    ),
    DamageKind.UNKNOWN_COLLECTION: About(
        "there are vectors of a collection that the catalogue does not know",
        "what may have been deleted is still on the disk",
        "they are deleted",
    ),
    DamageKind.ATTRIBUTES_DIFFER: About(
        "the vectors of a document have other attributes than the catalogue",
        "searches with filters miss it",
        "the attributes are written again",
    ),
    DamageKind.VERSION_LOST: About(
        "a version is in progress, and its job has ended or does not exist",
        "it is shown as in progress for ever",
        "it is completed if it was stored whole, else it is marked as failed",
    ),
    DamageKind.CONTENT_MISSING: About(
        "the kept content of a version is missing",
        "the version cannot be restored, exported, or embedded again",
        f"{_RESTORE}, or upload the document again",
        mendable=False,
    ),
    DamageKind.CONTENT_DIFFERS: About(
        "the kept content of a version is not what was uploaded",
        "restoring it gives a damaged document",
        f"{_RESTORE}, or upload the document again",
        mendable=False,
    ),
    DamageKind.FILE_MISSING: About(
        "the content of a kept file is missing",
        "it can neither be downloaded nor attached",
        f"{_RESTORE}, or delete the file and upload it again",
        mendable=False,
    ),
    DamageKind.FILE_DIFFERS: About(
        "the content of a kept file is not what was uploaded",
        "its download is damaged",
        f"{_RESTORE}, or delete the file and upload it again",
        mendable=False,
    ),
    DamageKind.UNKNOWN_FILE: About(
        "a stored file belongs to nothing that exists",
        "it takes up space; what may have been deleted is still on the disk",
        "it is deleted",
    ),
    DamageKind.PICTURES_MISSING: About(
        "pictures of a succeeded job are missing",
        "their links answer 404",
        "generate the images again",
        mendable=False,
    ),
    DamageKind.UPLOAD_MISSING: About(
        "the upload of a job that has not ended is missing",
        "the job will fail",
        "upload the file again",
        mendable=False,
    ),
    DamageKind.COUNTS_WRONG: About(
        "the counts of a collection are wrong",
        "its lists show wrong numbers",
        "they are counted again",
    ),
    DamageKind.USAGE_WRONG: About(
        "the usage of an API key is counted wrong",
        "its quota refuses too early, or too late",
        "it is counted again",
    ),
    DamageKind.LEFT_WAITING: About(
        "a removal or a change of attributes has waited for over an hour",
        "what was deleted is still on the disk, or searches with filters miss a document",
        "it is carried out; for an erasure, see the log of Jobs",
    ),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, by what it is about; `detail` adds numbers.

    `mended` is None unless it was tried.
    """

    kind: DamageKind
    owner: str = ""
    collection: str = ""
    document_id: str = ""
    version: int = 0
    path: str = ""
    detail: str = ""
    mended: bool | None = None

    @property
    def subject(self) -> str:
        """Name what it is about."""
        document = f"{self.document_id} version {self.version}" if self.version else ""
        parts = self.collection, document or self.document_id, self.path
        return " ".join(filter(None, parts)) or self.owner or "the database"

    @property
    def same_as(self) -> tuple[str, ...]:
        """Return what two looks at the same thing have in common."""
        about = self.owner, self.collection, self.document_id, str(self.version), self.path
        return (self.kind, *about)
