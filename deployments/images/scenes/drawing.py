"""Draw scenes: one flat shape on a flat background."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from numpy.typing import NDArray

Outline = tuple[tuple[float, float], ...]

PICTURE_PX = 128
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (220, 40, 40),
    "orange": (245, 140, 30),
    "yellow": (245, 222, 50),
    "green": (40, 160, 70),
    "blue": (40, 85, 215),
    "purple": (140, 55, 180),
    "black": (22, 22, 22),
    "white": (244, 244, 244),
}
# From the centre of a shape to the edge of its bounding box.
SIZES_PX: dict[str, tuple[float, float]] = {
    "small": (16.0, 18.0),
    "medium": (24.0, 28.0),
    "large": (34.0, 41.0),
}
# To the right and down, in steps from the middle of the picture.
PLACES: dict[str, tuple[int, int]] = {
    "center": (0, 0),
    "left": (-1, 0),
    "right": (1, 0),
    "top": (0, -1),
    "bottom": (0, 1),
    "top left": (-1, -1),
    "top right": (1, -1),
    "bottom left": (-1, 1),
    "bottom right": (1, 1),
}
DEFAULT_SIZE, DEFAULT_PLACE = "medium", "center"
_STEP_PX = 34.0
_SHAKE_PX = 3.0
_MARGIN_PX = 6.0
# Size and step of the plain form of a scene: it stands on whole latents, which are 8 pixels wide.
_PLAIN_PX: dict[str, tuple[float, float]] = {
    "small": (16.0, 32.0),
    "medium": (26.0, 32.0),
    "large": (40.0, 16.0),
}
_OVERSAMPLING = 4


def _fitted(points: list[tuple[float, float]]) -> Outline:
    """Centre a closed line and scale it until its longer side spans -1..1."""
    xs, ys = zip(*points, strict=True)
    middle_x, middle_y = (min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2
    half = max(max(xs) - min(xs), max(ys) - min(ys)) / 2
    return tuple(((x - middle_x) / half, (y - middle_y) / half) for x, y in points)


def _around(count: int, point: Callable[[int, float], tuple[float, float]]) -> Outline:
    """Close a line of `count` points, each from its number and angle, clockwise from the top."""
    return _fitted([point(i, 2 * math.pi * i / count) for i in range(count)])


def _spike(number: int, angle: float) -> tuple[float, float]:
    reach = 0.5 if number % 2 else 1.0
    return reach * math.sin(angle), -reach * math.cos(angle)


def _lobe(_number: int, angle: float) -> tuple[float, float]:
    # The well-known heart curve, y pointing down.
    across = 16 * math.sin(angle) ** 3
    up = 13 * math.cos(angle) - 5 * math.cos(2 * angle)
    up -= 2 * math.cos(3 * angle) + math.cos(4 * angle)
    return across, -up


OUTLINES: dict[str, Outline] = {
    "circle": _around(72, lambda _, angle: (math.sin(angle), -math.cos(angle))),
    "square": _fitted([(-1, -1), (1, -1), (1, 1), (-1, 1)]),
    "triangle": _around(3, lambda _, angle: (math.sin(angle), -math.cos(angle))),
    "star": _around(10, _spike),
    "heart": _around(72, _lobe),
}


@dataclass(frozen=True, slots=True)
class Scene:
    """A scene to draw; every field is a key of the tables above."""

    shape: str
    colour: str
    background: str
    size: str = DEFAULT_SIZE
    place: str = DEFAULT_PLACE


def random_scene(rng: random.Random) -> Scene:
    """Draw every field evenly, shape and background of different colours."""
    colour, background = rng.sample(tuple(COLOURS), 2)
    return Scene(
        shape=rng.choice(tuple(OUTLINES)),
        colour=colour,
        background=background,
        size=rng.choice(tuple(SIZES_PX)),
        place=rng.choice(tuple(PLACES)),
    )


def draw(scene: Scene, rng: random.Random | None = None) -> NDArray[np.uint8]:
    """Draw a scene, exact place and size by `rng` or the same every time: (128, 128, 3), RGB."""
    half, step_px = _PLAIN_PX[scene.size]
    shakes = [0.0, 0.0]
    if rng:
        half, step_px = rng.uniform(*SIZES_PX[scene.size]), _STEP_PX
        shakes = [rng.uniform(-_SHAKE_PX, _SHAKE_PX) for _ in shakes]
    reach = PICTURE_PX / 2 - half - (_MARGIN_PX if rng else 0)
    centre = [
        PICTURE_PX / 2 + max(-reach, min(reach, step * step_px + shake))
        for step, shake in zip(PLACES[scene.place], shakes, strict=True)
    ]
    points = [(centre[0] + half * x, centre[1] + half * y) for x, y in OUTLINES[scene.shape]]
    cover = filled(points, PICTURE_PX)[..., None]
    background, colour = (
        np.array(COLOURS[name], dtype=np.float32) for name in (scene.background, scene.colour)
    )
    return np.rint(background + (colour - background) * cover).astype(np.uint8)


def filled(points: list[tuple[float, float]], side_px: int) -> NDArray[np.float32]:
    """Say how much of each pixel a polygon covers: (side_px, side_px), 0..1."""
    fine = Image.new("L", (side_px * _OVERSAMPLING,) * 2)
    # Pillow's coordinates are the middles of pixels.
    corners = [(x * _OVERSAMPLING - 0.5, y * _OVERSAMPLING - 0.5) for x, y in points]
    ImageDraw.Draw(fine).polygon(corners, fill=255)
    return np.asarray(fine.reduce(_OVERSAMPLING), dtype=np.float32) / np.float32(255)
