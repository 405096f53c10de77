"""First stage of training: the autoencoder, with more steps for the decoder.

Three channels of the latents are trained to be a thumbnail of the picture, the rest is free. The
denoiser learns such smooth latents in a fraction of the time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from deployments.images.scenes.drawing import PICTURE_PX
from deployments.images.scenes.optimizer import optimizer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from diffusers import AutoencoderKL

_CROP_PX = 64
_CROPS, _WHOLES = 16, 8  # pictures in a batch
_SHARE_CROPS = 0.7  # of the steps; crops cost a quarter, whole pictures finish it
_BOTH_RATE, _DECODER_RATE = 2e-3, 1e-3
_PRIOR_WEIGHT = 1e-3
_LATENTS_OFF = 0.05  # in standard deviations


def fit_both(vae: AutoencoderKL, pictures: torch.Tensor, steps: int) -> Iterator[tuple[int, float]]:
    """Train encoder and decoder on pictures, (n, 128, 128, 3) of 0..255; yield step and loss."""
    step_down = optimizer(vae, _BOTH_RATE, steps)
    for step in range(1, steps + 1):
        whole = step > _SHARE_CROPS * steps
        chosen = pictures[torch.randint(len(pictures), (_WHOLES if whole else _CROPS,))]
        if not whole:
            top, left = torch.randint(PICTURE_PX - _CROP_PX + 1, (2,)).tolist()
            chosen = chosen[:, top : top + _CROP_PX, left : left + _CROP_PX]
        target = _as_input(chosen)
        posterior = vae.encode(target).latent_dist
        off = vae.decode(posterior.sample()).sample - target
        prior = 0.5 * (posterior.mean**2 + posterior.var - 1 - posterior.logvar).mean()
        thumbnail = functional.avg_pool2d(target, target.shape[-1] // posterior.mean.shape[-1])
        astray = functional.mse_loss(posterior.mean[:, : thumbnail.shape[1]], thumbnail)
        loss = off.abs().mean() + (off**2).mean() + astray + _PRIOR_WEIGHT * prior
        step_down(loss)
        yield step, loss.item()


def fit_decoder(
    vae: AutoencoderKL, pictures: torch.Tensor, steps: int
) -> Iterator[tuple[int, float]]:
    """Train only the decoder, on latents with noise like that of the denoiser."""
    vae.encoder.requires_grad_(requires_grad=False)
    vae.quant_conv.requires_grad_(requires_grad=False)
    step_down = optimizer(vae, _DECODER_RATE, steps)
    for step in range(1, steps + 1):
        target = _as_input(pictures[torch.randint(len(pictures), (_WHOLES,))])
        with torch.no_grad():
            latents = vae.encode(target).latent_dist.mean
            latents += _LATENTS_OFF * latents.std() * torch.randn_like(latents)
        off = vae.decode(latents).sample - target
        loss = off.abs().mean() + (off**2).mean()
        step_down(loss)
        yield step, loss.item()


def encoded(vae: AutoencoderKL, pictures: torch.Tensor) -> torch.Tensor:
    """Turn (n, 128, 128, 3) of 0..255 into latents, (n, 4, 16, 16), not yet scaled."""
    with torch.no_grad():
        return torch.cat(
            [vae.encode(_as_input(some)).latent_dist.mean for some in pictures.split(64)]
        )


def decoded(vae: AutoencoderKL, latents: torch.Tensor) -> torch.Tensor:
    """Turn latents, not scaled, back into pictures of 0..255."""
    with torch.no_grad():
        drawn = vae.decode(latents).sample
    return ((drawn.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1)


def _as_input(pictures: torch.Tensor) -> torch.Tensor:
    return pictures.permute(0, 3, 1, 2).float() / 127.5 - 1
