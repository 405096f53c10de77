"""Run a service that reads a ZIP file, as a process of its own that can be killed.

With the path of a ZIP file it uploads it, and prints the id of its job as a line. It works until it
is ended.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tests.support.api_keys import ALICE
from tests.support.job_replica import SHORT_LEASE
from tests.support.whole_service import whole_service

_LIFETIME_S = 300


async def main(url: str, folder: Path, archive: bytes) -> None:
    async with (
        whole_service(url, folder, lease_times=SHORT_LEASE) as service,
        service.client(ALICE) as http,
    ):
        job_id = ""
        if archive:
            answer = await http.post("/upload", files={"file": ("all.zip", archive)})
            job_id = answer.json()["job_id"]
        sys.stdout.write(job_id + "\n")
        sys.stdout.flush()
        await asyncio.sleep(_LIFETIME_S)


if __name__ == "__main__":
    uploaded = b"".join(Path(path).read_bytes() for path in sys.argv[3:])
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), uploaded))
