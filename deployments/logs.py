"""Logs of a replica: everything goes into Ray Serve's own, which adds replica and request id."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from loguru import logger

from deployments.errors import InvalidRequest, Overloaded

if TYPE_CHECKING:
    from loguru import Message

_SERVE = logging.getLogger("ray.serve")


def log_to_serve() -> None:
    """Send loguru's records there, and keep refusals of bad requests to a line. Idempotent."""
    logger.remove()
    logger.add(_sink, format="{message}", level="INFO", backtrace=False, diagnose=False)
    _SERVE.addFilter(_short_refusal)


def _sink(message: Message) -> None:
    record = message.record
    exception = record["exception"]
    _SERVE.log(
        record["level"].no,
        record["message"],
        exc_info=exception.value if exception is not None else None,
    )


def _short_refusal(record: logging.LogRecord) -> bool:
    """Serve logs every exception with its traceback; a caller's mistake is not worth one."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, InvalidRequest | Overloaded):
        record.exc_info, record.exc_text = None, None
        record.levelno, record.levelname = logging.INFO, "INFO"
        record.msg, record.args = "refused: %s", (error.code,)
    return True
