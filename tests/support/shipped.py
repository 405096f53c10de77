"""The shipped configurations, and edits of them."""

from __future__ import annotations

from tests.support.paths import ROOT

CPU = "configs/cpu.yaml"
GPU = "configs/single-gpu.yaml"
CLUSTER = "serve_config.yaml"
KUBERNETES = "configs/rayservice.yaml"
FILES = {"cpu": CPU, "gpu": GPU, "cluster": CLUSTER, "kubernetes": KUBERNETES}


def shipped(name: str) -> str:
    """Read a file of the repository."""
    return (ROOT / name).read_text(encoding="utf-8")


def edited(text: str, old: str, new: str) -> str:
    """Replace the first `old`; fail if it is missing, for these files change."""
    assert old in text, old
    return text.replace(old, new, 1)
