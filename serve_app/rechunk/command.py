"""The `rechunk` command: show and control a change of the chunker, through the database."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from deployments.catalogue.opening import open_catalogue
from serve_app.launch.actions import parser_of, run_action
from serve_app.launch.database import existing_database

if TYPE_CHECKING:
    from deployments.catalogue.chunker_changes import ChunkerChanges
    from serve_app.settings import AppSettings

_DESCRIPTION = (
    "Show or control a change of the chunker, through the database; the Jobs deployment carries it "
    "out. A change begins by itself when documents were chunked by another chunker: after an "
    "update of GenServe, or after a change of `parser.chunk_tokens`."
)
_ACTIONS = {
    "status": "show the change and its progress",
    "pause": "rechunk no further documents",
    "resume": "continue after `pause`",
    "cancel": "leave the remaining documents as they are",
    "start": "start a cancelled or finished change again",
}


def main(arguments: list[str]) -> int:
    """Do what is asked and show the change; return the exit status."""
    asked = parser_of("rechunk", _DESCRIPTION, _ACTIONS).parse_args(arguments)
    return run_action(asked.file, lambda found: _run(found, asked.action))


async def _run(found: AppSettings, action: str) -> list[str]:
    catalogue = await asyncio.to_thread(open_catalogue, existing_database(found))
    changes = catalogue.chunker_changes
    try:
        if action != "status":
            await getattr(changes, action)()
        return await _status(changes)
    finally:
        catalogue.close()


async def _status(changes: ChunkerChanges) -> list[str]:
    change = await changes.latest()
    if change is None:
        return ["no change of the chunker"]
    progress = await changes.progress(change.chunker)
    lines = [
        f"change to chunker {change.chunker}: {change.state.value}",
        f"documents  {progress.done_documents:,} of {progress.documents:,}",
        f"chunks     {progress.done_chunks:,} of {progress.chunks:,}",
    ]
    left = progress.chunks - progress.done_chunks
    if left and change.chunks_per_s and not change.ended:
        minutes = left / change.chunks_per_s / 60
        lines.append(f"rate       {change.chunks_per_s:.0f} chunks/s, about {minutes:.0f} min left")
    if change.failed:
        lines.append(f"failed     {change.failed:,} documents keep their chunks: see the log")
    return lines
