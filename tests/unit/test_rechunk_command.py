"""The command `genserve rechunk`, on an installation that does not run."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from deployments.catalogue.clock import now_ms
from deployments.catalogue.entries import Upload
from deployments.catalogue.opening import open_catalogue
from serve_app.rechunk.command import main
from tests.support.shipped import CPU, edited, shipped


async def prepare(url: str) -> None:
    """Add a document that another chunker has cut, and begin the change."""
    catalogue = open_catalogue(url)
    upload = Upload("alice.papers", "a.txt", 9, "a", "job_1")
    document = (await catalogue.versions.begin(upload)).document
    await catalogue.versions.complete(replace(document, chunks=4, chunker="3.90"))
    await catalogue.chunker_changes.begin("3.120", now_ms())
    catalogue.close()


def test_an_operator_controls_a_change(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "cpu.yaml"
    data = tmp_path / "data"
    file.write_text(edited(shipped(CPU), "data_dir: .data", f"data_dir: {data}"))

    def run(action: str) -> str:
        status = main([str(file), action])
        captured = capsys.readouterr()
        said = captured.out + captured.err
        assert status == (1 if "error:" in said else 0)
        return said

    data.mkdir()
    url = f"sqlite:///{data / 'jobs.sqlite'}"
    open_catalogue(url).close()
    assert "no change of the chunker" in run("status")
    assert "were chunked by the chunker of the service" in run("pause")
    asyncio.run(prepare(url))
    said = run("status")
    assert "change to chunker 3.120: running" in said
    assert "documents  0 of 1" in said
    assert "chunks     0 of 4" in said
    for action, state in (("pause", "paused"), ("resume", "running"), ("cancel", "cancelled")):
        assert f"change to chunker 3.120: {state}" in run(action)
    assert "error: the change of the chunker is cancelled" in run("resume")
    assert "change to chunker 3.120: running" in run("start")
