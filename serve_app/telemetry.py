"""Logs: loguru with one sink, Ray Serve's own logger, so that request ids come along."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

from loguru import logger
from ray.serve._private.constants import SERVE_LOGGER_NAME

if TYPE_CHECKING:
    from loguru import Message


def log_to_serve() -> None:
    """Send loguru's records through `ray.serve`, which adds replica and request id."""
    serve_logger = logging.getLogger(SERVE_LOGGER_NAME)

    def sink(message: Message) -> None:
        record = message.record
        exception = record["exception"]
        serve_logger.log(
            record["level"].no,
            record["message"],
            exc_info=(exception.type, exception.value, exception.traceback)
            if exception is not None and exception.type is not None
            else None,
            stacklevel=2,
        )

    logger.remove()
    logger.add(sink, format="{message}", level="INFO", backtrace=False, diagnose=False)


def log_to_terminal() -> None:
    """For the commands a person runs: bare lines on standard error."""
    logger.remove()
    logger.add(sys.stderr, format="{message}", level="INFO")
