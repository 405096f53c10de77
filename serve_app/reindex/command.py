"""The `reindex` command: show and control a change of the embedding model, through the database."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from deployments.catalogue.opening import open_catalogue
from deployments.collection_names import check_collection_name, full_name
from serve_app.launch.actions import parser_of, run_action
from serve_app.launch.database import existing_database, is_running

if TYPE_CHECKING:
    from deployments.catalogue.catalogue import Catalogue
    from deployments.catalogue.entries import ChangeProgress, ModelChange
    from serve_app.settings import AppSettings

_DESCRIPTION = (
    "Show or control a change of the embedding model, through the database; the Jobs deployment "
    "carries it out. A change begins by itself after a change of `embedder.next` or "
    "`embedder.model`."
)
_ACTIONS = {
    "status": "show the change and its progress",
    "start": "start a cancelled or finished change again",
    "pause": "embed no further documents; uploads still go into both indexes",
    "resume": "continue after `pause`",
    "switch": "search with the new model",
    "back": "search with the earlier model again",
    "finish": "remove the vectors of the earlier model",
    "cancel": "remove the vectors of the new model",
}
_OF_COLLECTION = ("status", "switch", "back")


def main(arguments: list[str]) -> int:
    """Do what is asked and show the change; return the exit status."""
    parser = parser_of("reindex", _DESCRIPTION, _ACTIONS)
    parser.add_argument("--collection", metavar="NAME", help="status, switch, back: only this one")
    parser.add_argument("--key", metavar="NAME", help="the name of its API key, or ''")
    asked = parser.parse_args(arguments)
    if (asked.collection is None) != (asked.key is None):
        parser.error("name a --collection together with the --key that it belongs to")
    if asked.collection is not None and asked.action not in _OF_COLLECTION:
        parser.error(f"--collection: only for {', '.join(_OF_COLLECTION)}")
    collection = None if asked.collection is None else full_name(asked.key, asked.collection)
    return run_action(asked.file, lambda found: _run(found, asked.action, collection))


async def _run(found: AppSettings, action: str, collection: str | None) -> list[str]:
    if collection is not None:
        check_collection_name(collection)
    url = existing_database(found)
    catalogue = await asyncio.to_thread(open_catalogue, url)
    changes = catalogue.model_changes
    alone = not await is_running(url)
    try:
        if action in {"switch", "back"}:
            method = changes.switch if action == "switch" else changes.back
            count = await method(collection, alone=alone)
            return [f"{count} collections", *await _status(catalogue, collection)]
        if action != "status":
            await getattr(changes, action)()
        return await _status(catalogue, collection)
    finally:
        catalogue.close()


async def _status(catalogue: Catalogue, collection: str | None) -> list[str]:
    change = await catalogue.model_changes.latest()
    if change is None:
        return ["no change of the embedding model"]
    lines = [f"change to {change.model}: {_state(change)}"]
    if change.ended:
        if await catalogue.model_changes.to_empty(1):
            lines.append("the vectors of the other model are being removed")
        return lines
    return lines + _progress(change, await catalogue.model_changes.progress(collection))


def _state(change: ModelChange) -> str:
    state = change.state.value
    if change.index_name not in change.loaded:
        state += ", and the service does not have this model at present"
    elif not change.beside:
        state += "; each collection is unavailable until it is embedded again"
    elif not change.automatic and not change.ended:
        state += "; switched by command"
    return state


def _progress(change: ModelChange, progress: ChangeProgress) -> list[str]:
    lines = [
        f"documents  {progress.done_documents:,} of {progress.documents:,}",
        f"chunks     {progress.done_chunks:,} of {progress.chunks:,}",
        f"switched   {progress.switched:,} of {progress.collections:,} collections",
    ]
    left = progress.chunks - progress.done_chunks
    if left and change.chunks_per_s:
        minutes = left / change.chunks_per_s / 60
        lines.append(f"rate       {change.chunks_per_s:.0f} chunks/s, about {minutes:.0f} min left")
    if change.failed:
        lines.append(f"failed     {change.failed:,} documents, not stored whole: see the log")
    if not left and progress.switched < progress.collections:
        lines.append("ready to switch")
    return lines
