"""How every stage of training goes down its loss."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

_WARM_UP_STEPS = 100
_LONGEST_GRADIENT = 1.0
_LAST_SHARE = 0.01  # of the learning rate


def descent(module: torch.nn.Module, rate: float, steps: int) -> Callable[[torch.Tensor], None]:
    """Make the function that takes one of `steps` steps down a loss.

    AdamW on all weights that want a gradient, clipped, with warm-up and cosine decay.
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
        torch.nn.utils.clip_grad_norm_(weights, _LONGEST_GRADIENT)
        optimiser.step()
        decay.step()

    return step_down
