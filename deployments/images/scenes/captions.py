"""Captions of scenes in many wordings, some held out from training for tests.

A caption without size or place means medium size or the centre: if a caption means one picture,
training takes a fraction of the time.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deployments.images.scenes.drawing import (
    COLOURS,
    DEFAULT_PLACE,
    DEFAULT_SIZE,
    OUTLINES,
    Scene,
    random_scene,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

_FULL = (
    "{a_thing} on {a_ground}",
    "{a_thing} on {a_ground}",
    "{thing} on {background}",
    "{thing}, {background} background",
    "{thing} on {a_ground}",
    "a picture of {a_thing} on {a_ground}",
    "an image of {a_thing} on {a_ground}",
    "a drawing of {a_thing} in front of {a_ground}",
    "{a_thing} in front of {a_ground}",
    "draw {a_thing} on {a_ground}",
    "{a_ground} with {a_thing}",
    "{background} background with {a_thing}",
    "a picture of {a_ground} and {a_thing}",
    "on {a_ground}, {a_thing}",
    "{background} background, {thing}",
    "{a_thing} and {a_ground}",
    "{a_thing}. the background is {background}.",
    "the {shape} is {colour}, the background is {background}",
    "the {shape} is {colour} and the background is {background}",
    "the background is {background} with {a_thing} on it",
    "{background} is the background and {colour} is the {shape}",
    "a picture with a background that is {background} and a {shape} that is {colour}",
    "draw {a_ground} with {a_thing} on it",
    "the background is {background} and there is {a_thing}",
    "on a background of {background} the {shape} is {colour}",
    "{background} behind {a_thing}",
)
# Properties that these leave out are not checked: any is correct.
_SHORT = (
    "{thing}",
    "{a_thing}",
    "{a_thing}",
    "a picture of {a_thing}",
    "draw {a_thing}",
    "{shape}",
    "{a_ground}",
    "the {shape} on {a_ground}",
    "{colour}",
)
_HELD_OUT = (
    "an image of {a_ground} with {a_thing}",
    "draw {a_thing} in front of {a_ground}",
    "a drawing of {thing}, {background} background",
    "{thing} and {a_ground}",
    "the background is {background}, the {shape} is {colour}",
    "draw {a_ground} and {a_thing}",
)
JUDGED_BY = 60
"""The seed of the prompts that the model is judged by; settings are chosen on those of others."""

_SHARE_SHORT = 0.2
_SHARE_NAMING_DEFAULT = 0.5
_SIZE_WORDS = {
    "small": ("small", "small", "little", "tiny"),
    "medium": ("medium",),
    "large": ("large", "large", "big", "huge"),
}
_PLACE_WORDS = {
    "center": ("in the center", "in the middle"),
    "left": ("on the left",),
    "right": ("on the right",),
    "top": ("at the top",),
    "bottom": ("at the bottom",),
}
_CORNER_WORDS = ("in the {}", "at the {}", "in the {} corner")


@dataclass(frozen=True, slots=True)
class Prompt:
    """A caption to draw from, and the scene it asks for."""

    text: str
    scene: Scene


def held_out(scene: Scene) -> bool:
    """Tell whether a scene's shape, colour and background never meet in training: 1 of 7."""
    shape = tuple(OUTLINES).index(scene.shape)
    colour, background = (tuple(COLOURS).index(name) for name in (scene.colour, scene.background))
    return (shape + 2 * colour + 3 * background) % 7 == 0


def training_scene(rng: random.Random) -> Scene:
    """Make a scene to train on, so none that is held out."""
    while held_out(scene := random_scene(rng)):
        pass
    return scene


def training_caption(scene: Scene, rng: random.Random) -> str:
    """Caption a scene in a wording to train on, often leaving something out."""
    return _worded(scene, _SHORT if rng.random() < _SHARE_SHORT else _FULL, rng)


def held_out_prompts(count_each: int = 20, seed: int = JUDGED_BY) -> list[Prompt]:
    """Make prompts that training never sees, always the same ones for a seed.

    They come in three kinds of `count_each`: held-out scenes in known wordings, known scenes in
    held-out wordings, and held-out scenes in held-out wordings. Each names shape and both
    colours. No two are alike.
    """
    rng = random.Random(seed)  # noqa: S311 - reproducible on purpose
    prompts: dict[str, Prompt] = {}
    kinds = ((True, _FULL), (False, _HELD_OUT), (True, _HELD_OUT))
    for number, (scene_held_out, wordings) in enumerate(kinds, start=1):
        while len(prompts) < number * count_each:
            scene = random_scene(rng)
            if held_out(scene) == scene_held_out:
                text = _worded(scene, wordings, rng)
                prompts.setdefault(text, Prompt(text, scene))
    return list(prompts.values())


def words() -> list[str]:
    """List every word that captions are made of, each once, sorted."""
    phrases = [*_FULL, *_SHORT, *_HELD_OUT, *COLOURS, *OUTLINES, "an", "top", "bottom"]
    phrases += [word for several in _SIZE_WORDS.values() for word in several]
    phrases += [word for several in _PLACE_WORDS.values() for word in several]
    phrases += [wording.format("left") for wording in _CORNER_WORDS]
    found = {word.strip(".,") for phrase in phrases for word in phrase.split()}
    return sorted(word for word in found if word.isalpha())


def _worded(scene: Scene, wordings: Sequence[str], rng: random.Random) -> str:
    size = place = ""
    if scene.size != DEFAULT_SIZE or rng.random() < _SHARE_NAMING_DEFAULT:
        size = f"{rng.choice(_SIZE_WORDS[scene.size])} "
    if scene.place != DEFAULT_PLACE or rng.random() < _SHARE_NAMING_DEFAULT:
        place = f" {_place(scene.place, rng)}"
    thing = f"{size}{scene.colour} {scene.shape}{place}"
    return rng.choice(wordings).format(
        thing=thing,
        a_thing=_with_article(thing),
        a_ground=_with_article(f"{scene.background} background"),
        shape=f"{size}{scene.shape}{place}",
        colour=scene.colour,
        background=scene.background,
    )


def _place(place: str, rng: random.Random) -> str:
    if place in _PLACE_WORDS:
        return rng.choice(_PLACE_WORDS[place])
    return rng.choice(_CORNER_WORDS).format(place)


def _with_article(phrase: str) -> str:
    return f"an {phrase}" if phrase[0] in "aeiou" else f"a {phrase}"
