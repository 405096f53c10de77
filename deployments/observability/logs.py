"""Logs of a replica: everything goes into Ray Serve's own, which adds replica and request id."""

from __future__ import annotations

import contextlib
import logging
from logging.handlers import MemoryHandler
from typing import TYPE_CHECKING

from loguru import logger

from deployments.errors import InvalidRequest, Overloaded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from loguru import Message

_SERVE = logging.getLogger("ray.serve")


def log_to_serve() -> None:
    """Send loguru's records there, and keep refusals of bad requests to a line. Idempotent."""
    logger.remove()
    logger.add(_sink, format="{message}", level="INFO", backtrace=False, diagnose=False)
    _SERVE.addFilter(_short_refusal)


@contextlib.contextmanager
def kept_open() -> Iterator[None]:
    """Keep Serve's log while a library sets up its own, for which Python closes all there are.

    A buffering handler that was closed has lost what it writes to, and says nothing any more.
    """
    buffers = [handler for handler in _SERVE.handlers if isinstance(handler, MemoryHandler)]
    targets = [handler.target for handler in buffers]
    try:
        yield
    finally:
        for handler, target in zip(buffers, targets, strict=True):
            handler.setTarget(target)


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
