"""Names of collections: `NAME`, or `OWNER.NAME` where API keys are used."""

from __future__ import annotations

import re

from deployments.errors import InvalidRequest, NotFound
from deployments.types import VECTOR_STORE_PREFIX

DEFAULT_COLLECTION = "default"

_NAME = re.compile(r"(?:[a-z0-9][a-z0-9_-]{0,31}\.)?[a-z0-9][a-z0-9_-]{0,62}")


def check_collection_name(name: str) -> None:
    """Raise InvalidRequest unless the name is safe as part of a path or a URL."""
    if not _NAME.fullmatch(name):
        message = (
            "A collection name has 1 to 63 characters: lower-case letters, digits, "
            "'-' and '_', beginning with a letter or digit."
        )
        raise InvalidRequest(message, param="collection")


def owner_of(collection: str) -> str:
    """Return the owner of a collection; empty where there are no API keys."""
    return collection.rpartition(".")[0]


def short_name(collection: str) -> str:
    """Return the name by which the owner knows a collection."""
    return collection.rpartition(".")[2]


def full_name(owner: str, name: str) -> str:
    """Return the full name of an owner's collection."""
    return f"{owner}.{name}" if owner else name


def is_default(collection: str) -> bool:
    """Return whether a collection always exists, as each owner's `default` does."""
    return short_name(collection) == DEFAULT_COLLECTION


def is_vector_store(collection: str) -> bool:
    """Return whether a collection was created as a vector store.

    Its first document does not create it. Otherwise a deleted vector store would be recreated by
    a document that was still being ingested.
    """
    return short_name(collection).startswith(VECTOR_STORE_PREFIX)


def unknown_collection(name: str) -> NotFound:
    """Return the error for a collection that does not exist."""
    return NotFound(f"There is no collection {short_name(name)!r}.", param="collection")
