"""Unit tests run without Ray; async ones on asyncio through anyio's plugin."""

from __future__ import annotations

import hypothesis
import pytest

from serve_app.testing import Fakes

# A busy machine is no failure.
hypothesis.settings.register_profile("unit", deadline=None)
hypothesis.settings.load_profile("unit")


@pytest.fixture
def below_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Serve the fakes below a path, as Serve's `root_path` does: the tests must not notice."""
    monkeypatch.setattr(Fakes, "root_path", "/genserve")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
