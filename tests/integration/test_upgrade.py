"""Upgrade: the code of version 0.1.0 fills a data folder, and this code answers from it.

Both run as services, one after the other. The packages of version 0.1.0 are among those of today.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.support.jobs import job_ended
from tests.support.paths import ROOT
from tests.support.processes import Command, free_port, started
from tests.support.service import configuration

pytestmark = [pytest.mark.long, pytest.mark.timeout(1500)]

RELEASE = "0.1.0"
KEYS = {"alice": "alice-" + "a" * 32, "bob": "bob-" + "b" * 32}
MOVED_S = 60.0
TEXTS = {
    "lighthouse.md": "# The lighthouse\n\nThe lighthouse of Skagen was built in 1849 of red brick.",
    "ferry.txt": "In winter the ferry to Frederikshavn leaves at 09:10 and at 16:40.",
    "oven.txt": "Bread is baked in the village oven at 215 degrees, for forty minutes.",
}
QUESTIONS = {
    "lighthouse.md": ("When was the lighthouse built?", "1849"),
    "ferry.txt": ("When does the ferry leave in winter?", "09:10"),
    "oven.txt": ("How hot is the oven for bread?", "215"),
}
TIDE = b"High tide is at 04:12 on the first of May."


def code_of_the_release(folder: Path) -> Path:
    """Unpack the code of the release, by the commit that has described it first."""
    search = ["log", "--reverse", "--format=%H", f"-S## {RELEASE}", "--", "CHANGELOG.md"]
    commits = git(*search).decode().split()
    if not commits:
        pytest.fail(
            f"the history has no commit that released {RELEASE}: the clone is shallow, or no clone "
            "(`git fetch --unshallow`)"
        )
    with tarfile.open(fileobj=BytesIO(git("archive", commits[0]))) as archive:
        archive.extractall(folder, filter="data")
    assert f'version = "{RELEASE}"' in (folder / "pyproject.toml").read_text()
    return folder


def git(*arguments: str) -> bytes:
    command = ["git", *arguments]
    found = subprocess.run(command, cwd=ROOT, check=False, capture_output=True)
    if found.returncode:
        pytest.fail(f"{' '.join(command)}: {found.stderr.decode()}")
    return found.stdout


@contextmanager
def service(code: Path, config: Path, port: int) -> Iterator[dict[str, httpx.Client]]:
    """Run the service of some code; yield a client for each key."""
    url = f"http://127.0.0.1:{port}"
    env = {
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": str(code),
        "GENSERVE_API_KEYS": ",".join(f"{name}:{key}" for name, key in KEYS.items()),
    }
    args = sys.executable, "-m", "serve_app.launch", str(config)
    with started(Command(args, f"{url}/readyz", env, code), config.with_suffix(".log")):
        clients = {
            name: httpx.Client(
                base_url=url, headers={"authorization": f"Bearer {key}"}, timeout=120
            )
            for name, key in KEYS.items()
        }
        try:
            yield clients
        finally:
            for client in clients.values():
                client.close()


def fill(http: httpx.Client, name: str) -> dict[str, Any]:
    """Store something of every kind; return the answers of the service."""
    for file, text in TEXTS.items():
        collection = "kitchen" if file == "oven.txt" else "default"
        uploaded = http.post(
            "/upload",
            files={"file": (file, f"{text}\n\nNoted by {name}.".encode())},
            data={"collection": collection},
        )
        assert uploaded.is_success, uploaded.text
        assert job_ended(http, uploaded.json()["job_id"])["status"] == "succeeded"
    kept = [
        http.post(
            "/v1/files",
            files={"file": (f"{word}.txt", content)},
            data={"purpose": "assistants"},
        ).json()["id"]
        for word, content in (("tides", TIDE), ("alone", b"A file of its own."))
    ]
    store = http.post("/v1/vector_stores", json={"name": "Harbour", "metadata": {"of": name}})
    store_id = store.json()["id"]
    attached = http.post(f"/v1/vector_stores/{store_id}/files", json={"file_id": kept[0]})
    assert attached.is_success, attached.text
    end = time.monotonic() + 120
    path = f"/v1/vector_stores/{store_id}/files/{kept[0]}"
    while http.get(path).json()["status"] != "completed":
        assert time.monotonic() < end
        time.sleep(0.5)
    drawn = http.post(
        "/generate/image/background",
        json={"prompt": "a red circle", "steps": 2, "seed": 3, "size": "64x64"},
    ).json()
    assert job_ended(http, drawn["job_id"])["status"] == "succeeded"
    return {"store": store_id, "files": kept, "drawn": drawn["job_id"]} | listed(http)


def listed(http: httpx.Client) -> dict[str, Any]:
    """Ask for all lists, in the fields that both versions have."""
    documents = {
        (one["id"], one["filename"], one["size_bytes"], one["chunks"], collection)
        for collection in ("default", "kitchen")
        for one in http.get(f"/v1/documents?collection={collection}").json()["data"]
    }
    stores = {
        (one["id"], one["name"], one["file_counts"]["completed"])
        for one in http.get("/v1/vector_stores").json()["data"]
    }
    files = {
        (one["id"], one["filename"], one["bytes"]) for one in http.get("/v1/files").json()["data"]
    }
    jobs = {(one["id"], one["status"]) for one in http.get("/v1/jobs").json()["data"]}
    return {"documents": documents, "stores": stores, "listed files": files, "jobs": jobs}


def check(http: httpx.Client, name: str, before: dict[str, Any]) -> None:
    """Ask everything again."""
    now = listed(http)
    assert {part: now[part] for part in now} == {part: before[part] for part in now}
    for file, (question, fact) in QUESTIONS.items():
        collection = "kitchen" if file == "oven.txt" else "default"
        url = f"/v1/vector_stores/{collection}/search"
        first = http.post(url, json={"query": question}).raise_for_status().json()["data"][0]
        assert (first["filename"], fact in str(first["content"])) == (file, True)
        body = {
            "model": "genserve",
            "messages": [{"role": "user", "content": question}],
            "context": {"collection": collection, "web": False},
            "max_tokens": 16,
        }
        answer = http.post("/v1/chat/completions", json=body)
        assert answer.status_code == 200, answer.text
        assert fact in str(answer.json()["sources"][0])
    store = before["store"]
    found = http.post(f"/v1/vector_stores/{store}/search", json={"query": "When is high tide?"})
    assert "04:12" in str(found.json()["data"][0]["content"])
    assert http.get(f"/v1/vector_stores/{store}").json()["metadata"] == {"of": name}
    assert http.get(f"/v1/files/{before['files'][0]}/content").content == TIDE
    assert http.get(f"/v1/files/{before['files'][1]}/content").content == b"A file of its own."
    text = http.get(f"/v1/vector_stores/{store}/files/{before['files'][0]}/content")
    assert "04:12" in str(text.json())
    assert http.get(f"/v1/images/{before['drawn']}/0.png").content.startswith(b"\x89PNG")


def change(http: httpx.Client) -> None:
    """Replace and delete what version 0.1 has stored, and add to it."""
    newer = b"The lighthouse of Skagen was rebuilt in 1951."
    uploaded = http.post("/upload", files={"file": ("lighthouse.md", newer)}).json()
    assert uploaded["version"] == 2
    assert job_ended(http, uploaded["job_id"])["status"] == "succeeded"
    body = {"query": "When was the lighthouse built?"}
    found = http.post("/v1/vector_stores/default/search", json=body).json()["data"]
    assert "1951" in str(found)
    assert "1849" not in str(found)
    assert http.delete(f"/v1/documents/{uploaded['document_id']}").status_code == 204
    found = http.post("/v1/vector_stores/default/search", json=body).json()["data"]
    assert "1951" not in str(found)


def test_this_version_answers_from_the_data_of_the_release_before(tmp_path: Path) -> None:
    code = code_of_the_release(tmp_path / "release")
    config, document = configuration(tmp_path, 1)
    port = document["http_options"]["port"]
    # The release has the settings of its own file, and the same data.
    old = yaml.safe_load((code / "configs" / "cpu.yaml").read_text())
    old["http_options"]["port"] = free_port()
    old["applications"][0]["args"] |= {
        "data_dir": document["applications"][0]["args"]["data_dir"],
    }
    old["applications"][0]["args"]["limits"]["requests_per_minute"] = None
    old_config = tmp_path / "release.yaml"
    old_config.write_text(yaml.safe_dump(old))
    with service(code, old_config, old["http_options"]["port"]) as clients:
        before = {name: fill(http, name) for name, http in clients.items()}
    assert before["alice"]["documents"]
    for _ in range(2):  # a second start finds everything as the first has left it
        with service(ROOT, config, port) as clients:
            for name, http in clients.items():
                check(http, name, before[name])
    with service(ROOT, config, port) as clients:
        change(clients["alice"])
        check(clients["bob"], "bob", before["bob"])
