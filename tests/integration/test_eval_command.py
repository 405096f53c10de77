"""`genserve eval`: over the routes with capabilities in memory, and of the real service."""

from __future__ import annotations

import asyncio
import json
import signal
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from deployments.errors import Unavailable
from serve_app.command import main
from serve_app.testing import Fakes
from tests.integration.page.fake_service import FakeService, served
from tests.support.api_keys import ALICE, KEYS
from tests.support.articles import DATA
from tests.support.service import Service

ARTICLES = 6
TOPICS = ("marmalade", "granite", "violins")


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeService]:
    fakes = Fakes(api_keys=KEYS)
    fakes.jobs.runs = True
    monkeypatch.setattr("serve_app.service_client._PAUSE_S", 0.001)
    monkeypatch.setattr("serve_app.evaluation.store._POLL_S", 0.05)
    with served(fakes) as running:
        monkeypatch.setenv("GENSERVE_URL", running.url)
        monkeypatch.setenv("GENSERVE_API_KEY", ALICE)
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "set"
    made.mkdir()
    rows: list[dict[str, Any]] = []
    for topic in TOPICS:
        (made / f"{topic}.md").write_text(f"All about {topic} is known.\n")
        asked = {"question": f"Who knows {topic}?", "answers": [f"about {topic}"]}
        rows.append(asked | {"document": f"{topic}.md"})
    (made / "image.bin").write_bytes(bytes(range(256)))  # refused
    (made / "questions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return made


def stores(fake: FakeService) -> list[dict[str, Any]]:
    headers = {"authorization": f"Bearer {ALICE}"}
    listed = httpx.get(f"{fake.url}/v1/vector_stores", headers=headers).json()["data"]
    return [one for one in listed if one["name"] == "evaluation: set"]


def test_eval_refuses_zip_files(
    fake: FakeService, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with zipfile.ZipFile(folder / "more.zip", "w") as archive:
        archive.writestr("flutes.md", "All about flutes is known.")
    assert main(["eval", str(folder), "--out", str(tmp_path / "out"), "--answers", "0"]) == 2
    assert "more.zip is a ZIP file: unpack it" in capsys.readouterr().out


def test_a_data_set_is_measured_compared_and_removed(
    fake: FakeService, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = ["eval", str(folder), "--out", str(out), "--answers", "2"]
    assert main([*command, "--at-least", "HIT@3=0.9", "--at-least", "mrr=0.9"]) == 0
    said = capsys.readouterr().out
    assert "1 documents could not be read" in said
    assert "not read: image.bin: " in said
    (result,) = out.glob("*.json")
    found = json.loads(result.read_text())
    assert found["summary"]["hit@1"] == found["summary"]["grounded"] == 1.0
    assert (found["answers"], found["documents"]) == (2, 3)
    assert result.with_suffix(".svg").read_text().startswith("<svg")

    (store,) = stores(fake)
    assert store["file_counts"]["completed"] == 3
    assert main([*command, "--answers", "0", "--against", str(result)]) == 0
    said = capsys.readouterr().out
    assert "has the documents already" in said
    assert "no clear change" in said
    assert [one["id"] for one in stores(fake)] == [store["id"]]

    assert main([*command, "--at-least", "hit@3=1.01"]) == 1
    assert "hit@3 is 1.0000, below 1.01" in capsys.readouterr().out
    assert main([*command, "--at-least", "recall@10=0.5"]) == 2
    assert "recall@10 was not measured; measured were hit@1" in capsys.readouterr().out
    assert main(["eval", str(folder), "--remove"]) == 0
    assert stores(fake) == []


def test_an_interrupted_run_is_resumed(
    fake: FakeService,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["eval", str(folder), "--out", str(tmp_path / "out"), "--answers", "0"]
    uploaded: list[str] = []

    async def interrupted(self: object, store: str, file: Any) -> str:
        if len(uploaded) == 1:
            signal.raise_signal(signal.SIGINT)  # Ctrl-C
            await asyncio.sleep(10)
        uploaded.append(file.name)
        return str(await upload(self, store, file))  # type: ignore[arg-type]

    from serve_app.evaluation.client import Client

    upload = Client.upload
    monkeypatch.setattr("serve_app.evaluation.store._UPLOADS", 1)
    monkeypatch.setattr(Client, "upload", interrupted)
    # It is ignored in a process that was started in the background.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert main(command) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert "the same command goes on" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(Client, "upload", upload)
    assert main(command) == 0
    (store,) = stores(fake)
    assert store["file_counts"]["completed"] == 3


def test_errors_that_prevent_a_measurement_are_reported(
    fake: FakeService,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["eval", str(folder), "--out", str(tmp_path / "out")]

    def said(*options: str) -> str:
        assert main([*command, *options]) == 2
        return capsys.readouterr().out

    assert "the service refuses the API key" in said("--key", "wrong")
    assert "start the service with `genserve serve FILE`" in said("--url", "http://127.0.0.1:9")
    assert "not an address like" in said("--url", "localhost:8000")
    assert "no.json cannot be read" in said("--against", str(tmp_path / "no.json"))
    # A language model that is away takes nothing from what was found.
    fake.fakes.llm.fail_at_start = Unavailable("the engine is away")
    monkeypatch.setattr("serve_app.evaluation.client.ATTEMPTS", 1)
    text = said()
    assert "answers were not measured: the engine is away" in text
    assert "hit@3        1.000" in text
    (folder / "questions.jsonl").unlink()
    assert "set is no data set: name a SQuAD file" in said()


def test_the_real_service_finds_and_grounds_nearly_every_answer(
    service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if not DATA.is_file():
        pytest.skip("a data set in SQuAD's form is missing: name one in GENSERVE_EVAL_DATA")
    squad = json.loads(DATA.read_text(encoding="utf-8"))
    few = tmp_path / "few.json"
    few.write_text(json.dumps({"data": squad["data"][:ARTICLES]}), encoding="utf-8")
    address = ["eval", str(few), "--url", service.url, "--key", service.key]
    least = ["--at-least", "hit@3=0.95", "--at-least", "grounded=1"]
    amount = ["--questions", "20", "--answers", "2", "--out", str(tmp_path / "out")]
    assert main([*address, *amount, *least]) == 0, capsys.readouterr().out
    (result,) = (tmp_path / "out").glob("*.json")
    found = json.loads(result.read_text())
    assert (found["documents"], len(found["questions"]), found["answers"]) == (ARTICLES, 20, 2)
    assert found["models"]["chat"] == service.model
    assert 0 < found["search"]["p50_s"] <= found["search"]["p99_s"] < found["answer"]["p99_s"]
    assert main([*address, "--remove"]) == 0
    assert "1 vector stores of few deleted" in capsys.readouterr().out
