"""Umask and logging of the commands."""

from __future__ import annotations

import os
import sys

from loguru import logger

from deployments.private_files import UMASK


def prepare_process(level: str = "WARNING") -> None:
    """Set a private umask, and log messages from `level` on to stderr, without timestamps."""
    os.umask(UMASK)
    logger.remove()
    logger.add(sys.stderr, format="{message}", level=level)
