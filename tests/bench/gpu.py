"""`python -m tests.bench.gpu --embedder MODEL`: the embedder and the image pipeline on a GPU.

Their vectors and pictures are compared with those of the processor, and their speed and memory are
measured. It needs neither Ray nor a network: the deployments' cores are called as the replicas call
them. The models of the GPU configurations have random weights (see `gpu_models`).
"""

from __future__ import annotations

import argparse
import gc
import io
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np

from deployments.embedder.encoder import Encoder
from deployments.images.pipeline import ImagePipeline
from deployments.settings import EmbedderSettings, ImagesSettings
from deployments.types import ImageRequest
from tests.bench import command
from tests.bench.report import Check, Section, checks_table, table
from tests.support import gpu_models
from tests.support.paths import ROOT
from tests.support.processes import StartError

_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
_SCENES = ROOT / "deployments" / "images" / "scenes" / "model"
_TEXTS, _QUICK_TEXTS, _COMPARED_TEXTS, _TEXT_CHARS = 2048, 256, 256, 350
_GIB = 1024**3
_MIN_COSINE = {"float32": 0.9999, "float16": 0.999, "bfloat16": 0.99}
# Of the median picture, mean over its pixels, of 255: what rounding may do. Not of each picture,
# as at half precision a prompt between two pictures may turn out the other one.
_MAX_PIXEL_DIFFERENCE = {"float32": 0.1, "float16": 2.0}
_PROMPTS = (
    "a medium white square on a green background",
    "a large orange circle on a black background",
    "a small blue triangle on a white background",
    "a red star on a yellow background",
    "a small red circle on a blue background",
    "a large green square on a white background",
    "a yellow triangle on a black background",
    "a purple star on a gray background",
)


def main() -> int:
    """Run the bench; return its exit status."""
    options = command.parser("tests.bench.gpu", __doc__)
    options.add_argument("--embedder", default=_MODEL, help="the name or the folder of the model")
    return command.run(options, measure, incidental=("embedder",))


def measure(options: argparse.Namespace) -> Iterator[Section]:
    """Compare the small models with the processor, then measure the large ones."""
    import torch

    if not torch.cuda.is_available():
        msg = "there is no CUDA device"
        raise StartError(msg)
    texts = _texts(_QUICK_TEXTS if options.quick else _TEXTS)
    raw: dict[str, Any] = {"embedder": _embedder(options.embedder, texts), "pictures": _pictures()}
    if not options.quick:
        with tempfile.TemporaryDirectory() as folder:
            bge, sdxl = Path(folder) / "bge", Path(folder) / "sdxl"
            raw["bge-m3, random weights"] = _large_embedder(bge, Path(options.embedder), texts)
            raw["SDXL-turbo, random weights"] = _large_pictures(sdxl)
    checks = [
        Check.at_least(f"least cosine, {name}", raw["embedder"][name]["least_cosine"], least)
        for name, least in _MIN_COSINE.items()
    ]
    for name, most in _MAX_PIXEL_DIFFERENCE.items():
        median = float(np.median(raw["pictures"][name]["mean_pixel_differences"]))
        checks.append(Check.at_most(f"difference of the median picture, {name}", median, most))
    card = {"card": torch.cuda.get_device_name()}
    yield Section("gpu", _body(raw, checks), checks, raw, devices=card)


def _texts(count: int) -> list[str]:
    """Return different passages of about the size of a chunk."""
    files = sorted(path for path in ROOT.rglob("*.py") if "/." not in str(path))
    whole = "\n".join(path.read_text(encoding="utf-8") for path in files)
    return [whole[at : at + _TEXT_CHARS] for at in range(0, count * _TEXT_CHARS, _TEXT_CHARS)]


def _timed(work: Callable[[], Any], times: int = 3) -> tuple[Any, float]:
    """Return the result of `work` and its best time in seconds, the first run left out."""
    import torch

    best = float("inf")
    for turn in range(times + 1):
        began = time.perf_counter()
        result = work()
        torch.cuda.synchronize()
        if turn:
            best = min(best, time.perf_counter() - began)
    return result, best


def _cuda_encoder(model: str, dtype: str) -> Encoder:
    settings = {"model": model, "device": "cuda", "dtype": dtype, "max_batch_tokens": 8192}
    return Encoder(model, EmbedderSettings.model_validate(settings))


def _embedder(model: str, texts: Sequence[str]) -> dict[str, Any]:
    """Compare the vectors of the GPU with those of the processor."""
    few = texts[:_COMPARED_TEXTS]
    on_cpu = Encoder(model, EmbedderSettings(model=model, device="cpu"), threads=8)
    tokens = on_cpu.count_tokens(few)
    began = time.perf_counter()
    expected = on_cpu.encode(few, tokens)
    found: dict[str, Any] = {
        "cpu": {"texts_per_s": round(len(few) / (time.perf_counter() - began))}
    }
    for dtype in _MIN_COSINE:
        encoder = _cuda_encoder(model, dtype)
        cosine = float((encoder.encode(few, tokens) * expected).sum(axis=1).min())
        counts = encoder.count_tokens(texts)
        _, seconds = _timed(partial(encoder.encode, texts, counts))
        speed = round(len(texts) / seconds)
        found[dtype] = {"least_cosine": round(cosine, 6), "texts_per_s": speed}
    return found


