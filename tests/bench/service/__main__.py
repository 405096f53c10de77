"""`python -m tests.bench.service SCENARIO ...`: the running service at rest and under work.

`memory` measures the memory of each deployment at rest; `uploads` and `images` measure what
background work costs other requests.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Iterator

from tests.bench import command
from tests.bench.report import Section
from tests.bench.service import images, memory, uploads
from tests.bench.systems import running_service

_SCENARIOS = {"memory": memory.measure, "uploads": uploads.measure, "images": images.measure}


def main() -> int:
    """Run the bench; return its exit status."""
    options = command.parser("tests.bench.service", __doc__)
    options.add_argument("scenarios", nargs="+", choices=_SCENARIOS)
    return command.run(options, measure, incidental=("scenarios",))


def measure(options: argparse.Namespace) -> Iterator[Section]:
    """Start the service and measure the wanted scenarios one after the other."""
    with running_service() as service:
        for name in options.scenarios:
            yield asyncio.run(_SCENARIOS[name](service, quick=options.quick))


if __name__ == "__main__":
    sys.exit(main())
