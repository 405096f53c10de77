"""Optimizer of all stages of training: AdamW with warm-up and cosine decay."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

_WARM_UP_STEPS = 100
_MAX_GRADIENT_NORM = 1.0
_LAST_SHARE = 0.01  # of the learning rate


def optimizer(module: torch.nn.Module, rate: float, steps: int) -> Callable[[torch.Tensor], None]:
    """Return a function that takes one of `steps` optimization steps for a loss.

    It updates all weights that require a gradient; gradients are clipped.
    """
    weights = [weight for weight in module.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=rate, betas=(0.9, 0.99), weight_decay=0.01)

    def share(step: int) -> float:
        cosine = 0.5 * (1 + math.cos(math.pi * step / steps))
        return min(1, (step + 1) / _WARM_UP_STEPS) * (_LAST_SHARE + (1 - _LAST_SHARE) * cosine)

    decay = torch.optim.lr_scheduler.LambdaLR(optimiser, share)

    def step_down(loss: torch.Tensor) -> None:
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, _MAX_GRADIENT_NORM)
        optimiser.step()
        decay.step()

    return step_down
