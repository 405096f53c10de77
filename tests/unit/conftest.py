"""Unit tests run without Ray; async ones on asyncio through anyio's plugin."""

from __future__ import annotations

import hypothesis
import pytest

# A busy machine is no failure.
hypothesis.settings.register_profile("unit", deadline=None)
hypothesis.settings.load_profile("unit")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
