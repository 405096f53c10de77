"""Draw a batch of pictures with diffusers and report each denoising step."""

from __future__ import annotations

import inspect
import io
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deployments.bounds import MAX_IMAGE_PROMPT_CHARS
from deployments.errors import InvalidRequest
from deployments.priority import lower_priority

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from deployments.images.queue import OnStep
    from deployments.settings import ImagesSettings
    from deployments.types import ImageRequest

_PIXELS = 8  # what diffusers asks of a side, however little the model's VAE shrinks it
_PATCH = 2  # transformers take latents in patches of 2 x 2
_MAX_SEED = 2**63 - 1


class ImagePipeline:
    """One text-to-image model, used by one thread at a time.

    A picture starts from noise generated from its own seed, always on the CPU, so that it does
    not depend on the other pictures of its batch, except for rounding.
    """

    def __init__(
        self,
        model: str,
        settings: ImagesSettings,
        *,
        revision: str | None = None,
        threads: int = 1,
    ) -> None:
        """Load the model, which takes from a second to minutes.

        Args:
            model: a diffusers folder, or a hub id.
            settings: device, precision and the limits of a request.
            revision: of a model on the hub; the newest by default.
            threads: the number of threads that draw, on a CPU.

        Raises:
            InvalidRequest: the pipeline cannot be stopped between steps.
        """
        import torch
        from diffusers import AutoPipelineForText2Image
        from diffusers.utils import logging

        logging.set_verbosity_error()  # its warnings quote prompts
        logging.disable_progress_bar()
        self._settings = settings
        self._threads = threads
        self._torch = torch
        loader: Any = AutoPipelineForText2Image  # its methods have no types
        self._pipe = loader.from_pretrained(
            model,
            revision=revision,
            dtype=getattr(torch, settings.dtype),
            local_files_only=Path(model).is_dir(),
            use_safetensors=True,
        ).to(settings.device)
        self._pipe.set_progress_bar_config(disable=True)
        if settings.device != "cpu" and hasattr(self._pipe, "vae"):
            # One after the other: eight of 1024 x 1024 by SDXL took 71 GiB of the card decoded
            # together, and take 16 so. On a CPU, where pictures are small, together is faster.
            self._pipe.vae.enable_slicing()
        if "callback_on_step_end" not in inspect.signature(self._pipe.__call__).parameters:
            msg = f"{type(self._pipe).__name__} cannot be stopped between steps; use another model"
            raise InvalidRequest(msg)
        scale = int(getattr(self._pipe, "vae_scale_factor", _PIXELS))
        patch = _PATCH if hasattr(self._pipe, "transformer") else 1
        self.size_multiple = math.lcm(_PIXELS, scale * patch)
        """Width and height must be multiples of this many pixels."""

    def prepare_thread(self) -> None:
        """Set the thread count of torch and, on a CPU, the lowest priority for this thread.

        Threads that it starts inherit both; the rest of the process is not affected.
        """
        self._torch.set_num_threads(self._threads)
        if self._settings.device == "cpu":
            lower_priority()

    def check(self, request: ImageRequest) -> None:
        """Raise InvalidRequest for a request that would make its whole batch fail."""
        settings = self._settings
        for name, value, low, high in (
            ("width", request.width, settings.min_size, settings.max_size),
            ("height", request.height, settings.min_size, settings.max_size),
            ("steps", request.steps, 1, settings.max_steps),
            ("seed", request.seed, 0, _MAX_SEED),
        ):
            if not low <= value <= high:
                msg = f"{name} must be from {low} to {high}"
                raise InvalidRequest(msg, param=name)
        for name, pixels in (("width", request.width), ("height", request.height)):
            if pixels % self.size_multiple:
                msg = f"{name} must be a multiple of {self.size_multiple} pixels for this model"
                raise InvalidRequest(msg, param=name)
        if len(request.prompt) > MAX_IMAGE_PROMPT_CHARS:
            msg = f"at most {MAX_IMAGE_PROMPT_CHARS} characters"
            raise InvalidRequest(msg, param="prompt")

    def draw(self, requests: Sequence[ImageRequest], on_step: OnStep) -> list[bytes | None]:
        """Draw pictures of one width, height and number of steps as a batch.

        `on_step` gets the number of steps done and returns the indices of the pictures still
        wanted; if there are none, the batch stops. Its last return value decides which pictures
        are returned as PNG; the others are None.
        """
        steps = requests[0].steps
        wanted: Collection[int] = ()

        def step_end(
            pipe: Any,  # noqa: ANN401 - whichever pipeline it is
            step: int,
            _timestep: object,
            tensors: dict[str, Any],
        ) -> dict[str, Any]:
            nonlocal wanted
            # Some schedulers call the model more than once for a step.
            wanted = on_step((step + 1) * steps // len(pipe.scheduler.timesteps))
            if not wanted:
                # Not by `_interrupt`, which would still decode the pictures.
                raise _Unwanted
            return tensors

        try:
            images = self._pipe(
                prompt=[request.prompt for request in requests],
                width=requests[0].width,
                height=requests[0].height,
                num_inference_steps=steps,
                guidance_scale=self._settings.guidance_scale,
                generator=[self._torch.Generator().manual_seed(each.seed) for each in requests],
                callback_on_step_end=step_end,
            ).images
        except _Unwanted:
            return [None] * len(requests)
        return [_png(image) if place in wanted else None for place, image in enumerate(images)]


class _Unwanted(Exception):
    """No picture of this batch is wanted any more."""


def _png(image: Any) -> bytes:  # noqa: ANN401 - Pillow's Image, which is not imported here
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
