"""Run a Jobs replica as a process of its own, to be killed or stopped.

It submits some image jobs, prints their ids as one line of JSON, and works until it is ended. All
replicas of a folder write each image to one log, when it is begun and when it is made. The second
image of every job waits until the file `gate` exists.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import astuple, replace
from pathlib import Path

from deployments.jobs.leases import LEASE_TIMES, LeaseTimes
from deployments.types import ImageProgress, ImageRequest
from tests.support.job_engine import PICTURES, Images, running
from tests.support.paths import ROOT

SEEDS_OF_A_JOB = 10
GATED = PICTURES.seed + 1
SHORT_LEASE = LeaseTimes(heartbeat_s=0.3, deadline_s=3, expiry_s=5)
LONG_LEASE = LeaseTimes(heartbeat_s=0.3, deadline_s=300, expiry_s=600)
_LIFETIME_S = 300


class LoggedImages(Images):
    """Log every image; hold the second one of each job at the gate."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    async def generate(self, request: ImageRequest) -> AsyncGenerator[ImageProgress, None]:
        self._log("begun", request.seed)
        yield ImageProgress(1, request.steps)
        while request.seed % SEEDS_OF_A_JOB == GATED and not (self._folder / "gate").exists():
            await asyncio.sleep(0.05)
            yield ImageProgress(1, request.steps)
        self._log("made", request.seed)
        yield ImageProgress(request.steps, request.steps, b"png")

    def _log(self, event: str, seed: int) -> None:
        with (self._folder / "images.log").open("a") as log:
            log.write(f"{event} {seed}\n")


class Replica:
    """A replica's process."""

    def __init__(self, url: str, folder: Path, jobs: int, times: LeaseTimes) -> None:
        seconds = [str(second) for second in astuple(times)]
        command = [sys.executable, "-m", __spec__.name, url, str(folder), str(jobs), *seconds]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)

    def jobs(self) -> list[str]:
        """Return the ids of its jobs, once it works on the queues."""
        assert self.process.stdout is not None
        ids: list[str] = json.loads(self.process.stdout.readline())
        return ids

    def end(self, number: int = signal.SIGKILL) -> None:
        self.process.send_signal(number)
        assert self.process.stdout is not None
        with self.process.stdout:
            self.process.wait(30)


@contextlib.contextmanager
def replica(
    url: str, folder: Path, jobs: int = 0, times: LeaseTimes = LEASE_TIMES
) -> Iterator[Replica]:
    """Start a replica, which ends with the block at the latest."""
    running = Replica(url, folder, jobs, times)
    try:
        yield running
    finally:
        if running.process.returncode is None:
            running.end()


def logged(folder: Path, event: str) -> Counter[int]:
    """Count how often the image of each seed was begun, or made."""
    log = folder / "images.log"
    lines = log.read_text().split("\n") if log.exists() else []
    return Counter(int(line.split()[1]) for line in lines if line.startswith(event))


async def until(done: Callable[[], bool], timeout_s: float = 60.0) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(timeout_s):
        while not done():
            await asyncio.sleep(0.1)


async def main(url: str, folder: Path, jobs: int, times: LeaseTimes) -> None:
    async with running(url, folder, images=LoggedImages(folder), lease_times=times) as parts:
        ids = []
        for number in range(jobs):
            spec = replace(PICTURES, seed=SEEDS_OF_A_JOB * number + PICTURES.seed)
            ids.append((await parts.submissions.images(spec, None)).job.id)
        sys.stdout.write(json.dumps(ids) + "\n")
        sys.stdout.flush()
        ended = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), _LIFETIME_S)


if __name__ == "__main__":
    seconds = [float(second) for second in sys.argv[4:]]
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), LeaseTimes(*seconds)))
