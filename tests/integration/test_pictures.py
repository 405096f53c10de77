"""The committed text-to-image model is what it should be on disk."""

from __future__ import annotations

from tests.bench.pictures import MODEL

_MOST_BYTES = 8_000_000


def test_the_model_is_small_and_safe_to_load() -> None:
    files = [path for path in MODEL.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= _MOST_BYTES
    assert {path.suffix for path in files} <= {".json", ".md", ".safetensors"}
