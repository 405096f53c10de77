"""What is measured is started whole, counted whole, and stopped whole."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.support.processes import Command, StartError, cpu_times, free_port, started

SERVER = """
import http.server, signal, subprocess, sys
subprocess.Popen([sys.executable, "-c", "while True: pass"])
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def test_a_system_is_counted_and_stopped_with_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.support.processes._STOP_TIMEOUT_S", 5.0)
    monkeypatch.setattr("tests.support.processes._KILL_TIMEOUT_S", 0.5)
    port = free_port()
    args = (sys.executable, "-c", SERVER, str(port))
    command = Command(args, f"http://127.0.0.1:{port}/")
    with started(command, tmp_path / "log") as process:
        tree = [process, *process.children(recursive=True)]
        assert len(tree) == 2
        before, deadline = cpu_times(process), time.monotonic() + 20
        while sum(cpu_times(process).since(before).values()) < 0.1:  # only the child works
            assert time.monotonic() < deadline
            time.sleep(0.02)
    assert not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in tree)


def test_a_system_that_does_not_start_says_why(tmp_path: Path) -> None:
    args = (sys.executable, "-c", "raise SystemExit('no model')")
    command = Command(args, f"http://127.0.0.1:{free_port()}/")
    with pytest.raises(StartError, match="no model"), started(command, tmp_path / "log"):
        pass
