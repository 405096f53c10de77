"""Run a service that imports an archive, as a process of its own that can be killed.

It prints the id of the job as a line, and works until it is ended.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tests.support.api_keys import ALICE
from tests.support.collection_archives import begun
from tests.support.job_replica import SHORT_LEASE
from tests.support.whole_service import whole_service

_LIFETIME_S = 300


async def main(url: str, folder: Path, archive: bytes) -> None:
    async with (
        whole_service(url, folder, lease_times=SHORT_LEASE) as service,
        service.client(ALICE) as http,
    ):
        answer = await begun(http, archive)
        sys.stdout.write(answer.json()["job_id"] + "\n")
        sys.stdout.flush()
        await asyncio.sleep(_LIFETIME_S)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]).read_bytes()))
