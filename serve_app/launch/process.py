"""The process of a command: its files are private, and its log is short."""

from __future__ import annotations

import os
import sys

from loguru import logger

from deployments.private_files import UMASK


def prepare_process(level: str = "WARNING") -> None:
    """Close what this process writes to other users, and log from a level on, without details."""
    os.umask(UMASK)
    logger.remove()
    logger.add(sys.stderr, format="{message}", level=level)
