"""Second stage of training: the text encoder learns to encode the scene of a caption.

Training it together with the denoiser would take far longer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from deployments.images.scenes.captions import training_caption, training_scene
from deployments.images.scenes.drawing import COLOURS, OUTLINES, PLACES, SIZES_PX
from deployments.images.scenes.optimizer import optimizer

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

    from transformers import CLIPTextModel, CLIPTokenizer

_BATCH = 128
_RATE = 1e-3
_ASKED = {
    "shape": tuple(OUTLINES),
    "colour": tuple(COLOURS),
    "background": tuple(COLOURS),
    "size": tuple(SIZES_PX),
    "place": tuple(PLACES),
}


def states(text: CLIPTextModel, vocabulary: CLIPTokenizer, captions: list[str]) -> torch.Tensor:
    """Encode captions like the pipeline, with padding: shape (n, tokens, width)."""
    tokens = vocabulary(
        captions,
        padding="max_length",
        max_length=vocabulary.model_max_length,
        truncation=True,
        return_tensors="pt",
    )
    encoded: torch.Tensor = text(tokens.input_ids).last_hidden_state
    return encoded


def fit_text(
    text: CLIPTextModel, vocabulary: CLIPTokenizer, rng: random.Random, steps: int
) -> Iterator[tuple[int, float]]:
    """Train to tell a scene from the mean state of its caption; yield step and loss.

    What a caption leaves out cannot be told, so the loss stays above nought.
    """
    width = text.config.hidden_size
    heads = torch.nn.ModuleDict(
        {field: torch.nn.Linear(width, len(names)) for field, names in _ASKED.items()}
    )
    step_down = optimizer(torch.nn.ModuleList([text, heads]), _RATE, steps)
    for step in range(1, steps + 1):
        scenes = [training_scene(rng) for _ in range(_BATCH)]
        captions = [training_caption(scene, rng) for scene in scenes]
        summary = states(text, vocabulary, captions).mean(dim=1)
        loss = torch.stack(
            [
                functional.cross_entropy(
                    heads[field](summary),
                    torch.tensor([names.index(getattr(scene, field)) for scene in scenes]),
                )
                for field, names in _ASKED.items()
            ]
        ).sum()
        step_down(loss)
        yield step, loss.item()
