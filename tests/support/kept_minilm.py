"""MiniLM in this process, whose vectors are kept in a file from one run to the next."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deployments.types import TextKind
from tests.support.minilm import MiniLM

_NAME = "all-minilm-l6-v2"
_BATCH = 512


class KeptMiniLM(MiniLM):
    """Keeps vectors in a SQLite file, or without one in memory."""

    def __init__(self, kept: Path | None = None) -> None:
        super().__init__()
        self._kept = sqlite3.connect(kept or ":memory:")
        self._kept.execute("create table if not exists v (key blob primary key, vec blob)")

    def vectors(self, texts: Sequence[str], kind: TextKind) -> NDArray[np.float32]:
        """Return the vectors of texts; long ones are truncated."""
        keys = [sha256(f"{_NAME}\n{kind}\n{text}".encode()).digest() for text in texts]
        missing = {
            key: text for key, text in zip(keys, texts, strict=True) if self._read(key) is None
        }
        for begin in range(0, len(missing), _BATCH):
            some = list(missing.items())[begin : begin + _BATCH]
            made = super().vectors([text for _, text in some], kind)
            rows = [(key, row.tobytes()) for (key, _), row in zip(some, made, strict=True)]
            self._kept.executemany("insert or replace into v values (?, ?)", rows)
            self._kept.commit()
        return np.stack([np.frombuffer(self._read(key) or b"", np.float32) for key in keys])

    def _read(self, key: bytes) -> bytes | None:
        found = self._kept.execute("select vec from v where key = ?", (key,)).fetchone()
        return found[0] if found else None
