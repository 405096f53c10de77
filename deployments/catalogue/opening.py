"""Opening of the catalogue at the start of a process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deployments.catalogue.catalogue import NO_QUOTAS, Catalogue
from deployments.catalogue.database import Database
from deployments.catalogue.migrate import migrate

if TYPE_CHECKING:
    from deployments.catalogue.entries import Quotas


def open_catalogue(url: str, quotas: Quotas = NO_QUOTAS) -> Catalogue:
    """Open a database and bring its schema up to date; raise Unavailable if it does not answer."""
    database = Database(url)
    migrate(database)
    return Catalogue(database, quotas)
