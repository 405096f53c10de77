"""Run migrations on the connection that `deployments.catalogue.migrate` gives."""

from __future__ import annotations

from alembic import context

from deployments.catalogue.migrate import VERSION_TABLE
from deployments.catalogue.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    version_table=VERSION_TABLE,
)
context.run_migrations()
