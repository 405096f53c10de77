"""Starts the stand-in for a Qdrant server."""

from __future__ import annotations

import sys

from tests.support.processes import Command, free_port


def qdrant_stand_in() -> Command:
    """Return the command of a stand-in for a Qdrant server."""
    port = free_port()
    args = (sys.executable, "-m", "tests.support.qdrant_server", str(port))
    return Command(args, f"http://127.0.0.1:{port}")
