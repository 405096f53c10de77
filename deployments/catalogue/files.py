"""The files that are kept, by owner; their contents lie in the file store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from deployments.catalogue.entries import EntryPage, FileEntry
from deployments.catalogue.removals import Removal, add_removal
from deployments.catalogue.statements import insert_missing, page_of
from deployments.catalogue.tables import FILES
from deployments.catalogue.usage import add_usage, change_usage, check_usage
from deployments.errors import NotFound
from deployments.kept_files import kept_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deployments.catalogue.database import Database
    from deployments.catalogue.entries import PageQuery, Quotas


class Files:
    """Entries of kept files. Ids begin with the time, so their order is that of uploading."""

    def __init__(self, database: Database, quotas: Quotas) -> None:
        self._database = database
        self._quotas = quotas

    async def add(self, owner: str, file: FileEntry) -> None:
        """Add a file whose content is stored; raise InvalidRequest if it is over a quota."""

        def add(connection: sa.Connection) -> None:
            if insert_missing(
                connection,
                FILES,
                id=file.id,
                owner=owner,
                filename=file.filename,
                purpose=file.purpose,
                size_bytes=file.size_bytes,
                created_ms=file.created_at * 1000,
                digest=file.digest,
            ):
                add_usage(connection, owner, self._quotas, files=1, size_bytes=file.size_bytes)

        await self._database.write(add)

    async def check_quota(self, owner: str, size_bytes: int) -> None:
        """Raise InvalidRequest if a file of this size would be over a quota."""
        await self._database.read(
            lambda connection: check_usage(
                connection, owner, self._quotas, files=1, size_bytes=size_bytes
            )
        )

    async def get(self, owner: str, file_id: str) -> FileEntry:
        """Find a file; raise NotFound."""
        select = FILES.select().where(FILES.c.id == file_id, FILES.c.owner == owner)
        row = await self._database.read(lambda connection: connection.execute(select).first())
        if row is None:
            msg = "there is no such file"
            raise NotFound(msg, param="file_id")
        return _entry(row)

    async def page(
        self, owner: str, query: PageQuery, purpose: str | None = None
    ) -> EntryPage[FileEntry]:
        """List files."""
        select = FILES.select().where(FILES.c.owner == owner)
        if purpose is not None:
            select = select.where(FILES.c.purpose == purpose)
        after = None if query.after is None else (query.after,)
        rows, more = await self._database.read(
            lambda connection: page_of(connection, select, (FILES.c.id,), after, query)
        )
        return EntryPage(tuple(map(_entry, rows)), more)

    async def missing(self, file_ids: Sequence[str]) -> set[str]:
        """Return those of the ids that are not in the catalogue."""
        select = sa.select(FILES.c.id).where(FILES.c.id.in_(file_ids))
        found = await self._database.read(lambda connection: connection.scalars(select).all())
        return set(file_ids) - set(found)

    async def remove(self, owner: str, file_id: str) -> bool:
        """Remove a file and return whether it existed.

        `Catalogue.removals` has its content until that is deleted.
        """

        def remove(connection: sa.Connection) -> bool:
            size_bytes = connection.scalar(
                FILES.delete()
                .where(FILES.c.id == file_id, FILES.c.owner == owner)
                .returning(FILES.c.size_bytes)
            )
            if size_bytes is None:
                return False
            change_usage(connection, owner, files=-1, size_bytes=-size_bytes)
            add_removal(connection, Removal.of_path(kept_path(owner, file_id)))
            return True

        return await self._database.write(remove)


def _entry(row: Any) -> FileEntry:  # noqa: ANN401 - a row of the table
    created_at = row.created_ms // 1000
    return FileEntry(row.id, row.filename, row.purpose, row.size_bytes, created_at, row.digest)
