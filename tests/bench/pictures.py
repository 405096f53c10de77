"""`python -m tests.bench.pictures`: score how often the small image model draws what is asked."""

from __future__ import annotations

import argparse
import io
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from deployments.images.scenes.captions import JUDGED_BY, Prompt, held_out_prompts
from deployments.images.scenes.drawing import PICTURE_PX
from deployments.images.scenes.judging import Reading, read
from tests.bench import command
from tests.bench.report import Check, Section, checks_table, say
from tests.support.scene_pictures import BATCH, GUIDANCE, MODEL, STEPS, drawn, loaded

_MIN_COLOURS, _MIN_SHAPES = 0.9, 0.8
_ROWS, _COLUMNS = 3, 4
_CAPTION_PX, _FONT_PX, _GAP_PX = 58, 11, 8


def main() -> int:
    """Run the bench; return its exit status."""
    options = command.parser("tests.bench.pictures", __doc__)
    options.add_argument("--model", type=Path, default=MODEL)
    options.add_argument("--steps", type=int, default=STEPS)
    options.add_argument("--guidance", type=float, default=GUIDANCE)
    options.add_argument("--seed", type=int, default=0, help="added to the number of the prompt")
    options.add_argument(
        "--prompts", type=int, default=JUDGED_BY, help="the seed of others, to choose settings by"
    )
    return command.run(options, measure)


def measure(options: argparse.Namespace) -> Iterator[Section]:
    """Draw the held-out prompts, read the pictures, and put some of them on a sheet."""
    prompts = held_out_prompts(seed=options.prompts)
    if options.quick:
        prompts = prompts[: _ROWS * _COLUMNS]
    pipeline = loaded(options.model)
    began = time.perf_counter()
    pictures = drawn(pipeline, prompts, options.steps, options.guidance, options.seed)
    seconds = time.perf_counter() - began
    count, colours, shapes = len(prompts), 0, 0
    for prompt, picture in zip(prompts, pictures, strict=True):
        reading = read(picture)
        colours += reading.colours_right(prompt.scene)
        shapes += reading.shape_right(prompt.scene)
        say(_line(prompt, reading))
    checks = [
        Check.at_least("both colours right", colours / count, _MIN_COLOURS, "{:.0%}"),
        Check.at_least("shape right", shapes / count, _MIN_SHAPES, "{:.0%}"),
    ]
    every = count // (_ROWS * _COLUMNS)
    sheet = io.BytesIO()
    contact_sheet(prompts[::every], pictures[::every]).save(sheet, "PNG", optimize=True)
    body = f"""\
## Pictures of the small model

`make bench-pictures`: {count} prompts that the model was never trained on, {options.steps} steps,
guidance {options.guidance:g}; {seconds / count:.2f} s a picture in batches of {BATCH}.

{checks_table(checks)}

![Twelve of the prompts and their pictures](results/pictures.png)"""
    yield Section("pictures", body, checks, pictures={"pictures.png": sheet.getvalue()})


def contact_sheet(prompts: Sequence[Prompt], pictures: Sequence[NDArray[np.uint8]]) -> Image.Image:
    """Put 12 pictures on one sheet, each above its prompt."""
    width, height = PICTURE_PX + _GAP_PX, PICTURE_PX + _CAPTION_PX + _GAP_PX
    sheet = Image.new("RGB", (_COLUMNS * width + _GAP_PX, _ROWS * height + _GAP_PX), "#ececec")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(_FONT_PX)
    for number, (prompt, picture) in enumerate(zip(prompts, pictures, strict=True)):
        row, column = divmod(number, _COLUMNS)
        left, top = _GAP_PX + column * width, _GAP_PX + row * height
        sheet.paste(Image.fromarray(picture), (left, top))
        text = _wrapped(prompt.text, font)
        pen.multiline_text((left, top + PICTURE_PX + 2), text, "#222222", font, spacing=0)
    return sheet


def _wrapped(text: str, font: Any) -> str:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= PICTURE_PX:
            lines[-1] = longer
        else:
            lines.append(word)
    return "\n".join(lines)


def _line(prompt: Prompt, reading: Reading) -> str:
    colours = "ok" if reading.colours_right(prompt.scene) else "WRONG"
    shape = "ok" if reading.shape_right(prompt.scene) else "WRONG"
    seen = f"{reading.colour} {reading.shape} on {reading.background}"
    return f"{colours:6}{shape:6}{prompt.text:74}{seen}"


if __name__ == "__main__":
    sys.exit(main())
