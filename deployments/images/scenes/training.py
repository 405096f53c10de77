"""Train the text-to-image model from a seed: `--out DIR`.

The stages are the autoencoder, the text encoder, and the denoiser on the outputs of both. A
finished autoencoder in DIR is used again. The same seed, machine and number of threads give the
same weights.
"""

from __future__ import annotations

import argparse
import copy
import random
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image
from torch.nn import functional

from deployments.images.scenes import autoencoding, networks, text_encoder
from deployments.images.scenes.captions import held_out_prompts, training_caption, training_scene
from deployments.images.scenes.drawing import draw
from deployments.images.scenes.optimizer import optimizer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from diffusers import StableDiffusionPipeline
    from transformers import CLIPTokenizer

    from deployments.images.scenes.drawing import Scene

_BATCH = 32
_RATE = 2e-3
_SHARE_WITHOUT_CAPTION = 0.1
_AVERAGING = 0.998
_SAMPLES, _GUIDANCE = 24, 1.5


def train(options: argparse.Namespace) -> None:
    """Train and write the pipeline directory, with sheets of samples on the way if asked."""
    torch.set_num_threads(options.threads)
    rng = random.Random(options.seed)  # noqa: S311 - reproducible on purpose
    scenes = [training_scene(rng) for _ in range(options.scenes)]
    pictures = torch.from_numpy(np.stack([draw(scene, rng) for scene in scenes]))
    if not (options.out / "vae").is_dir():
        _train_autoencoder(pictures, options)
    vae = AutoencoderKL.from_pretrained(options.out / "vae", dtype=torch.float32).eval()
    # One form of each scene, on whole latents: else learning outlines takes many times as long.
    plain = torch.from_numpy(np.stack([draw(scene) for scene in scenes]))
    latents = autoencoding.encoded(vae, plain)
    if options.samples:
        sheet = [autoencoding.decoded(vae, latents[:12]), plain[:12]]
        _save_sheet(options.samples / "autoencoder.png", sheet)
    # Without the folder it was read from, which would be kept with the weights.
    vae.register_to_config(scaling_factor=1 / latents.std().item(), _name_or_path="")
    latents *= vae.config.scaling_factor

    torch.manual_seed(options.seed)
    vocabulary = networks.tokenizer()
    model = _Conditional(vocabulary)
    reading = text_encoder.fit_text(model.text, vocabulary, rng, options.text_steps)
    for _ in _told("text encoder", reading):
        pass
    # Or it would forget all but the background, which earns the denoiser most at first.
    model.text.requires_grad_(requires_grad=False)
    averaged = copy.deepcopy(model).eval()
    for step in _told("diffusion", _fit(model, averaged, latents, scenes, rng, options.steps)):
        if step % options.save_every == 0 or step == options.steps:
            whole = networks.pipeline(vae, averaged.text, vocabulary, averaged.unet)
            if options.samples:
                _save_sheet(options.samples / f"step-{step}.png", _sampled(whole))
            networks.save(copy.deepcopy(whole), options.out)


def _train_autoencoder(pictures: torch.Tensor, options: argparse.Namespace) -> None:
    torch.manual_seed(options.seed)
    vae = networks.autoencoder().to(memory_format=torch.channels_last)
    for _ in _told("autoencoder", autoencoding.fit_both(vae, pictures, options.autoencoder_steps)):
        pass
    # The encoder as it will be kept, in half precision, is what the decoder learns to read.
    vae.half().float()
    torch.manual_seed(options.seed)
    for _ in _told("decoder", autoencoding.fit_decoder(vae, pictures, options.decoder_steps)):
        pass
    vae.half().save_pretrained(options.out / "vae")


