"""A backup of a real service under the load of all clients, restored and compared."""

from __future__ import annotations

import copy
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from deployments.retriever import points
from deployments.retriever.edge.index import Index
from tests.support.document_clients import Shelf
from tests.support.faults import Node
from tests.support.job_clients import ENDED, IMAGES, Acknowledged, Clients, Ledger
from tests.support.kill_scenario import Plan, command_for
from tests.support.paths import ROOT

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]

BEFORE_S, AFTER_S = 45.0, 10.0
DRAIN_S = 600.0
CLIENTS = 5


def genserve(*arguments: str | Path) -> str:
    command = [sys.executable, "-m", "serve_app.command", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def copied(ledger: Ledger) -> Ledger:
    """Return what was acknowledged until now."""
    with ledger._lock:
        jobs = {name: replace(job) for name, job in ledger.jobs.items()}
        found = Ledger(jobs=jobs)
        found.shelves.all = copy.deepcopy(ledger.shelves.all)
        found.shelves.deleted = set(ledger.shelves.deleted)
        return found


def test_what_was_acknowledged_before_a_backup_answers_after_its_restore(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    command = command_for(Plan(chat=False), first)
    config, ledger = Path(command.args[-1]), Ledger()
    node = Node(command, first)
    node.start()
    try:
        with Clients(node.url, ledger, count=CLIENTS, seed=7) as clients:
            time.sleep(BEFORE_S)
            promised = copied(ledger)
            began = time.monotonic()
            print(genserve("backup", config, "--output", tmp_path / "backup"))  # noqa: T201
            took_s = time.monotonic() - began
            meanwhile = len(ledger.jobs) - len(promised.jobs)
            time.sleep(AFTER_S)
            # A second one into the same folder is restored.
            promised_again = copied(ledger)
            print(genserve("backup", config, "--output", tmp_path / "backup"))  # noqa: T201
            clients.drain(DRAIN_S)
    finally:
        node.stop()
    assert ledger.lies == []
    assert ledger.down == {}, "a request failed while the backup was taken"
    print(f"{len(promised.jobs)} jobs before, {meanwhile} in the {took_s:.0f} s of the backup")  # noqa: T201
    assert meanwhile > 0

    document = yaml.safe_load(config.read_text())
    data = second / "data"
    document["applications"][0]["args"] |= {"data_dir": str(data)}
    restored = second / config.name
    restored.write_text(yaml.safe_dump(document))
    print(genserve("restore", tmp_path / "backup", restored))  # noqa: T201
    again = Node(replace(command, args=(*command.args[:-1], str(restored))), second)
    again.start()
    try:
        with httpx.Client(base_url=again.url, timeout=60, trust_env=False) as http:
            listed = check(http, promised_again, ledger)
    finally:
        again.stop()
    check_points(data, listed)


def check(http: httpx.Client, promised: Ledger, later: Ledger) -> dict[str, dict[str, Any]]:
    """Ask for what was promised; return the documents that are listed."""
    looked_at = sum(check_job(http, job, later) for job in promised.jobs.values())
    for document_id in promised.shelves.deleted:
        assert http.get(f"/v1/documents/{document_id}").status_code == 404
    for shelf in promised.shelves.all.values():
        looked_at += check_shelf(http, shelf, later)
    assert looked_at > 0
    listed: dict[str, dict[str, Any]] = {}
    after = ""
    while True:
        page = http.get(f"/v1/documents?limit=100{after}").raise_for_status().json()
        listed |= {one["id"]: one for one in page["data"]}
        if not page["has_more"]:
            break
        after = f"&after={page['next_after']}"
    succeeded = {
        job.document_id
        for job in promised.jobs.values()
        if job.document_id and job.status == "succeeded"
    }
    assert succeeded - later.shelves.deleted <= set(listed)
    return listed


def check_job(http: httpx.Client, job: Acknowledged, later: Ledger) -> int:
    """Wait for the end of a job; return how many pictures it has made."""
    end = time.monotonic() + DRAIN_S
    while (told := http.get(f"/v1/jobs/{job.job_id}").raise_for_status().json())[
        "status"
    ] not in ENDED:
        assert time.monotonic() < end, told
        time.sleep(0.5)
    if job.status in ENDED:
        assert told["status"] == job.status, told
    elif told["status"] == "failed":  # as it has in the installation that was backed up
        assert later.jobs[job.job_id].status == "failed", told
    if job.kind != IMAGES or told["status"] != "succeeded":
        return 0
    for number in range(job.pictures):
        picture = http.get(f"/v1/images/{job.job_id}/{number}.png")
        assert picture.content.startswith(b"\x89PNG"), job.job_id
    return job.pictures


def check_shelf(http: httpx.Client, shelf: Shelf, later: Ledger) -> int:
    """Ask for the document and the vector store of a client; return how many were found."""
    found = 0
    # Its deletion may have come after it was noted here, and before the database was copied.
    if shelf.version and shelf.document_id not in later.shelves.deleted:
        document = http.get(f"/v1/documents/{shelf.document_id}").raise_for_status().json()
        assert document["version"] >= shelf.version
        found += 1
    for file, attributes in shelf.attributes.items():
        filters = {"type": "eq", "key": "batch", "value": attributes["batch"]}
        body = {"query": "note", "max_num_results": 50, "filters": filters}
        answer = http.post(f"/v1/vector_stores/{shelf.store}/search", json=body)
        assert file in {one["file_id"] for one in answer.raise_for_status().json()["data"]}
        assert http.get(f"/v1/files/{file}/content").content.startswith(b"note ")
        found += 1
    return found


def check_points(data: Path, listed: dict[str, dict[str, Any]]) -> None:
    """Read all points: those of the current version of each document are whole."""
    numbers: dict[tuple[str, int], set[int]] = {}
    for folder in (data / "vectors" / "indexes").iterdir():
        index = Index(folder)
        after: str | None = None
        while records := index.shard.read(1001, after):
            for record in records[:1000]:
                payload = record.payload or {}
                if points.is_published(payload, payload[points.COLLECTION]):
                    key = payload[points.DOCUMENT_ID], int(payload[points.VERSION])
                    numbers.setdefault(key, set()).add(payload["number"])
            if len(records) <= 1000:
                break
            after = str(records[1000].id)
        index.close()
    for document_id, one in listed.items():
        found = numbers[document_id, one["version"]]
        assert found == set(range(one["chunks"])), document_id
