"""Serve's log outlives a library that configures logging for itself."""

from __future__ import annotations

import io
import logging
import logging.config
import signal
import subprocess
import sys
from logging.handlers import MemoryHandler
from pathlib import Path

from deployments.llm.vllm_logs import QuoteNoRequest
from deployments.observability.logs import kept_open
from deployments.observability.stderr_filter import copy


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


def test_lines_of_native_libraries_that_quote_requests_are_dropped() -> None:
    lines = [
        b"INFO 11-29 09:00:00 [core.py:1] started\n",
        b"[09:07:14] /project/cpp/fsm_builder.cc:1237: Warning: Anchor is ignored: a^SECRET\n",
        b"SECRET on the next line of the same pattern\n",
        b"Traceback (most recent call last):\n",
        b'  File "x.py", line 1\n',
        b"[09:07:15] /project/cpp/grammar.cc:3: Warning: SECRET\n",
    ]
    copied = io.BytesIO()
    copy(io.BytesIO(b"".join(lines)), copied)
    assert copied.getvalue() == lines[0] + lines[3] + lines[4]


def test_standard_error_goes_through_the_filter_to_its_end() -> None:
    program = """
import os, sys
from deployments.observability.stderr_filter import filter_stderr
filter_stderr()
os.write(2, b"[09:07:14] /project/cpp/a.cc:12: Warning: SECRET\\nWARNING kept\\n")
print("ERROR kept", file=sys.stderr, flush=True)
os.abort()
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert ended.returncode == -signal.SIGABRT
    assert ended.stderr == b"WARNING kept\nERROR kept\n"


def test_records_of_vllm_quote_no_request() -> None:
    shown: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: shown.append(handler.format(record))  # type: ignore[method-assign]
    handler.addFilter(QuoteNoRequest())
    serving = logging.getLogger("vllm.entrypoints.test")
    grammars = logging.getLogger("vllm.v1.structured_output.test")
    for source in (serving, grammars):
        source.addHandler(handler)
        source.propagate = False
    try:
        int("SECRET")
    except ValueError as error:
        serving.exception("Error of %s", "chatcmpl-1f")
        serving.error("failed: %s", error)
    grammars.warning("LLMatcher error: %s", "SECRET")
    serving.warning("waited %d s", 3)
    assert shown[0].startswith(f"Error of chatcmpl-1f: ValueError in {__name__}, line ")
    assert shown[1:] == ["failed: (ValueError)", "LLMatcher error: (str)", "waited 3 s"]
