"""Recognise the text of a picture with the models in the package `rapidocr`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from deployments.parser.ocr.layout import Box, page_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Pixels = NDArray[Any]

_MODELS = {
    "Det": "PP-OCRv6_det_small.onnx",
    "Cls": "ch_ppocr_mobile_v2.0_cls_mobile.onnx",
    "Rec": "PP-OCRv6_rec_small.onnx",
}
_DETECTION_PIXELS = 1_300_000
"""Lines are found in a picture of this size, about 115 dpi of A4, and read in full size."""
_MIN_SIDE_PX = 64
_MIN_DETECTION_SIDE_PX = 480
"""Smaller pictures are enlarged, at most twice, as their letters are small."""
_MAX_ENLARGEMENT = 2.0
_MIN_SCORE = 0.5
_MAX_LINES = 1000
_MAX_ASPECT = 100  # width of a line by its height
_MIN_CHARS = 0.6  # of a line as long as it is high; two are usual, of Chinese one
_LINE_MARGIN = 0.06  # of the height: without it the first letter or the full stop may be lost
_TALL = 1.5
_SAMPLE_LINES = 4
_UPRIGHT_SCORE = 0.95
_BLANK_SPREAD = 4.0  # standard deviation of grey values, of 255


class Recognised(NamedTuple):
    """The text of a page, the mean confidence in it, and the number of lines that were found.

    The confidence, from 0 to 1, counts lines that were not read as well.
    """

    text: str
    confidence: float
    lines: int


class Engine:
    """The models, loaded once; one picture at a time."""

    def __init__(self, *, cuda: bool = False) -> None:
        """Load the models from files of the package: `rapidocr` would download missing ones."""
        import cv2
        import rapidocr

        cv2.setNumThreads(1)
        models = Path(rapidocr.__file__).with_name("models")
        parameters: dict[str, Any] = {
            f"{part}.model_path": str(models / name) for part, name in _MODELS.items()
        }
        onnx = "EngineConfig.onnxruntime"
        parameters |= {
            "Global.log_level": "critical",
            "Global.max_side_len": 100_000,
            "Det.limit_type": "max",
            "Det.limit_side_len": 100_000,
            "Det.max_candidates": _MAX_LINES,
            f"{onnx}.intra_op_num_threads": 1,
            f"{onnx}.inter_op_num_threads": 1,
            f"{onnx}.use_cuda": cuda,
        }
        self._models = rapidocr.RapidOCR(params=parameters)

    def read(self, pixels: Pixels) -> Recognised:
        """Read a picture of 8-bit blue, green and red, turned upright if it is not."""
        if pixels.std() < _BLANK_SPREAD:
            return Recognised("", 1.0, 0)
        pixels = _padded(pixels)
        boxes = self._detect(pixels)
        if not boxes:
            return Recognised("", 1.0, 0)
        pixels, boxes = self._upright(pixels, boxes)
        read = self._recognise(pixels, boxes)
        weights = [max(_size(box)) for box in boxes]
        scores = [score for _, score in read]
        confidence = sum(map(math.prod, zip(weights, scores, strict=True))) / sum(weights)
        lines = [
            Box(text, box)
            for (text, score), box in zip(read, boxes, strict=True)
            if score >= _MIN_SCORE and text.strip()
        ]
        return Recognised(page_text(lines), confidence, len(boxes))

    def _detect(self, pixels: Pixels) -> list[Pixels]:
        """Return the corners of each line, from its top left one clockwise."""
        import cv2

        height, width = pixels.shape[:2]
        enlarged = min(_MIN_DETECTION_SIDE_PX / min(height, width), _MAX_ENLARGEMENT)
        scale = min(math.sqrt(_DETECTION_PIXELS / (height * width)), max(enlarged, 1.0))
        size = (max(round(width * scale), 1), max(round(height * scale), 1))
        found: Any = self._models(
            cv2.resize(
                pixels, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
            ),
            use_det=True,
            use_cls=False,
            use_rec=False,
        )
        if found.boxes is None:
            return []
        boxes = [box / scale for box in found.boxes]
        return [_grown(box) for box in boxes if _may_be_line(box)]

    def _upright(self, pixels: Pixels, boxes: list[Pixels]) -> tuple[Pixels, list[Pixels]]:
        """Turn a picture by 90 degrees if most text is upright that way, or upside down."""
        import numpy as np

        sizes = [_size(box) for box in boxes]
        tall = sum(height for width, height in sizes if height > width * _TALL)
        wide = sum(width for width, height in sizes if width > height * _TALL)
        if tall > wide:
            boxes = [_turned(box, pixels.shape[1]) for box in boxes]
            pixels = np.ascontiguousarray(np.rot90(pixels))
        sample = sorted(boxes, key=lambda box: _size(box)[0])[-_SAMPLE_LINES:]
        score = _mean(self._recognise(pixels, sample))
        if score >= _UPRIGHT_SCORE:
            return pixels, boxes
        height, width = pixels.shape[:2]
        over = np.ascontiguousarray(pixels[::-1, ::-1])
        if (
            _mean(self._recognise(over, [_overturned(box, height, width) for box in sample]))
            > score
        ):
            return over, [_overturned(box, height, width) for box in boxes]
        return pixels, boxes

    def _recognise(self, pixels: Pixels, boxes: list[Pixels]) -> list[tuple[str, float]]:
        """Return the text of each line, and the confidence that it is all of the line."""
        import numpy as np

        crops = self._models.crop_text_regions(pixels, np.asarray(boxes))
        found: Any = self._models.recognize_txt(crops)
        return [
            (text, float(score) * _coverage(text, box))
            for text, score, box in zip(found.txts, found.scores, boxes, strict=True)
        ]


def _padded(pixels: Pixels) -> Pixels:
    """Add white at the bottom and the right of a picture that is very small."""
    import numpy as np

    height, width = pixels.shape[:2]
    missing = (max(_MIN_SIDE_PX - height, 0), max(_MIN_SIDE_PX - width, 0))
    if not any(missing):
        return pixels
    return np.pad(pixels, ((0, missing[0]), (0, missing[1]), (0, 0)), constant_values=255)


def _size(box: Pixels) -> tuple[float, float]:
    """Return the width and the height of a box, whatever its angle."""
    (left, top), right, _, bottom = box.tolist()
    return math.dist((left, top), right), math.dist((left, top), bottom)


def _coverage(text: str, box: Pixels) -> float:
    """Return which share of a line a text has, as far as its length tells.

    The models leave out letters of unknown scripts, and are confident in what remains.
    """
    shorter, longer = sorted(_size(box))
    expected = _MIN_CHARS * longer / max(shorter, 1)
    return min(len("".join(text.split())) / max(expected, 1), 1.0)


def _may_be_line(box: Pixels) -> bool:
    shorter, longer = sorted(_size(box))
    return shorter >= 1 and longer <= shorter * _MAX_ASPECT


def _grown(box: Pixels) -> Pixels:
    """Add a margin on all sides of a line, twice as much at its ends."""
    import numpy as np

    along, down = box[1] - box[0], box[3] - box[0]
    shorter = min(np.linalg.norm(along), np.linalg.norm(down)) * _LINE_MARGIN
    along *= shorter / np.linalg.norm(along)
    down *= shorter / np.linalg.norm(down)
    signs = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    along_share = 2 if _size(box)[0] >= _size(box)[1] else 1
    down_share = 3 - along_share
    grown = box + signs[:, :1] * along * along_share + signs[:, 1:] * down * down_share
    return np.asarray(grown, dtype="float32")


def _turned(box: Pixels, width: int) -> Pixels:
    """Return a box in the picture turned by 90 degrees to the left."""
    import numpy as np

    corners = np.stack([box[:, 1], width - 1 - box[:, 0]], axis=1)
    return np.roll(corners, -1, axis=0).astype("float32")


def _overturned(box: Pixels, height: int, width: int) -> Pixels:
    """Return a box in the picture turned upside down."""
    import numpy as np

    corners = np.stack([width - 1 - box[:, 0], height - 1 - box[:, 1]], axis=1)
    return np.roll(corners, 2, axis=0).astype("float32")


def _mean(read: Sequence[tuple[str, float]]) -> float:
    return sum(score for _, score in read) / max(len(read), 1)
