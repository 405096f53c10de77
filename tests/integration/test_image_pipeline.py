"""A real diffusers pipeline with random weights: what it draws is noise, how it does is not."""

from __future__ import annotations

import asyncio
import io
import os
import string
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from deployments.errors import InvalidRequest
from deployments.images.pipeline import ImagePipeline
from deployments.images.queue import ImageQueue
from deployments.settings import ImagesSettings
from deployments.types import ImageProgress, ImageRequest

STEPS = 3
REQUEST = ImageRequest("a red circle on white", width=32, height=32, steps=STEPS, seed=7)
SETTINGS = ImagesSettings(size=32, max_size=64, max_steps=10)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from diffusers import (
        AutoencoderKL,
        EulerAncestralDiscreteScheduler,
        StableDiffusionPipeline,
        UNet2DConditionModel,
    )
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    letters = [*string.ascii_lowercase, *(f"{letter}</w>" for letter in string.ascii_lowercase)]
    words = ["<|startoftext|>", "<|endoftext|>", *letters]
    torch.manual_seed(0)
    pipe = StableDiffusionPipeline(
        vae=AutoencoderKL(
            block_out_channels=(8, 8, 8),
            down_block_types=["DownEncoderBlock2D"] * 3,
            up_block_types=["UpDecoderBlock2D"] * 3,
            norm_num_groups=4,
        ),
        text_encoder=CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(words),
                hidden_size=16,
                intermediate_size=32,
                num_hidden_layers=1,
                num_attention_heads=2,
                bos_token_id=0,
                eos_token_id=1,
                pad_token_id=1,
            )
        ),
        tokenizer=CLIPTokenizer(
            vocab={word: number for number, word in enumerate(words)},
            merges=[],
            model_max_length=77,
        ),
        unet=UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(8, 16),
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            layers_per_block=1,
            cross_attention_dim=16,
            attention_head_dim=4,
            norm_num_groups=4,
        ),
        # One that draws fresh noise at every step: the hardest to make repeatable.
        scheduler=EulerAncestralDiscreteScheduler(steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    folder = tmp_path_factory.mktemp("model")
    pipe.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def pipeline(model: Path) -> ImagePipeline:
    return ImagePipeline(str(model), SETTINGS)


@pytest.fixture
def thread(pipeline: ImagePipeline) -> Iterator[ThreadPoolExecutor]:
    """The drawing thread; the test's own must not lose its priority."""
    with ThreadPoolExecutor(1, initializer=pipeline.prepare_thread) as thread:
        yield thread


def drawn(pipeline: ImagePipeline, *requests: ImageRequest) -> list[NDArray[np.int16]]:
    pngs = pipeline.draw(requests, lambda _: range(len(requests)))
    return [pixels(png) for png in pngs]


def pixels(png: bytes | None) -> NDArray[np.int16]:
    assert png is not None
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"), dtype=np.int16)


def test_a_request_gives_its_picture_alone_and_in_company(pipeline: ImagePipeline) -> None:
    (alone,) = drawn(pipeline, REQUEST)
    assert alone.shape == (32, 32, 3)
    (again,) = drawn(pipeline, REQUEST)
    assert np.array_equal(alone, again)
    others = [replace(REQUEST, prompt="blue", seed=8), replace(REQUEST, seed=9)]
    first, *_, last = drawn(pipeline, REQUEST, *others, REQUEST)
    for shared in (first, last):
        assert np.abs(alone - shared).max() <= 2
    (other,) = drawn(pipeline, replace(REQUEST, seed=8))
    assert np.abs(alone - other).max() > 20


def test_sizes_are_as_asked(pipeline: ImagePipeline) -> None:
    (wide,) = drawn(pipeline, replace(REQUEST, width=64, height=16))
    assert wide.shape == (16, 64, 3)


def test_every_step_is_told_and_a_pass_nobody_wants_ends_there(pipeline: ImagePipeline) -> None:
    told: list[int] = []

    def wanted_for(steps: int) -> list[bytes | None]:
        told.clear()

        def on_step(done: int) -> list[int]:
            told.append(done)
            return [1] if done < steps else []

        return pipeline.draw([REQUEST, REQUEST], on_step)

    assert wanted_for(2) == [None, None]
    assert told == [1, 2]
    left, stayed = wanted_for(99)
    assert told == [1, 2, 3]
    assert left is None
    assert pixels(stayed).shape == (32, 32, 3)


def test_a_stopped_pass_leaves_nothing_behind(pipeline: ImagePipeline) -> None:
    (before,) = drawn(pipeline, REQUEST)
    pipeline.draw([REQUEST], lambda _: [])
    (after,) = drawn(pipeline, REQUEST)
    assert np.array_equal(before, after)


@pytest.mark.parametrize(
    ("odd", "param"),
    [
        ({"width": 36}, "width"),
        ({"height": 33}, "height"),
        ({"width": 8}, "width"),
        ({"height": 80}, "height"),
        ({"width": -32}, "width"),
        ({"steps": 0}, "steps"),
        ({"steps": 11}, "steps"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**64}, "seed"),
        ({"prompt": "x" * 1001}, "prompt"),
    ],
)
def test_nonsense_is_refused_by_name(
    pipeline: ImagePipeline, odd: dict[str, int | str], param: str
) -> None:
    pipeline.check(REQUEST)
    with pytest.raises(InvalidRequest) as refused:
        pipeline.check(replace(REQUEST, **odd))  # type: ignore[arg-type]
    assert refused.value.param == param


def test_odd_prompts_are_drawn_and_never_quoted(
    pipeline: ImagePipeline, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    for prompt in ("", "secretword " * 90, "<|endoftext|>", "\x00\U0001f600 é"):
        drawn(pipeline, replace(REQUEST, prompt=prompt))
    assert "secretword" not in "".join(capfd.readouterr()) + caplog.text


def test_the_drawing_thread_yields_and_no_other(
    pipeline: ImagePipeline, thread: ThreadPoolExecutor
) -> None:
    def nice() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    before = nice()
    assert thread.submit(nice).result() == 19
    assert nice() == before < 19


def test_through_the_queue_with_the_loop_free_meanwhile(pipeline: ImagePipeline) -> None:
    async def run() -> tuple[list[ImageProgress], int]:
        queue = ImageQueue(
            pipeline.draw, SETTINGS.max_batch, pipeline.prepare_thread, batch_wait_s=0
        )
        turns = 0

        async def turn() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        turning = asyncio.create_task(turn())
        try:
            return [progress async for progress in queue.generate(REQUEST)], turns
        finally:
            turning.cancel()
            await queue.close()

    progress, turns = asyncio.run(run())
    assert [step.done_steps for step in progress] == [1, 2, 3]
    assert pixels(progress[-1].png).shape == (32, 32, 3)
    assert turns > 10