def _pictures() -> dict[str, Any]:
    """Compare the pictures of the GPU with those of the processor."""
    requests = [ImageRequest(prompt, 128, 128, 20, seed) for seed, prompt in enumerate(_PROMPTS)]
    bounds = {"guidance_scale": 1.5}
    on_cpu = ImagePipeline(str(_SCENES), ImagesSettings.model_validate(bounds), threads=8)
    expected = [_pixels(png) for png in on_cpu.draw(requests, _all(requests))]
    found: dict[str, Any] = {}
    for dtype in _MAX_PIXEL_DIFFERENCE:
        settings = ImagesSettings.model_validate({**bounds, "device": "cuda", "dtype": dtype})
        pipeline = ImagePipeline(str(_SCENES), settings)
        drawn, seconds = _timed(partial(pipeline.draw, requests, _all(requests)))
        found[dtype] = {
            "mean_pixel_differences": [
                round(float(np.abs(_pixels(png) - pixels).mean()), 3)
                for png, pixels in zip(drawn, expected, strict=True)
            ],
            "pictures_per_s": round(len(requests) / seconds, 1),
        }
    return found


def _large_embedder(folder: Path, tokenizer: Path, texts: Sequence[str]) -> dict[str, Any]:
    """Measure a model of bge-m3's shape: one long text, and many short ones a pass."""
    model = str(gpu_models.bge_m3(folder, tokenizer))
    found: dict[str, Any] = {}
    for dtype in ("float32", "float16"):
        with _Memory() as memory:
            encoder = _cuda_encoder(model, dtype)
            weights = memory.now()
            counts = encoder.count_tokens(texts)
            _, seconds = _timed(partial(encoder.encode, texts, counts), times=1)
            longest = [" ".join(texts)]
            encoder.encode(longest, encoder.count_tokens(longest))
        speed = round(len(texts) / seconds)
        name = f"{dtype}, passes of 8,192 tokens"
        found[name] = {"weights_gib": weights, "peak_gib": memory.peak_gib, "per_s": speed}
        del encoder
    return found


def _large_pictures(folder: Path) -> dict[str, Any]:
    """Measure a model of SDXL-turbo's shape at the sizes and batches of the GPU files."""
    model = str(gpu_models.sdxl_turbo(folder))
    sizes = {"size": 512, "max_size": 1024, "steps": 4, "max_steps": 8, "max_batch": 8}
    settings = {"device": "cuda", "dtype": "float16", "guidance_scale": 0, **sizes}
    with _Memory() as memory:
        pipeline = ImagePipeline(model, ImagesSettings.model_validate(settings))
        weights = memory.now()
    found: dict[str, Any] = {}
    for pixels in (512, 768, 1024):
        for batch in (1, 2, 8):
            requests = [ImageRequest("a red circle", pixels, pixels, 4, s) for s in range(batch)]
            with _Memory() as memory:
                _, seconds = _timed(partial(pipeline.draw, requests, _all(requests)), times=1)
            name, speed = f"float16, 4 steps, {batch} of {pixels} pixels", round(batch / seconds, 2)
            found[name] = {"weights_gib": weights, "peak_gib": memory.peak_gib, "per_s": speed}
    return found


class _Memory:
    """GPU memory that PyTorch reserves, in GiB; CUDA's context adds about half a GiB."""

    peak_gib = 0.0

    def __enter__(self) -> Self:
        import torch

        gc.collect()  # models refer to themselves
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        return self

    def __exit__(self, *_: object) -> None:
        import torch

        self.peak_gib = round(torch.cuda.max_memory_reserved() / _GIB, 2)

    @staticmethod
    def now() -> float:
        import torch

        return round(float(torch.cuda.memory_allocated()) / _GIB, 2)


def _all(requests: Sequence[ImageRequest]) -> Callable[[int], range]:
    return lambda _step: range(len(requests))


def _pixels(png: bytes | None) -> np.ndarray[Any, np.dtype[np.float32]]:
    from PIL import Image

    if png is None:
        msg = "a wanted picture was not drawn"
        raise ValueError(msg)
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), dtype=np.float32)


def _body(raw: dict[str, Any], checks: Sequence[Check]) -> str:
    embedder = [
        (name, found["texts_per_s"], found.get("least_cosine", ""))
        for name, found in raw["embedder"].items()
    ]
    pictures = [
        (name, found["pictures_per_s"], ", ".join(map(str, found["mean_pixel_differences"])))
        for name, found in raw["pictures"].items()
    ]
    large = [
        (f"{model}, {name}", found["weights_gib"], found["peak_gib"], found["per_s"])
        for model in ("bge-m3", "SDXL-turbo")
        for name, found in raw.get(f"{model}, random weights", {}).items()
    ]
    return f"""\
## On a GPU

`make bench-gpu EXTRA=gpu`: the cores of Embedder and Images by themselves, on a card
and on its machine's processor. The two large models have random weights: memory (what
PyTorch reserves; CUDA's own half GiB comes on top) and speed are those of the real ones,
what they say is noise.

{checks_table(checks)}

{table(("embedder, MiniLM", "texts/s", "least cosine to the processor's vectors"), embedder)}

{table(("pictures, our small model", "pictures/s", "mean difference of a pixel, of 255"), pictures)}

{table(("model", "weights, GiB", "at most, GiB", "a second"), large)}"""


if __name__ == "__main__":
    sys.exit(main())
