"""The `doctor` command: have the service look, or look itself where no service runs."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import SQLAlchemyError

from deployments.errors import ServiceError
from deployments.jobs.doctor.requests import open_requests
from serve_app.doctor.stopped import examine
from serve_app.doctor.table import table
from serve_app.launch.configuration import read, settings
from serve_app.launch.database import existing_database, is_running
from serve_app.launch.process import prepare_process
from serve_app.launch.progress import StartError

if TYPE_CHECKING:
    from serve_app.settings import AppSettings

_POLL_S = 1.0
_NOTHING_FOUND, _FOUND, _COULD_NOT_LOOK = 0, 1, 2


def main(arguments: list[str]) -> int:
    """Look, and report; return 0 if nothing is left wrong, 1 if something is, else 2."""
    asked = _parser().parse_args(arguments)
    prepare_process("ERROR")
    try:
        found = settings(read(asked.file), asked.file)
        record = asyncio.run(_record(found, mend=asked.mend, thorough=not asked.sizes_only))
    except (StartError, ServiceError, SQLAlchemyError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return _COULD_NOT_LOOK
    sys.stdout.write((json.dumps(record, indent=2) if asked.json else table(record)) + "\n")
    return _FOUND if record["left"] else _NOTHING_FOUND


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="genserve doctor",
        description="Compare the catalogue, the vectors and the files of a service, and report "
        "every difference with its consequence. A service that runs does it; if none runs, this "
        "command does, on this node. Exit status: 0 if nothing is wrong, or all of it was mended; "
        "1 if something is; 2 if it could not look.",
        allow_abbrev=False,
    )
    parser.add_argument("file", metavar="FILE", help="the configuration of the service")
    parser.add_argument(
        "--mend",
        action="store_true",
        help="mend what can be mended; documents are only embedded again by a service that runs",
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument(
        "--sizes-only",
        action="store_true",
        help="compare kept files by their sizes, and do not read them",
    )
    return parser


async def _record(found: AppSettings, *, mend: bool, thorough: bool) -> dict[str, Any]:
    url = existing_database(found)
    if await is_running(url):
        record = await _by_service(url, mend=mend, thorough=thorough)
        if record is not None:
            return record
    return await examine(found, url, mend=mend, thorough=thorough)


async def _by_service(url: str, *, mend: bool, thorough: bool) -> dict[str, Any] | None:
    """Have the service look; None if it ends meanwhile."""
    async with open_requests(url) as requests:
        run_id = await requests.begin(mend=mend, thorough=thorough)
        sys.stderr.write(f"{run_id}: waiting for the service\n")
        try:
            while (record := await requests.record(run_id)) is None:
                await asyncio.sleep(_POLL_S)
                if not await is_running(url):
                    break
        except asyncio.CancelledError:
            await requests.cancel(run_id)
            raise
        if record is None:
            await requests.cancel(run_id)
        return record
