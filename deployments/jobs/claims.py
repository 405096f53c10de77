"""Claims of queued jobs: the one module that uses what DBOS keeps to itself.

DBOS polls a queue and starts its oldest workflows. Here a dispatcher chooses, so these functions do
for chosen workflows what `SystemDatabase.start_queued_workflows` and the thread of a queue do for
the oldest. They block, and are for threads other than the event loop's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from dbos._core import execute_dequeued_workflow
from dbos._dbos import _get_dbos_instance
from dbos._utils import generate_uuid
from loguru import logger

from deployments.databases import overwrite_deleted
from deployments.jobs.records import CANCEL, KINDS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dbos._sys_db import SystemDatabase

_ENQUEUED, _PENDING = "ENQUEUED", "PENDING"


@dataclass(frozen=True, slots=True)
class QueuedRow:
    """A queued workflow; `attributes` are those of its submission and later ones."""

    job_id: str
    kind: str
    owner: str
    attributes: Mapping[str, Any]


def queued_rows(version: str) -> list[QueuedRow]:
    """Read the jobs that an executor of this version may start, oldest first."""
    system = _get_dbos_instance()._sys_db  # noqa: SLF001
    table = system.tables.workflow_status
    query = (
        sa.select(
            table.c.workflow_uuid, table.c.name, table.c.authenticated_user, table.c.attributes
        )
        .where(*_startable(system, version), table.c.queue_name.in_(KINDS))
        .order_by(table.c.created_at)
    )
    with system.engine.begin() as connection:
        return [
            QueuedRow(job_id, kind, owner or "", attributes or {})
            for job_id, kind, owner, attributes in connection.execute(query)
        ]


def start_jobs(
    job_ids: Sequence[str], executor_id: str, version: str, *, cancelled: bool = False
) -> set[str]:
    """Claim queued jobs for this executor and have DBOS run them on the event loop.

    Return the ids of those that were started: the others have been claimed by another executor
    or cancelled. Jobs that somebody has asked to cancel are only claimed with `cancelled`.
    """
    dbos = _get_dbos_instance()
    system = dbos._sys_db  # noqa: SLF001
    token = generate_uuid()
    table = system.tables.workflow_status
    now_ms = system._now_ms_sql()  # noqa: SLF001
    kept = [] if cancelled else [table.c.attributes[CANCEL].as_string().is_(None)]
    with system.engine.begin() as connection:
        claimed = connection.scalars(
            sa.update(table)
            .where(*_startable(system, version), table.c.workflow_uuid.in_(job_ids), *kept)
            .values(
                status=_PENDING,
                owner_xid=token,
                application_version=version,
                executor_id=executor_id,
                application_name=system.app_name,
                started_at_epoch_ms=now_ms,
                rate_limited=False,
                recovery_attempts=table.c.recovery_attempts + 1,
                updated_at=now_ms,
            )
            .returning(table.c.workflow_uuid)
        ).all()
    started = set()
    statuses = {row["workflow_uuid"]: row for row in system.get_workflow_statuses(list(claimed))}
    for job_id in filter(statuses.get, job_ids):
        if statuses[job_id]["status"] != _PENDING:  # cancelled since
            continue
        try:
            execute_dequeued_workflow(dbos, statuses[job_id], token)
            started.add(job_id)
        except Exception as error:  # noqa: BLE001 - the others are started
            logger.opt(exception=error).error("job {} could not be started", job_id)
            return_job(job_id, executor_id, {})
    return started


def return_job(job_id: str, executor_id: str, attributes: Mapping[str, Any]) -> None:
    """Put a job that this executor has claimed back into its queue, with further attributes."""
    system = _get_dbos_instance()._sys_db  # noqa: SLF001
    if attributes:
        system.update_workflow_attributes(job_id, dict(attributes), merge=True)
    system.reenqueue_for_recovery(job_id, [executor_id], KINDS[0])


def overwrite_deleted_rows() -> None:
    """Have SQLite overwrite what DBOS deletes: inputs of jobs, such as prompts."""
    engine = _get_dbos_instance()._sys_db.engine  # noqa: SLF001
    if engine.dialect.name == "sqlite":
        overwrite_deleted(engine)
        engine.dispose()  # so that all connections are opened again


def _startable(system: SystemDatabase, version: str) -> list[sa.ColumnElement[bool]]:
    """Select queued workflows of this version; those without one are for the latest version."""
    table = system.tables.workflow_status
    own = table.c.application_version == version
    if system._is_latest_version(version):  # noqa: SLF001
        own = sa.or_(own, table.c.application_version.is_(None))
    return [
        table.c.status == _ENQUEUED,
        system._in_flight_status_prover(),  # noqa: SLF001
        own,
        system._name_filter(table.c.application_name, system.app_name),  # noqa: SLF001
    ]
