"""The Embedder deployment's class, over an encoder that only says what it is."""

from __future__ import annotations

from typing import Any

import pytest

from deployments.embedder.deployment import Embedder
from deployments.errors import InvalidRequest
from deployments.settings import EmbedderSettings

pytestmark = pytest.mark.anyio


class IdleEncoder:
    dimensions = 384

    def __getattr__(self, name: str) -> Any:
        pytest.fail(f"the encoder was asked for `{name}`")


async def test_wrong_dimensions_are_refused_before_any_text_is_read() -> None:
    embedder: Any = object.__new__(Embedder.func_or_class)  # type: ignore[attr-defined]
    embedder._settings = EmbedderSettings(model="a/b")
    embedder._encoder = IdleEncoder()
    with pytest.raises(InvalidRequest, match="vectors of 384 numbers") as refused:
        await embedder.embeddings(["snow"], 256)
    assert refused.value.param == "dimensions"
