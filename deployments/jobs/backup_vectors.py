"""Copies of the embedded vectors, for the backups that a command takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from loguru import logger

from deployments.errors import ServiceError

if TYPE_CHECKING:
    from deployments.catalogue.backups import Backups


class _Vectors(Protocol):
    async def backup(self, name: str) -> bool: ...


class BackupVectors:
    """Has the retriever copy its vectors when a backup asks for it through the database.

    Several replicas may: the copy of a request is made once.
    """

    def __init__(self, backups: Backups, vectors: _Vectors) -> None:
        self._backups = backups
        self._vectors = vectors

    async def run_pending(self) -> None:
        """Make the copy that was requested, if any."""
        number = await self._backups.wanted()
        if number is None:
            return
        try:
            made = await self._vectors.backup(str(number))
        except ServiceError as error:
            logger.warning("the vectors could not be copied for a backup: {}", error)
            made = False
        await self._backups.set_made(number, made=made)
