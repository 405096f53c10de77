"""What the embedder and the image generator do on a GPU: the same as on a CPU, and how fast.

`python -m tests.bench.gpu --embedder MODEL`, on a machine with a CUDA card. It needs neither Ray
nor a network: the deployments' own cores are called, as the replicas call them. The models of
the GPU files are taken in shape and size only, with random weights (see `gpu_models`).
"""

from __future__ import annotations

import argparse
import gc
import io
import json
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, Self

import numpy as np

from deployments.embedder.encoder import Encoder
from deployments.images.pipeline import ImagePipeline
from deployments.settings import EmbedderSettings, ImagesSettings
from deployments.types import ImageRequest
from tests.bench import gpu_models, machine
from tests.bench.report import with_section

ROOT = Path(__file__).parents[2]
SCENES = ROOT / "deployments" / "images" / "scenes" / "model"
RESULT = Path(__file__).parent / "results" / "gpu.json"
RESULTS = Path(__file__).parent / "RESULTS.md"
TEXTS, TEXT_CHARS = 2048, 350
MIN_COSINE = {"float32": 0.9999, "float16": 0.999, "bfloat16": 0.99}
MAX_PIXEL_DIFFERENCE = {"float32": 0.1, "float16": 2.0}
"""Of the middle picture, mean over its pixels, of 255: what rounding may do.

Not of each, as at half precision a prompt between two pictures may turn out the other one.
"""
PROMPTS = (
    "a medium white square on a green background",
    "a large orange circle on a black background",
    "a small blue triangle on a white background",
    "a red star on a yellow background",
    "a small red circle on a blue background",
    "a large green square on a white background",
    "a yellow triangle on a black background",
    "a purple star on a gray background",
)


def texts() -> list[str]:
    """Return passages of about the size that documents are cut into, all unlike."""
    files = sorted(path for path in ROOT.rglob("*.py") if "/." not in str(path))
    whole = "\n".join(path.read_text(encoding="utf-8") for path in files)
    cut = [whole[at : at + TEXT_CHARS] for at in range(0, len(whole), TEXT_CHARS)]
    return cut[:TEXTS]


def timed(work: Callable[[], Any], times: int = 3) -> tuple[Any, float]:
    """Return the result of `work` and its best time in seconds, the first run aside."""
    import torch

    best = float("inf")
    for turn in range(times + 1):
        began = perf_counter()
        result = work()
        torch.cuda.synchronize()
        if turn:
            best = min(best, perf_counter() - began)
    return result, best


def embedder(model: str) -> dict[str, Any]:
    """Hold the card's vectors against the processor's."""
    sample = texts()
    few = sample[:256]
    on_cpu = Encoder(model, EmbedderSettings(model=model, device="cpu"), threads=8)
    tokens = on_cpu.count_tokens(few)
    began = perf_counter()
    expected = on_cpu.encode(few, tokens)
    found: dict[str, Any] = {"cpu": {"texts_per_s": round(len(few) / (perf_counter() - began))}}
    for dtype, least in MIN_COSINE.items():
        settings = EmbedderSettings.model_validate(
            {"model": model, "device": "cuda", "dtype": dtype, "max_batch_tokens": 8192}
        )
        encoder = Encoder(model, settings)
        cosine = float((encoder.encode(few, tokens) * expected).sum(axis=1).min())
        counts = encoder.count_tokens(sample)
        _, seconds = timed(partial(encoder.encode, sample, counts))
        found[dtype] = {
            "least_cosine": round(cosine, 6),
            "texts_per_s": round(len(sample) / seconds),
            "same": cosine >= least,
        }
    return found


def pictures() -> dict[str, Any]:
    """Hold the card's pictures against the processor's."""
    requests = [ImageRequest(prompt, 128, 128, 20, seed) for seed, prompt in enumerate(PROMPTS)]
    bounds = {"guidance_scale": 1.5}
    on_cpu = ImagePipeline(str(SCENES), ImagesSettings.model_validate(bounds), threads=8)
    expected = [_pixels(png) for png in on_cpu.draw(requests, _all(requests))]
    found: dict[str, Any] = {}
    for dtype, most in MAX_PIXEL_DIFFERENCE.items():
        settings = ImagesSettings.model_validate({**bounds, "device": "cuda", "dtype": dtype})
        pipeline = ImagePipeline(str(SCENES), settings)
        drawn, seconds = timed(partial(pipeline.draw, requests, _all(requests)))
        off = [
            round(float(np.abs(_pixels(png) - pixels).mean()), 3)
            for png, pixels in zip(drawn, expected, strict=True)
        ]
        found[dtype] = {
            "mean_pixel_differences": off,
            "pictures_per_s": round(len(requests) / seconds, 1),
            "same": float(np.median(off)) <= most,
        }
    return found


def large_embedder(folder: Path, tokenizer: Path) -> dict[str, Any]:
    """Measure a model of bge-m3's shape: one long text, and many short ones a pass."""
    model = str(gpu_models.bge_m3(folder, tokenizer))
    sample = texts()
    found: dict[str, Any] = {}
    for dtype in ("float32", "float16"):
        settings = EmbedderSettings.model_validate(
            {"model": model, "device": "cuda", "dtype": dtype, "max_batch_tokens": 8192}
        )
        with _Memory() as memory:
            encoder = Encoder(model, settings)
            weights = memory.now()
            counts = encoder.count_tokens(sample)
            _, seconds = timed(partial(encoder.encode, sample, counts), times=1)
            longest = [" ".join(sample)]
            encoder.encode(longest, encoder.count_tokens(longest))
        found[dtype] = {
            "weights_gib": weights,
            "peak_gib": memory.peak_gib,
            "texts_per_s": round(len(sample) / seconds),
        }
        del encoder
    return found


