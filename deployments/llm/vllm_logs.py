"""vLLM's logs without the text of requests, which its exceptions and warnings quote."""

from __future__ import annotations

import copy
import json
import logging
import os
import re
from typing import Any

from deployments.memory_files import memory_file

_FILTER = "quote_no_request"
_OF_REQUESTS = (
    *("vllm.entrypoints", "vllm.renderers", "vllm.parser", "vllm.tool_parsers", "vllm.reasoning"),
    *("vllm.v1.structured_output", "vllm.sampling_params"),
)
_REQUEST_ID = re.compile(r"(?:chatcmpl|cmpl)-[0-9a-zA-Z_-]{1,80}")


class QuoteNoRequest(logging.Filter):
    """Reduces exceptions to type and place, and drops texts that warnings on requests format in."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            record.msg = f"{record.msg}: {type(error).__name__}{_place(error)}"
            record.exc_info, record.exc_text = None, None
        if isinstance(record.args, tuple):
            of_request = record.levelno >= logging.WARNING and record.name.startswith(_OF_REQUESTS)
            record.args = tuple(_shown(arg, quotable=not of_request) for arg in record.args)
        return True


def quote_no_requests() -> None:
    """Filter the log of vLLM in this process, and in those that it will start.

    Those read their settings from a file; one that the operator has named is left alone.
    """
    from vllm.logger import DEFAULT_LOGGING_CONFIG

    for handler in logging.getLogger("vllm").handlers:
        handler.addFilter(QuoteNoRequest())
    if "VLLM_LOGGING_CONFIG_PATH" in os.environ:
        return
    config: dict[str, Any] = copy.deepcopy(DEFAULT_LOGGING_CONFIG)
    config["filters"] = {_FILTER: {"()": f"{__name__}.{QuoteNoRequest.__name__}"}}
    for settings in config["handlers"].values():
        settings["filters"] = [_FILTER]
    os.environ["VLLM_LOGGING_CONFIG_PATH"] = memory_file("vllm-log", json.dumps(config))


def _shown(arg: object, *, quotable: bool) -> object:
    if isinstance(arg, int | float) or (isinstance(arg, str) and _REQUEST_ID.fullmatch(arg)):
        return arg
    return arg if quotable and not isinstance(arg, BaseException) else f"({type(arg).__name__})"


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return ""
    return f" in {trace.tb_frame.f_globals.get('__name__')}, line {trace.tb_lineno}"
