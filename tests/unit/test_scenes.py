"""Scenes are drawn and captioned as they say, and their pictures are read from the pixels."""

# ruff: noqa: S311 - reproducible on purpose
from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from deployments.images.scenes.captions import (
    held_out,
    held_out_prompts,
    training_caption,
    training_scene,
    words,
)
from deployments.images.scenes.drawing import (
    COLOURS,
    OUTLINES,
    PICTURE_PX,
    PLACES,
    SIZES_PX,
    Scene,
    draw,
    random_scene,
)
from deployments.images.scenes.judging import Reading, read


def scenes(count: int, seed: int = 7) -> list[Scene]:
    rng = random.Random(seed)
    return [random_scene(rng) for _ in range(count)]


def test_freshly_drawn_scenes_are_read_right() -> None:
    rng = random.Random(1)
    asked = scenes(400)
    readings = [read(draw(scene, rng)) for scene in asked]
    right = [
        reading.colours_right(scene) and reading.shape_right(scene)
        for reading, scene in zip(readings, asked, strict=True)
    ]
    assert sum(right) >= 398


@pytest.mark.parametrize("shape", OUTLINES)
@pytest.mark.parametrize("size", SIZES_PX)
def test_every_shape_of_every_size_is_told_from_the_others(shape: str, size: str) -> None:
    picture = draw(Scene(shape, "blue", "white", size), random.Random(2))
    assert read(picture) == Reading(shape, "blue", "white")


def test_pictures_of_something_else_are_not_right() -> None:
    rng = random.Random(3)
    asked = scenes(200)
    others = [*asked[1:], asked[0]]
    readings = [read(draw(scene, rng)) for scene in others]
    colours = sum(r.colours_right(s) for r, s in zip(readings, asked, strict=True))
    shapes = sum(r.shape_right(s) for r, s in zip(readings, asked, strict=True))
    # By chance 1 in 56 and 1 in 5.
    assert colours <= 12
    assert shapes <= 60


def test_each_wrong_attribute_is_noticed() -> None:
    asked = Scene("star", "red", "blue")
    swapped = replace(asked, colour="blue", background="red")
    assert not read(draw(swapped, random.Random(4))).colours_right(asked)
    assert not read(draw(replace(asked, colour="orange"), random.Random(4))).colours_right(asked)
    assert not read(draw(replace(asked, shape="heart"), random.Random(4))).shape_right(asked)


def test_an_empty_picture_has_a_background_and_nothing_else() -> None:
    picture = np.full((PICTURE_PX, PICTURE_PX, 3), COLOURS["green"], dtype=np.uint8)
    assert read(picture) == Reading(None, None, "green")


def test_noise_is_nothing() -> None:
    picture = np.random.default_rng(5).integers(0, 256, (PICTURE_PX, PICTURE_PX, 3), np.uint8)
    assert read(picture) == Reading(None, None, None)


def test_a_frame_and_a_shape_with_a_stray_have_no_name() -> None:
    whole = draw(Scene("square", "red", "white"), random.Random(6))
    holed = whole.copy()
    holed[46:82, 46:82] = whole[0, 0]
    assert read(holed).shape is None
    stray = whole.copy()
    stray[8:12, 8:12] = whole[64, 64]
    assert read(stray).shape is None


def test_a_colour_between_the_known_ones_has_no_name() -> None:
    picture = draw(Scene("circle", "red", "white"), random.Random(6))
    picture[...] = np.where(picture[..., 1:2] > 128, picture, np.uint8(128))
    assert read(picture) == Reading("circle", None, "white")


def test_place_and_size_are_where_the_scene_says() -> None:
    rng = random.Random(8)
    for place, (right, down) in PLACES.items():
        picture = draw(Scene("circle", "black", "white", "small", place), rng)
        rows, columns = np.nonzero(picture[..., 0] < 128)
        assert np.sign(np.round((columns.mean() - 63.5) / 20)) == right
        assert np.sign(np.round((rows.mean() - 63.5) / 20)) == down


def test_drawing_and_captioning_follow_their_seed() -> None:
    scene = scenes(1)[0]
    assert (draw(scene, random.Random(9)) == draw(scene, random.Random(9))).all()
    assert (draw(scene, random.Random(9)) != draw(scene, random.Random(10))).any()
    assert training_caption(scene, random.Random(9)) == training_caption(scene, random.Random(9))


def test_training_never_meets_a_held_out_prompt_or_scene() -> None:
    rng = random.Random(11)
    seen = [training_scene(rng) for _ in range(10_000)]
    captions = {training_caption(scene, rng) for scene in seen}
    prompts = held_out_prompts()
    assert len({prompt.text for prompt in prompts}) == len(prompts) == 60
    assert captions.isdisjoint(prompt.text for prompt in prompts)
    combinations = {(scene.shape, scene.colour, scene.background) for scene in seen}
    kept = [prompt.scene for prompt in prompts if held_out(prompt.scene)]
    assert len(kept) == 40
    assert combinations.isdisjoint((s.shape, s.colour, s.background) for s in kept)


def test_held_out_prompts_say_what_is_judged() -> None:
    for prompt in held_out_prompts():
        named = prompt.text.replace(",", " ").replace(".", " ").split()
        for word in (prompt.scene.shape, prompt.scene.colour, prompt.scene.background):
            assert word in named


def test_words_are_all_the_words_of_captions() -> None:
    rng = random.Random(12)
    said = {
        word.strip(".,")
        for _ in range(5000)
        for word in training_caption(training_scene(rng), rng).split()
    }
    assert said <= set(words())
