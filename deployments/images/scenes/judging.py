"""Recognize shape, colours, size and place in a picture of a scene."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageFilter

from deployments.images.scenes.drawing import COLOURS, OUTLINES, filled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deployments.images.scenes.drawing import Scene

_BORDER_PX = 4
_SEEN = 60.0  # distance in RGB from the background at which a pixel surely is something else
_SAME_COLOUR = 70.0  # distance in RGB up to which a colour still has a name
_FLAT_SHARE = 0.9  # of the border that must be background
_SMALLEST_SHARE = 0.01  # of the picture that a shape covers
_LONGEST = 1.35  # longer side by shorter side
_SPECK_PX = 5  # a window whose smaller half is overlooked
_ALIKE = 0.7  # intersection over union with a shape's outline
_SIDE_PX = 64


@dataclass(frozen=True, slots=True)
class Reading:
    """Recognized properties of a picture; None for one that has no name in `drawing`."""

    shape: str | None
    colour: str | None
    background: str | None

    def colours_right(self, scene: Scene) -> bool:
        """Tell whether shape and background both have the colours of the scene."""
        return (self.colour, self.background) == (scene.colour, scene.background)

    def shape_right(self, scene: Scene) -> bool:
        """Tell whether the shape is that of the scene."""
        return self.shape == scene.shape


def read(picture: NDArray[np.uint8]) -> Reading:
    """Read a picture of (height, width, 3), RGB: one shape that leaves the border free.

    The border gives the background; whatever is nearer in colour to the rest than to the
    background is the shape, strays but not specks included. Its outline is compared with every
    known one, stretched to the same bounding box.
    """
    pixels = picture.astype(np.float32)
    border = _border(*picture.shape[:2])
    ground = np.median(pixels[border], axis=0)
    distance = np.linalg.norm(pixels - ground, axis=-1)
    seen = distance > _SEEN
    if seen[border].mean() > 1 - _FLAT_SHARE:
        return Reading(None, None, None)
    if seen.mean() < _SMALLEST_SHARE:
        return Reading(None, None, _named(ground))
    colour = np.median(pixels[seen], axis=0)
    mask = distance > np.linalg.norm(colour - ground) / 2
    return Reading(_shape(mask), _named(np.median(pixels[mask], axis=0)), _named(ground))


def _border(height: int, width: int) -> NDArray[np.bool_]:
    border = np.ones((height, width), dtype=np.bool_)
    border[_BORDER_PX:-_BORDER_PX, _BORDER_PX:-_BORDER_PX] = False
    return border


def _named(colour: NDArray[np.float32]) -> str | None:
    distances = {
        name: float(np.linalg.norm(colour - np.array(value))) for name, value in COLOURS.items()
    }
    nearest = min(distances, key=lambda name: distances[name])
    return nearest if distances[nearest] <= _SAME_COLOUR else None


def _shape(mask: NDArray[np.bool_]) -> str | None:
    image = Image.fromarray(mask.astype(np.uint8) * 255).filter(ImageFilter.MedianFilter(_SPECK_PX))
    mask = np.asarray(image) > 127  # noqa: PLR2004 - half of white
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    part = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    if max(part.shape) > _LONGEST * min(part.shape):
        return None
    stretched = Image.fromarray(part.astype(np.uint8) * 255).resize((_SIDE_PX, _SIDE_PX))
    seen = np.asarray(stretched) > 127  # noqa: PLR2004 - half of white
    alike = {name: _overlap(seen, _template(name)) for name in OUTLINES}
    best = max(alike, key=lambda name: alike[name])
    return best if alike[best] >= _ALIKE else None


@cache
def _template(shape: str) -> NDArray[np.bool_]:
    """Fill a shape's outline, stretched until its bounding box is the whole square."""
    outline = np.array(OUTLINES[shape])
    low, high = outline.min(axis=0), outline.max(axis=0)
    points = (outline - low) / (high - low) * _SIDE_PX
    return filled([(float(x), float(y)) for x, y in points], _SIDE_PX) > 0.5  # noqa: PLR2004


def _overlap(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return float((one & other).sum() / (one | other).sum())