class _Conditional(torch.nn.Module):  # type: ignore[misc]  # torch is not followed
    """Text encoder and denoiser as one: noisy latents, times, captions -> velocity."""

    def __init__(self, vocabulary: CLIPTokenizer) -> None:
        super().__init__()
        self._vocabulary = vocabulary
        self.text = networks.text_encoder(vocabulary)
        self.unet = networks.denoiser().to(memory_format=torch.channels_last)

    def forward(
        self, noisy: torch.Tensor, times: torch.Tensor, captions: list[str]
    ) -> torch.Tensor:
        states = text_encoder.states(self.text, self._vocabulary, captions)
        velocity: torch.Tensor = self.unet(noisy, times, encoder_hidden_states=states).sample
        return velocity


def _fit(  # noqa: PLR0913, PLR0917 - the state of training
    model: _Conditional,
    averaged: _Conditional,
    latents: torch.Tensor,
    scenes: list[Scene],
    rng: random.Random,
    steps: int,
) -> Iterator[tuple[int, float]]:
    """Train `model`, keep the running average of its weights, yield step and loss."""
    noising = networks.scheduler()
    kinds = noising.config.num_train_timesteps
    step_down = optimizer(model, _RATE, steps)
    weights, averages = list(model.parameters()), list(averaged.parameters())
    for step in range(1, steps + 1):
        chosen = torch.randint(len(latents), (_BATCH,))
        captions = [
            "" if rng.random() < _SHARE_WITHOUT_CAPTION else training_caption(scenes[i], rng)
            for i in chosen.tolist()
        ]
        clean = latents[chosen]
        noise = torch.randn_like(clean)
        # Spread evenly instead of at random: a steadier loss.
        times = ((torch.arange(_BATCH) + torch.rand(_BATCH)) / _BATCH * kinds).long()
        noisy = noising.add_noise(clean, noise, times)
        velocity = model(noisy.contiguous(memory_format=torch.channels_last), times, captions)
        loss = functional.mse_loss(velocity, noising.get_velocity(clean, noise, times))
        step_down(loss)
        with torch.no_grad():
            # The average begins short, or it would remember the random start.
            share = 1 - min(_AVERAGING, step / (step + 10))
            for average, weight in zip(averages, weights, strict=True):
                average.lerp_(weight, share)
        yield step, loss.item()


def _sampled(whole: StableDiffusionPipeline) -> list[torch.Tensor]:
    """Draw every so manieth held-out prompt, by a noise of its own."""
    prompts = held_out_prompts()
    drawn = whole(
        [prompt.text for prompt in prompts[:: len(prompts) // _SAMPLES]][:_SAMPLES],
        num_inference_steps=20,
        guidance_scale=_GUIDANCE,
        generator=torch.Generator().manual_seed(0),
        output_type="np",
    ).images
    return list((torch.from_numpy(drawn) * 255).round().byte().split(8))


def _save_sheet(path: Path, rows: list[torch.Tensor]) -> None:
    """Write rows of pictures, each (n, height, width, 3), as one PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet = np.concatenate([np.concatenate(list(row.numpy()), axis=1) for row in rows])
    Image.fromarray(sheet).save(path)


def _told(stage: str, losses: Iterable[tuple[int, float]]) -> Iterator[int]:
    """Pass the steps on and say every hundredth loss, with the time since the stage began."""
    begun = time.monotonic()
    for step, loss in losses:
        if step % 100 == 0:
            sys.stdout.write(f"{stage} {step}: loss {loss:.4f}, {time.monotonic() - begun:.0f} s\n")
            sys.stdout.flush()
        yield step


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the pipeline directory to write")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--scenes", type=int, default=16_000)
    parser.add_argument("--autoencoder-steps", type=int, default=1200)
    parser.add_argument("--decoder-steps", type=int, default=1000)
    parser.add_argument("--text-steps", type=int, default=1200)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--save-every", type=int, default=1000, help="in steps")
    parser.add_argument("--samples", type=Path, help="where to write sheets of samples")
    return parser.parse_args()


if __name__ == "__main__":
    train(_options())
