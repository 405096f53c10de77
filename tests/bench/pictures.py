"""How often our text-to-image model draws what it is asked: `python -m tests.bench.pictures`."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from deployments.images.scenes.captions import JUDGED_BY, held_out_prompts
from deployments.images.scenes.drawing import PICTURE_PX
from deployments.images.scenes.judging import Reading, read

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from deployments.images.scenes.captions import Prompt

MODEL = Path(__file__).parents[2] / "deployments" / "images" / "scenes" / "model"
SHEET = Path(__file__).with_name("results") / "pictures.png"
STEPS, GUIDANCE = 20, 1.5  # as configs/cpu.yaml
_BATCH = 20
_ROWS, _COLUMNS = 3, 4
_CAPTION_PX, _FONT_PX, _GAP_PX = 58, 11, 8


def main() -> int:
    """Draw and read the 60 held-out prompts; fail below the shares the model must reach."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--sheet", type=Path, default=SHEET)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--guidance", type=float, default=GUIDANCE)
    parser.add_argument("--seed", type=int, default=0, help="added to the number of the prompt")
    parser.add_argument(
        "--prompts", type=int, default=JUDGED_BY, help="the seed of others, to choose settings by"
    )
    options = parser.parse_args()

    prompts = held_out_prompts(seed=options.prompts)
    pipeline = loaded(options.model)
    begun = time.perf_counter()
    pictures = drawn(pipeline, prompts, options.steps, options.guidance, options.seed)
    seconds = time.perf_counter() - begun
    readings = [read(picture) for picture in pictures]
    for prompt, reading in zip(prompts, readings, strict=True):
        sys.stdout.write(_line(prompt, reading) + "\n")
    colours = sum(r.colours_right(p.scene) for p, r in zip(prompts, readings, strict=True))
    shapes = sum(r.shape_right(p.scene) for p, r in zip(prompts, readings, strict=True))
    count = len(prompts)
    sys.stdout.write(
        f"\nboth colours right: {colours} of {count} ({colours / count:.0%})\n"
        f"shape right:        {shapes} of {count} ({shapes / count:.0%})\n"
        f"{options.steps} steps, guidance {options.guidance:g}, "
        f"{seconds / count:.2f} s a picture in batches of {_BATCH}\n"
    )
    options.sheet.parent.mkdir(parents=True, exist_ok=True)
    every = count // (_ROWS * _COLUMNS)
    contact_sheet(prompts[::every], pictures[::every]).save(options.sheet, optimize=True)
    return 0 if colours >= 0.9 * count and shapes >= 0.8 * count else 1


def loaded(model: Path) -> Any:
    """Load a pipeline directory as any service would, in single precision."""
    import torch
    from diffusers import AutoPipelineForText2Image

    pipeline = AutoPipelineForText2Image.from_pretrained(model, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def drawn(
    pipeline: Any, prompts: Sequence[Prompt], steps: int, guidance: float, seed: int
) -> list[NDArray[np.uint8]]:
    """Draw each prompt from its own seed: `seed` plus its number."""
    import torch

    pictures: list[NDArray[np.uint8]] = []
    for first in range(0, len(prompts), _BATCH):
        some = prompts[first : first + _BATCH]
        pictures += map(
            np.asarray,
            pipeline(
                [prompt.text for prompt in some],
                num_inference_steps=steps,
                guidance_scale=guidance,
                generator=[
                    torch.Generator().manual_seed(seed + first + i) for i in range(len(some))
                ],
            ).images,
        )
    return pictures


def contact_sheet(prompts: Sequence[Prompt], pictures: Sequence[NDArray[np.uint8]]) -> Image.Image:
    """Put 12 pictures on one sheet, each above its prompt."""
    width, height = PICTURE_PX + _GAP_PX, PICTURE_PX + _CAPTION_PX + _GAP_PX
    sheet = Image.new("RGB", (_COLUMNS * width + _GAP_PX, _ROWS * height + _GAP_PX), "#ececec")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(_FONT_PX)
    for number, (prompt, picture) in enumerate(zip(prompts, pictures, strict=True)):
        row, column = divmod(number, _COLUMNS)
        left, top = _GAP_PX + column * width, _GAP_PX + row * height
        sheet.paste(Image.fromarray(picture), (left, top))
        pen.multiline_text(
            (left, top + PICTURE_PX + 2), _wrapped(prompt.text, font), "#222222", font, spacing=0
        )
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
