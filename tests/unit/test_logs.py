"""Serve's log outlives a library that configures logging for itself."""

from __future__ import annotations

import logging
import logging.config
from logging.handlers import MemoryHandler
from pathlib import Path

from deployments.observability.logs import kept_open


def test_a_librarys_own_logging_does_not_end_serves(tmp_path: Path) -> None:
    serve, path = logging.getLogger("ray.serve"), tmp_path / "replica.log"
    file = logging.FileHandler(path)
    buffer = MemoryHandler(1, target=file)
    serve.addHandler(buffer)
    try:
        with kept_open():
            logging.config.dictConfig({"version": 1, "disable_existing_loggers": False})
        serve.warning("still here")
        assert path.read_text() == "still here\n"
    finally:
        serve.removeHandler(buffer)
        buffer.close()
        file.close()
