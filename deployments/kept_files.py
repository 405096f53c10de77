"""Where kept files lie in the file store, and where their content begins."""

from __future__ import annotations

from deployments.file_store import KEPT, folder_of

CARD_BYTES = 4096
"""A kept file has its card, padded to this length, before its content, as version 0.1 reads it."""


def kept_path(owner: str, file_id: str) -> str:
    """Return the path of a kept file."""
    return f"{folder_of(KEPT, owner)}/{file_id}"


def document_id_of(file_id: str) -> str:
    """Return the id of the document that a file becomes in a vector store."""
    return f"doc_{file_id.removeprefix('file-')}"


def file_id_of(document_id: str) -> str:
    """Return the id of a document as a file, as OpenAI's clients see it."""
    return f"file-{document_id.removeprefix('doc_')}"
