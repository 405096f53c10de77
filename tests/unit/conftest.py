"""Unit tests run without Ray; async ones on asyncio through anyio's plugin."""

from __future__ import annotations

import hypothesis
import pytest

# The whole of the unit tests is to take less than 20 s on two cores.
hypothesis.settings.register_profile("unit", max_examples=50, deadline=None)
hypothesis.settings.load_profile("unit")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
