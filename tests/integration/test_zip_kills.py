"""Kills of the process that reads a ZIP file: no file is lost, and none is read twice."""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path

import pytest

from tests.support.api_keys import ALICE
from tests.support.archives import zip_file
from tests.support.job_clients import ENDED
from tests.support.job_replica import SHORT_LEASE
from tests.support.paths import ROOT
from tests.support.whole_service import whole_service

pytestmark = [pytest.mark.anyio, pytest.mark.long, pytest.mark.timeout(400)]

FILES = 150
KILLS = 4
BAD = 31
WORKS_S = 0.5, 2.5  # before it is killed


async def run_until_killed(after_s: float, *arguments: str) -> str:
    """Run a replica, kill it after a while, and return the line that it printed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.zip_replica", *arguments),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    line = (await process.stdout.readline()).decode().strip()
    await asyncio.sleep(after_s)
    process.kill()
    await process.wait()
    return line


async def test_a_zip_file_survives_kills(tmp_path: Path) -> None:
    draw = random.Random(17)  # noqa: S311 - when to kill
    url, folder = f"sqlite:///{tmp_path}/jobs.sqlite", tmp_path / "data"
    members = {f"f/{n}.txt": b"bad" if n == BAD else f"fact {n}" for n in range(FILES)}
    path = tmp_path / "all.zip"
    path.write_bytes(zip_file(members))
    job_id = await run_until_killed(draw.uniform(*WORKS_S), url, str(folder), str(path))
    for _ in range(KILLS - 1):
        after_s = SHORT_LEASE.expiry_s + draw.uniform(*WORKS_S)  # then it takes the jobs over
        await run_until_killed(after_s, url, str(folder))
    async with (
        whole_service(url, folder, lease_times=SHORT_LEASE) as service,
        service.client(ALICE) as http,
    ):
        done = (await http.get(f"/v1/jobs/{job_id}")).json()["progress"]["done"]
        print(f"\nafter {KILLS} kills {done} of {FILES} files were done")  # noqa: T201
        assert done < FILES
        async with asyncio.timeout(200):
            while (job := (await http.get(f"/v1/jobs/{job_id}")).json())["status"] not in ENDED:
                await asyncio.sleep(0.2)
        assert (job["status"], job["progress"]["done"]) == ("succeeded", FILES)
        assert (job["result"]["documents"], job["result"]["unchanged"]) == (FILES - 1, 0)
        assert [file["filename"] for file in job["result"]["unread_files"]] == [f"f/{BAD}.txt"]
        store = (await http.get("/v1/vector_stores/default")).json()
        none = {"in_progress": 0, "cancelled": 0}
        counts = none | {"completed": FILES - 1, "failed": 1, "total": FILES}
        assert store["file_counts"] == counts
        names: dict[str, int] = {}
        after = None
        while True:
            asked = {"limit": 100} | ({"after": after} if after else {})
            page = (await http.get("/v1/documents", params=asked)).json()
            names |= {one["filename"]: one["version"] for one in page["data"]}
            after = page["next_after"]
            if after is None:
                break
        assert names == {name: 1 for name in members if name != f"f/{BAD}.txt"}
        assert await service.parts.files.stored("uploads") == []