def large_pictures(folder: Path) -> dict[str, Any]:
    """Measure a model of SDXL-turbo's shape at the sizes and batches of the GPU files."""
    model = str(gpu_models.sdxl_turbo(folder))
    settings = ImagesSettings.model_validate(
        {
            "device": "cuda",
            "dtype": "float16",
            "guidance_scale": 0,
            "size": 512,
            "max_size": 1024,
            "steps": 4,
            "max_steps": 8,
            "max_batch": 8,
        }
    )
    with _Memory() as memory:
        pipeline = ImagePipeline(model, settings)
        found: dict[str, Any] = {"weights_gib": memory.now()}
    for pixels in (512, 768, 1024):
        for batch in (1, 2, 8):
            requests = [ImageRequest("a red circle", pixels, pixels, 4, s) for s in range(batch)]
            with _Memory() as memory:
                _, seconds = timed(partial(pipeline.draw, requests, _all(requests)), times=1)
            found[f"{batch} of {pixels} pixels"] = {
                "peak_gib": memory.peak_gib,
                "pictures_per_s": round(batch / seconds, 2),
            }
    return found


class _Memory:
    """What PyTorch holds of the card, GiB; CUDA's own context comes on top, about half a GiB."""

    peak_gib = 0.0

    def __enter__(self) -> Self:
        import torch

        gc.collect()  # models refer to themselves
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        return self

    def __exit__(self, *_: object) -> None:
        import torch

        self.peak_gib = round(torch.cuda.max_memory_reserved() / 1024**3, 2)

    @staticmethod
    def now() -> float:
        import torch

        return round(float(torch.cuda.memory_allocated()) / 1024**3, 2)


def _all(requests: list[ImageRequest]) -> Callable[[int], range]:
    return lambda _step: range(len(requests))


def _pixels(png: bytes | None) -> np.ndarray[Any, np.dtype[np.float32]]:
    from PIL import Image

    if png is None:
        msg = "a wanted picture was not drawn"
        raise ValueError(msg)
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), dtype=np.float32)


def section(result: dict[str, Any]) -> str:
    """Tell it to a person, in Markdown."""
    lines = [
        "## On a GPU",
        "",
        "`make bench-gpu EXTRA=gpu`: the cores of Embedder and Images by themselves, on a card",
        "and on its machine's processor. The two large models have random weights: memory (what",
        "PyTorch reserves; CUDA's own half GiB comes on top) and speed are those of the real ones,",
        "what they say is noise.",
        "",
        "| embedder, MiniLM | texts/s | least cosine to the processor's vectors |",
        "|---|---|---|",
    ]
    for name, found in result["embedder"].items():
        lines.append(f"| {name} | {found['texts_per_s']} | {found.get('least_cosine', '')} |")
    lines += ["", "| pictures, our small model | pictures/s | mean difference of a pixel, of 255 |"]
    lines.append("|---|---|---|")
    for name, found in result["pictures"].items():
        off = ", ".join(map(str, found["mean_pixel_differences"]))
        lines.append(f"| {name} | {found['pictures_per_s']} | {off} |")
    lines += ["", "| model | weights, GiB | at most, GiB | a second |", "|---|---|---|---|"]
    large, drawn = result["bge-m3, random weights"], dict(result["sdxl-turbo, random weights"])
    for name, found in large.items():
        weights, peak, speed = found["weights_gib"], found["peak_gib"], found["texts_per_s"]
        lines.append(f"| bge-m3, {name}, passes of 8,192 tokens | {weights} | {peak} | {speed} |")
    weights = drawn.pop("weights_gib")
    for name, found in drawn.items():
        peak, speed = found["peak_gib"], found["pictures_per_s"]
        lines.append(f"| SDXL-turbo, float16, 4 steps, {name} | {weights} | {peak} | {speed} |")
    told = ", ".join(f"{name} {value}" for name, value in result["machine"].items())
    return "\n".join([*lines, "", f"Machine: {told}."])


def main() -> int:
    """Measure everything, write the result and say whether the card agrees with the processor."""
    import torch

    parser = argparse.ArgumentParser(prog="python -m tests.bench.gpu", description=__doc__)
    parser.add_argument("--embedder", default="sentence-transformers/all-MiniLM-L6-v2")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("there is no CUDA card here")
    result: dict[str, Any] = {
        "machine": machine.description() | {"card": torch.cuda.get_device_name()},
        "embedder": embedder(options.embedder),
        "pictures": pictures(),
    }
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = Path(options.embedder)
        result["bge-m3, random weights"] = large_embedder(Path(folder) / "bge", tokenizer)
        result["sdxl-turbo, random weights"] = large_pictures(Path(folder) / "sdxl")
    options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    if options.out == RESULT:
        text = RESULTS.read_text(encoding="utf-8")
        RESULTS.write_text(with_section(text, "gpu", section(result)), encoding="utf-8")
    sys.stdout.write(json.dumps(result, indent=2) + "\n")
    same = [
        each["same"]
        for part in ("embedder", "pictures")
        for each in result[part].values()
        if "same" in each
    ]
    return 0 if all(same) else 1


if __name__ == "__main__":
    sys.exit(main())
