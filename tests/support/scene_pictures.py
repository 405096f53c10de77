"""Draw prompts with the committed small image model, as `configs/cpu.yaml` does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deployments.images.scenes.captions import Prompt
from tests.support.paths import ROOT

MODEL = ROOT / "deployments" / "images" / "scenes" / "model"
STEPS, GUIDANCE = 20, 1.5
BATCH = 20


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
    for first in range(0, len(prompts), BATCH):
        some = prompts[first : first + BATCH]
        seeds = range(seed + first, seed + first + len(some))
        images = pipeline(
            [prompt.text for prompt in some],
            num_inference_steps=steps,
            guidance_scale=guidance,
            generator=[torch.Generator().manual_seed(one) for one in seeds],
        ).images
        pictures += map(np.asarray, images)
    return pictures
