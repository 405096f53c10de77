"""The `export` command: stream a collection into a file, and go on where it was interrupted."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from deployments.archives.scanner import Scanner
from deployments.errors import ServiceError
from serve_app.http.bounds import size_in_words
from serve_app.launch.progress import say
from serve_app.service_client import (
    CommandError,
    Interruption,
    Refusal,
    Service,
    add_address,
    interruptions,
    retried,
)

if TYPE_CHECKING:
    from typing import BinaryIO

_BLOCK_BYTES = 256 * 1024
_PART_SUFFIX = ".part"


def main(arguments: list[str]) -> int:
    """Export and report how much; return the exit status."""
    asked = _parser().parse_args(arguments)
    target = Path(asked.output)
    try:
        scanner = _export(Service(asked.url), asked.store, target, vectors=asked.vectors)
    except (CommandError, ServiceError, OSError) as error:
        say(f"error: {error}")
        return 1
    size = size_in_words(target.stat().st_size)
    say(f"exported {scanner.layout.documents:,} documents to {target}, {size}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="genserve export",
        description="Export a collection of a running service as one archive: documents in their "
        "current versions, with attributes, passages and originals. After an interruption the same "
        "command goes on with what is in FILE.part.",
        allow_abbrev=False,
    )
    parser.add_argument("--output", metavar="FILE", required=True, help="the archive to write")
    parser.add_argument(
        "--store",
        "--collection",
        metavar="NAME",
        default="default",
        help="the id of a vector store, or the name of another collection (default: %(default)s)",
    )
    parser.add_argument(
        "--vectors",
        action="store_true",
        help="with vectors: an installation with the same embedding model embeds nothing again",
    )
    add_address(parser)
    return parser


def _export(service: Service, store: str, target: Path, *, vectors: bool) -> Scanner:
    if target.exists():
        msg = f"{target} exists already"
        raise CommandError(msg)
    part = target.with_name(target.name + _PART_SUFFIX)
    with part.open("ab+") as file:
        scanner = _known(file)
        if scanner.whole_documents:
            say(f"going on after {scanner.whole_documents:,} documents in {part}")

        def go_on() -> None:
            nonlocal scanner
            # A manifest alone is received again.
            scanner = scanner.go_on() if scanner.whole_documents else Scanner()
            file.truncate(scanner.whole_bytes)
            _receive(service, store, scanner, file, vectors=vectors)

        try:
            retried(go_on, lambda: scanner.whole_bytes)
        except Refusal as refusal:
            if refusal.code != "embedding_model_changed":
                raise
            msg = f"{refusal} (remove {part} first)"
            raise CommandError(msg) from refusal
        file.flush()
        os.fsync(file.fileno())
    part.replace(target)
    return scanner


def _known(file: BinaryIO) -> Scanner:
    """Read what an interrupted export has left."""
    scanner = Scanner()
    file.seek(0)
    try:
        while block := file.read(_BLOCK_BYTES):
            scanner.feed(block)
    except ServiceError as error:
        msg = f"what an interrupted export has left cannot be read: {error}"
        raise CommandError(msg) from error
    return scanner


def _receive(
    service: Service, store: str, scanner: Scanner, file: BinaryIO, *, vectors: bool
) -> None:
    manifest = scanner.layout.manifest
    query: dict[str, object] = {"vectors": str(vectors).lower()}
    if manifest is not None:
        query["vectors"] = str(manifest.vectors).lower()
        query |= {"after": scanner.whole_id, "exported": scanner.whole_documents}
        if manifest.vectors and manifest.embedding is not None:
            query["fingerprint"] = manifest.embedding.fingerprint
    path = f"/v1/vector_stores/{quote(store, safe='')}/export"
    with service.open(path, query) as response:
        while True:
            with interruptions():
                block = response.read(_BLOCK_BYTES)
            if not block:
                break
            file.write(block)
            scanner.feed(block)
    if not scanner.ended:
        msg = "the connection broke off: the service has not sent everything"
        raise Interruption(msg)
    scanner.finish()
