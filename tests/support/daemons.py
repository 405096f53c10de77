"""A server process that a test may kill and start again."""

from __future__ import annotations

import subprocess

_STOP_TIMEOUT_S = 20.0


class Daemon:
    """Holds the process that a subclass starts."""

    process: subprocess.Popen[bytes] | None = None

    def kill(self) -> None:
        """Kill it, if it runs, and wait for its end."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(_STOP_TIMEOUT_S)
            self.process = None
