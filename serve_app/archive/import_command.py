"""The `import` command: send an archive in parts, and wait until it is imported."""

from __future__ import annotations

import argparse
import hashlib
import time
from itertools import count
from pathlib import Path
from typing import Any

from deployments.archives.tape import PART_BYTES
from deployments.errors import PARTS_MISSING
from serve_app.http.bounds import size_in_words
from serve_app.launch.progress import say
from serve_app.service_client import CommandError, Refusal, Service, add_address

_POLL_S = 1.0
_NOT_FOUND = 404
_ENDED = {"succeeded", "failed", "cancelled"}


def main(arguments: list[str]) -> int:
    """Import and report how it ended; return the exit status."""
    asked = _parser().parse_args(arguments)
    try:
        return _import(Service(asked.url), Path(asked.file), asked.name)
    except (CommandError, OSError) as error:
        say(f"error: {error}")
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="genserve import",
        description="Import an archive into a running service, as a new vector store. After an "
        "interruption the same command goes on; the service imports what it has received whole, "
        "whether or not this command waits.",
        allow_abbrev=False,
    )
    parser.add_argument("file", metavar="FILE", help="the archive that `genserve export` wrote")
    parser.add_argument(
        "--name", metavar="NAME", help="of the vector store (default: as in the archive)"
    )
    add_address(parser)
    return parser


def _import(service: Service, path: Path, name: str | None) -> int:
    state = path.stat()
    for attempt in count():
        what = f"{path.resolve()}\n{state.st_size}\n{state.st_mtime_ns}\n{name}\n{attempt}"
        import_id = "imp_" + hashlib.sha256(what.encode()).hexdigest()[:32]
        begun = _begun(service, import_id, state.st_size, name)
        if begun is None:
            _send(service, import_id, path)
            begun = _begun(service, import_id, state.st_size, name)
            if begun is None:
                msg = "the service no longer has the uploaded parts: run the command again"
                raise CommandError(msg)
        elif _is_over(service, begun):
            continue  # an earlier run of this command, of which nothing is left
        return _follow(service, begun["job_id"])
    raise AssertionError  # pragma: no cover - the loop has no end


def _begun(service: Service, import_id: str, size: int, name: str | None) -> Any:  # noqa: ANN401
    """Begin the import, or find it; None if parts are missing."""
    try:
        return service.json(
            "/v1/imports", method="POST", import_id=import_id, size_bytes=size, name=name
        )
    except Refusal as refusal:
        if refusal.status == _NOT_FOUND or refusal.code == PARTS_MISSING:
            return None
        raise


def _is_over(service: Service, begun: Any) -> bool:  # noqa: ANN401 - JSON
    """Return whether an import has failed, or its vector store has been deleted since."""
    if begun["status"] in {"failed", "cancelled"}:
        return True
    if begun["status"] != "succeeded":
        return False
    try:
        service.json(f"/v1/vector_stores/{begun['vector_store_id']}")
    except Refusal as refusal:
        if refusal.status != _NOT_FOUND:
            raise
        return True
    return False


def _send(service: Service, import_id: str, path: Path) -> None:
    """Send the parts that the service does not have."""
    try:
        known = service.json(f"/v1/imports/{import_id}")
    except Refusal as refusal:
        if refusal.status != _NOT_FOUND:
            raise
        known = {"parts": []}
    part_bytes = int(known.get("part_bytes", PART_BYTES))
    total = -(-path.stat().st_size // part_bytes)
    with path.open("rb") as file:
        for number in range(total):
            if number in known["parts"] and number < total - 1:
                continue
            file.seek(number * part_bytes)
            service.json(
                f"/v1/imports/{import_id}/parts/{number}",
                method="PUT",
                body=file.read(part_bytes),
            )
            say(f"sent {size_in_words(file.tell())} of {size_in_words(path.stat().st_size)}")


def _follow(service: Service, job_id: str) -> int:
    shown = ""
    while True:
        job = service.json(f"/v1/jobs/{job_id}")
        progress, status = job["progress"], job["status"]
        if progress["total"] is not None and status not in _ENDED:
            words = f"imported {progress['done']:,} of {progress['total']:,} documents"
            if words != shown:
                say(words)
                shown = words
        if status == "succeeded":
            say(f"imported {progress['done']:,} documents as {job['result']['vector_store_id']}")
            return 0
        if status in _ENDED:
            reason = (job["error"] or {}).get("message", "the import was cancelled")
            raise CommandError(reason)
        time.sleep(_POLL_S)
