"""`python -m serve_app.launch.models FILE`: fetch or convert every model a configuration names."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import yaml
from loguru import logger

from deployments.errors import InvalidRequest
from deployments.model_source import resolve
from serve_app.settings import AppSettings


def main(path: str) -> int:
    """Prepare the models of one file; 1 if one cannot be had."""
    applications = yaml.safe_load(Path(path).read_text(encoding="utf-8"))["applications"]
    settings = AppSettings.model_validate(applications[0]["args"])
    sources = [settings.embedder.model, settings.images.model]
    if settings.embedder.reranker:
        sources.append(settings.embedder.reranker)
    if settings.llm.engine == "vllm":
        sources.insert(0, settings.llm.model)
    for source in dict.fromkeys(sources):
        began = time.monotonic()
        try:
            found = resolve(source, Path(settings.data_dir))
        except InvalidRequest as error:
            logger.error("{}", error.message)
            return 1
        where = "on disk" if Path(found).is_dir() else "loaded from the hub at start"
        logger.info("  {}: {} ({:.0f} s)", source, where, time.monotonic() - began)
    return 0


if __name__ == "__main__":
    # Progress bars of the conversion say nothing here that the line above does not.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    logger.remove()
    logger.add(sys.stderr, format="{message}", level="INFO")
    sys.exit(main(sys.argv[1]))
