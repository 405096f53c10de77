"""A server process that a test may kill and start again."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 20.0
_POLL_S = 0.05


class Daemon:
    """Holds the process that a subclass starts."""

    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, or start it again."""
        raise NotImplementedError

    def stop(self) -> None:
        """End it, if it runs."""
        self.kill()

    def spawn(
        self,
        command: Sequence[str | Path],
        log: Path,
        connect: Callable[[], object],
        unready: type[Exception] = OSError,
        **options: Any,
    ) -> None:
        """Start a command, and return when `connect` no longer raises `unready`.

        Raises RuntimeError, with the log, if it ends or is not ready in time.
        """
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is pytest's
                **options,
            )
        end = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < end and self.process.poll() is None:
            try:
                connect()
            except unready:
                time.sleep(_POLL_S)
            else:
                return
        msg = f"{command[0]} did not start:\n{log.read_text(errors='replace')}"
        raise RuntimeError(msg)

    def kill(self) -> None:
        """Kill it, if it runs, and wait for its end."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(_STOP_TIMEOUT_S)
            self.process = None


D = TypeVar("D", bound=Daemon)


@contextlib.contextmanager
def running(make: Callable[[Path], D]) -> Iterator[D]:
    """Run what is made in a folder of its own while the block lasts.

    The folder is directly below the temporary one: pytest's are closed to other users.
    """
    with tempfile.TemporaryDirectory(prefix="genserve-") as folder:
        daemon = make(Path(folder))
        try:
            daemon.start()
            yield daemon
        finally:
            daemon.stop()
