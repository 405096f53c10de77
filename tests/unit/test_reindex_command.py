"""The command `genserve reindex`, on an installation that does not run."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from deployments.catalogue.entries import Upload
from deployments.catalogue.opening import open_catalogue
from serve_app.reindex.command import main
from tests.support.shipped import CPU, edited, shipped


async def prepare(url: str) -> None:
    """Embed a document into two indexes."""
    catalogue = open_catalogue(url)
    upload = Upload("alice.papers", "a.txt", 9, "a", "job_1")
    document = (await catalogue.versions.begin(upload)).document
    await catalogue.collections.claim_index("alice.papers", {"old": "old model"})
    await catalogue.versions.complete(document)
    changes, loaded = catalogue.model_changes, {"old": "old model", "new": "new model"}
    await changes.begin("new", loaded, beside=True, automatic=False)
    change = await changes.latest()
    assert change is not None
    await changes.pair(change, list(loaded))
    await changes.mark(document, list(loaded))
    catalogue.close()


def test_an_operator_steers_a_change(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "cpu.yaml"
    data = tmp_path / "data"
    file.write_text(edited(shipped(CPU), "data_dir: .data", f"data_dir: {data}"))

    def run(*arguments: str) -> str:
        status = main([str(file), *arguments])
        captured = capsys.readouterr()
        said = captured.out + captured.err
        assert status == (1 if "error:" in said else 0)
        return said

    assert "no service has stored anything here" in run("status")
    data.mkdir()
    asyncio.run(prepare(f"sqlite:///{data / 'jobs.sqlite'}"))
    said = run("status")
    assert "change to new model: running; switched by command" in said
    assert "documents  1 of 1" in said
    assert "ready to switch" in said
    assert "switch first" in run("finish")
    assert "1 collections" in run("switch", "--collection", "papers", "--key", "alice")
    assert "go back first" in run("cancel")
    assert "switched   1 of 1 collections" in run(
        "status", "--collection", "papers", "--key", "alice"
    )
    assert "1 collections" in run("back")
    for action, state in (("pause", "paused"), ("resume", "running"), ("cancel", "cancelled")):
        assert f"change to new model: {state}" in run(action)
    assert "are being removed" in run("status")
    assert "no change" in run("switch")
    assert "running" in run("start")
    with pytest.raises(SystemExit):
        run("finish", "--collection", "papers", "--key", "alice")
    with pytest.raises(SystemExit):
        run("switch", "--collection", "papers")
