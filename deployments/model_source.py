"""Resolve a model source of the settings into a folder or a Hugging Face id.

A source is a Hugging Face id, which `@REVISION` may follow, a local path, or `package:NAME` for
weights that come inside an installed Python package (a dotted name is one inside another), as the
folder of a model or of a diffusers pipeline, or as one GGUF file.
"""

from __future__ import annotations

import contextlib
import glob
import importlib.util
import shutil
import tempfile
from hashlib import sha256
from pathlib import Path

from filelock import FileLock
from loguru import logger

from deployments.errors import InvalidRequest

_PACKAGE = "package:"


def is_package(source: str) -> bool:
    """Tell whether a source is inside a Python package."""
    return source.startswith(_PACKAGE)


def revision_of(source: str) -> str | None:
    """Return the branch, tag or commit that a Hugging Face id names, if it names one."""
    if is_package(source) or Path(source).expanduser().is_dir():
        return None
    return source.partition("@")[2] or None


def resolve(source: str, data_dir: Path) -> str:
    """Return a model folder, or the id on the hub without its revision.

    A GGUF file is converted once, which takes some 20 s, and cached under `data_dir` by the
    hash of its content; concurrent processes wait for the one that converts it.
    Raises InvalidRequest if a package is missing or holds no model.
    """
    if not is_package(source):
        path = Path(source).expanduser()
        return str(path.resolve()) if path.is_dir() else source.partition("@")[0]
    found = locate(source)
    return str(found if found.is_dir() else _converted(found, data_dir / "models"))


def resolve_ready(source: str, data_dir: Path) -> str | None:
    """Return what `resolve` does, or None if a file would have to be converted first."""
    if is_package(source) and not (found := locate(source)).is_dir():
        target = _target(found, data_dir / "models")
        return str(target) if target.is_dir() else None
    return resolve(source, data_dir)


def locate(source: str) -> Path:
    """Return the model folder or GGUF file inside a Python package; InvalidRequest if none."""
    root = _package_folder(source.removeprefix(_PACKAGE))
    for index in ("model_index.json", "config.json"):
        # The shallowest is the model's own: a pooling layer or pipeline component has one too.
        found = min(root.rglob(index), key=lambda file: len(file.parts), default=None)
        if found is not None:
            return found.parent
    gguf = next(iter(sorted(root.rglob("*.gguf"))), None)
    if gguf is None:
        msg = f"{source!r} holds neither a model folder nor a GGUF file"
        raise InvalidRequest(msg)
    return gguf


def _package_folder(name: str) -> Path:
    spec = None
    if all(part.isidentifier() for part in name.split(".")):
        with contextlib.suppress(ModuleNotFoundError):  # one of the packages around it
            spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        msg = f"the Python package {name!r} is not installed (from model source '{_PACKAGE}{name}')"
        raise InvalidRequest(msg)
    return Path(next(iter(spec.submodule_search_locations)))


def _target(gguf: Path, models: Path) -> Path:
    digest = sha256()
    with gguf.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return models / f"{gguf.stem}-{digest.hexdigest()[:16]}"


def _converted(gguf: Path, models: Path) -> Path:
    target = _target(gguf, models)
    if target.is_dir():
        return target
    models.mkdir(parents=True, exist_ok=True)
    # A soft lock, the fallback, would outlive a crash.
    with FileLock(models / f"{target.name}.lock", fallback_to_soft=False):
        if target.is_dir():
            return target
        logger.info("converting {} to safetensors (once)", gguf.name)
        prefix = f"converting-{target.name}-"
        for left in models.glob(f"{glob.escape(prefix)}*"):  # by a process that was killed
            shutil.rmtree(left, ignore_errors=True)
        unfinished = Path(tempfile.mkdtemp(prefix=prefix, dir=models))
        try:
            _convert(gguf, unfinished)
            # Atomic: no process sees an incomplete folder.
            unfinished.rename(target)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
    return target


def _convert(gguf: Path, target: Path) -> None:
    """Dequantise to bfloat16: every engine reads safetensors, few read GGUF."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    folder, name = str(gguf.parent), gguf.name
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.bfloat16)
    # The weights are dequantised in memory, so the configuration must not say otherwise.
    for config in (model.config, getattr(model, "hf_quantizer", None)):
        if config is not None and hasattr(config, "quantization_config"):
            with contextlib.suppress(AttributeError):
                del config.quantization_config
    plain = type(model)(model.config).to(torch.bfloat16)
    plain.load_state_dict(model.state_dict())
    plain.generation_config = GenerationConfig.from_model_config(plain.config)
    plain.save_pretrained(target)
    AutoTokenizer.from_pretrained(folder, gguf_file=name).save_pretrained(target)
