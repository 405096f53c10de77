"""`genserve prepare FILE`: make the models that a configuration names ready to load."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from deployments.errors import InvalidRequest
from deployments.model_source import resolve
from deployments.private_files import make_private
from serve_app.launch.configuration import read, settings
from serve_app.launch.process import prepare_process
from serve_app.launch.progress import StartError, say

if TYPE_CHECKING:
    from serve_app.settings import AppSettings


def main(arguments: list[str]) -> int:
    """Prepare the models of one file; return 1 if one is not available."""
    parser = argparse.ArgumentParser(
        prog="genserve prepare",
        description="Convert the models of FILE that are inside Python packages, once, so that the "
        "first start need not. Models of a hub are loaded by the replicas when they start.",
        allow_abbrev=False,
    )
    parser.add_argument("file", metavar="FILE", help="the configuration")
    file = parser.parse_args(arguments).file
    prepare_process("INFO")
    # The conversion's progress bars add nothing to the line for each model.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    try:
        _prepare(settings(read(file), file))
    except (StartError, InvalidRequest) as error:
        say(f"error: {error}")
        return 1
    return 0


def _prepare(settings: AppSettings) -> None:
    """Resolve every model source; raise InvalidRequest for the first that is not available."""
    make_private(Path(settings.data_dir))
    sources = [settings.embedder.model, settings.images.model]
    if settings.embedder.next:
        sources.append(settings.embedder.next.model)
    if settings.embedder.reranker:
        sources.append(settings.embedder.reranker)
    if settings.llm.engine == "vllm":
        sources.insert(0, settings.llm.model)
    for source in dict.fromkeys(sources):
        began = time.monotonic()
        found = resolve(source, Path(settings.data_dir))
        where = "on disk" if Path(found).is_dir() else "loaded from the hub at start"
        say(f"    {source}: {where} ({time.monotonic() - began:.0f} s)")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
