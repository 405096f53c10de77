"""Purge of a shard: rewrite its files, so that deleted points are on the disk no more.

Qdrant Edge leaves the text and the vectors of deleted points in its segments, and operations in its
write-ahead log. To rewrite 20,000 points takes 2 s in which no other thread of the process runs, so
a child process rewrites a copy, which then takes the place of the shard.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from pathlib import Path
from subprocess import DEVNULL, PIPE

from qdrant_edge import EdgeShard

from deployments.errors import Unavailable
from deployments.priority import lower_priority

DOOMED = ".dropped-"
"""Begins the name of a folder that is being deleted; no collection is called so."""

_PURGED = ".purged-"  # a rewritten shard that is about to replace the one of that name
_UNFINISHED = ".purging-"
_MARK = ".deleted"
_CONFIG = "edge_config.json"
_LOG = "wal"
_BLOCK_BYTES = 1 << 20


def mark(shard: Path) -> None:
    """Record that points are about to be deleted from a shard."""
    path = _mark_of(shard)
    if not path.exists():
        path.touch(mode=0o600)


def unmark(shard: Path) -> None:
    """Forget that points were deleted from a shard."""
    _mark_of(shard).unlink(missing_ok=True)


def marked(root: Path, age_s: float) -> list[Path]:
    """Return the shards of which points were deleted at least this long ago."""
    latest = time.time() - age_s
    marks = [path for path in root.glob(f"*{_MARK}") if path.stat().st_mtime <= latest]
    return sorted(path.with_name(path.name.removesuffix(_MARK)) for path in marks)


def recover(root: Path) -> None:
    """Finish or undo what a process that was killed has left; no shard may be open."""
    for purged in root.glob(f"{_PURGED}*"):
        shard = root / purged.name.removeprefix(_PURGED)
        if not shard.exists():
            purged.rename(shard)
    for pattern in (_PURGED, _UNFINISHED, DOOMED):
        for folder in root.glob(f"{pattern}*"):
            shutil.rmtree(folder, ignore_errors=True)


async def rewrite(shard: Path) -> None:
    """Write a purged copy beside a shard, which must not change meanwhile; raise Unavailable."""
    command = sys.executable, "-m", __spec__.name, str(shard)
    # `subprocess` rather than asyncio: see `deployments.parser.forking`.
    process = subprocess.Popen(  # noqa: ASYNC220, S603 - our own module; it is started at once
        command, stdin=DEVNULL, stdout=DEVNULL, stderr=PIPE
    )
    try:
        _, output = await asyncio.to_thread(process.communicate)
    except asyncio.CancelledError:
        process.kill()
        raise
    if process.returncode:
        lines = output.decode(errors="replace").splitlines()
        msg = f"deleted points could not be purged: {lines[-1] if lines else process.returncode}"
        raise Unavailable(msg)


def replace(shard: Path) -> None:
    """Put the purged copy in the place of a shard that is closed."""
    doomed = shard.with_name(f"{DOOMED}{uuid.uuid4().hex}")
    shard.rename(doomed)
    shard.with_name(_PURGED + shard.name).rename(shard)
    shutil.rmtree(doomed)


def _mark_of(shard: Path) -> Path:
    return shard.with_name(shard.name + _MARK)


def _rewrite(shard: Path) -> None:
    # The child of a process that was killed may still be at work, under another name.
    for folder in shard.parent.glob(f"{_UNFINISHED}*"):
        shutil.rmtree(folder, ignore_errors=True)
    unfinished = shard.with_name(f"{_UNFINISHED}{uuid.uuid4().hex}")
    purged = shard.with_name(_PURGED + shard.name)
    shutil.rmtree(purged, ignore_errors=True)
    # What the log holds is in the segments: the shard has been flushed.
    shutil.copytree(shard, unfinished, ignore=shutil.ignore_patterns(_LOG), copy_function=_copy)
    config = json.loads((unfinished / _CONFIG).read_text(encoding="utf-8"))
    config["optimizers"] |= {"deleted_threshold": 0.0, "vacuum_min_vector_number": 0}
    (unfinished / _CONFIG).write_text(json.dumps(config), encoding="utf-8")
    edge = EdgeShard.load(str(unfinished))
    edge.optimize()
    edge.flush()
    edge.close()
    unfinished.rename(purged)


def _copy(source: str, target: str) -> None:
    """Copy a file and its holes: of 32 MiB, a small collection fills a few KiB."""
    with Path(source).open("rb") as original, Path(target).open("wb") as copy:
        while block := original.read(_BLOCK_BYTES):
            if block.count(0) == len(block):
                copy.seek(len(block), os.SEEK_CUR)
            else:
                copy.write(block)
        copy.truncate(original.tell())


if __name__ == "__main__":
    os.umask(0o077)
    lower_priority()
    _rewrite(Path(sys.argv[1]))
