"""Writing of changed attributes to the vectors, by whoever has changed them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from loguru import logger

from deployments.errors import ServiceError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deployments.catalogue.attribute_changes import AttributeChange


class Changes(Protocol):
    """The changes that the vectors do not have yet; see `AttributeChanges`."""

    async def of_document(self, collection: str, document_id: str) -> list[AttributeChange]:
        """List the changes of a document."""
        ...

    async def done(self, changes: Sequence[AttributeChange]) -> None:
        """Forget changes."""
        ...


class Vectors(Protocol):
    """The vectors of documents; see `deployments.interfaces.Retriever`."""

    async def apply_attributes(self, collection: str, document_id: str) -> None:
        """Make a document found by its attributes as the catalogue has them."""
        ...


async def write_attributes(
    changes: Changes, vectors: Vectors, collection: str, document_id: str
) -> None:
    """Make a document found by its attributes, if they have changed.

    The catalogue has the change. If the vectors cannot be changed now, Jobs repeats it.
    """
    left = await changes.of_document(collection, document_id)
    if not left:
        return
    try:
        await vectors.apply_attributes(collection, document_id)
    except ServiceError as error:
        logger.warning("attributes of {} are not written yet: {}", document_id, error)
        return
    await changes.done(left)
