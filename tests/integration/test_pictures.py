"""The committed text-to-image model loads as any pipeline does and draws what it is asked."""

from __future__ import annotations

import pytest

from deployments.images.scenes.captions import Prompt
from deployments.images.scenes.drawing import PICTURE_PX, Scene
from deployments.images.scenes.judging import read
from tests.bench.pictures import MODEL, drawn, loaded

_MOST_BYTES = 8_000_000

pytestmark = pytest.mark.filterwarnings("ignore:::(diffusers|transformers|torch).*")


def test_the_model_is_small_and_safe_to_load() -> None:
    files = [path for path in MODEL.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= _MOST_BYTES
    assert {path.suffix for path in files} <= {".json", ".md", ".safetensors"}


def test_the_model_draws_what_it_is_asked() -> None:
    prompts = [
        Prompt("a red circle on a white background", Scene("circle", "red", "white")),
        Prompt("a large yellow square on a blue background", Scene("square", "yellow", "blue")),
    ]
    pictures = drawn(loaded(MODEL), prompts, steps=20, guidance=4.0, seed=1)
    for prompt, picture in zip(prompts, pictures, strict=True):
        assert picture.shape == (PICTURE_PX, PICTURE_PX, 3)
        reading = read(picture)
        assert reading.colours_right(prompt.scene), reading
        assert reading.shape_right(prompt.scene), reading
