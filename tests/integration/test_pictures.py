"""The committed text-to-image model is what it should be on disk, and draws what it is asked."""

from __future__ import annotations

import pytest

from deployments.images.scenes.captions import held_out_prompts
from deployments.images.scenes.judging import read
from tests.support.scene_pictures import GUIDANCE, MODEL, STEPS, drawn, loaded

_MOST_BYTES = 8_000_000


def test_the_model_is_small_and_safe_to_load_and_holds_no_path() -> None:
    files = [path for path in MODEL.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= _MOST_BYTES
    assert {path.suffix for path in files} <= {".json", ".md", ".safetensors"}
    configs = [path.read_text() for path in files if path.name.endswith("config.json")]
    assert not any('"/' in config for config in configs)


@pytest.mark.parametrize("every", [3, pytest.param(1, marks=pytest.mark.long)])
def test_prompts_never_trained_on_are_drawn_as_they_say(every: int) -> None:
    prompts = held_out_prompts()[::every]
    pictures = drawn(loaded(MODEL), prompts, STEPS, GUIDANCE, seed=0)
    readings = [read(picture) for picture in pictures]
    pairs = list(zip(readings, prompts, strict=True))
    assert sum(reading.colours_right(prompt.scene) for reading, prompt in pairs) >= 0.9 * len(pairs)
    assert sum(reading.shape_right(prompt.scene) for reading, prompt in pairs) >= 0.8 * len(pairs)
