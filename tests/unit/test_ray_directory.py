"""Each installation has a directory for its Ray, which nobody else can enter."""

from __future__ import annotations

import os
import shutil
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from serve_app.launch.progress import StartError
from serve_app.launch.ray_directory import ray_tmpdir, sweep

NEWEST = "session_2026-03-01_00-00-00_000000_4194304"


@pytest.fixture(autouse=True)
def parent(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the directories are made: a short path, as a person would name one."""
    path = Path(f"/tmp/t{os.getpid()}")  # noqa: S108 - short on purpose
    path.mkdir()
    monkeypatch.setenv("RAY_TMPDIR", str(path))
    yield path
    shutil.rmtree(path)


def test_two_installations_share_nothing(tmp_path: Path, parent: Path) -> None:
    first, second = ray_tmpdir(tmp_path / "first"), ray_tmpdir(tmp_path / "second")
    assert first != second
    assert {first.parent, second.parent} == {parent}
    assert ray_tmpdir(tmp_path / "first") == first
    assert stat.S_IMODE(first.stat().st_mode) == 0o700
    (first / "ray").mkdir()
    assert (tmp_path / "first" / "ray").samefile(first / "ray")


def test_its_sockets_have_paths_that_the_system_takes(tmp_path: Path) -> None:
    data_dir = tmp_path / ("deep/" * 30)
    sockets = ray_tmpdir(data_dir) / "ray" / NEWEST / "sockets"
    sockets.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(sockets / "dash_MetricsHead"))


def test_a_path_too_long_is_refused_if_asked_for_and_else_avoided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / ("deep/" * 20)))
    with pytest.raises(StartError, match=r"RAY_TMPDIR: .* is too long"):
        ray_tmpdir(tmp_path)
    monkeypatch.delenv("RAY_TMPDIR")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / ("deep/" * 20)))
    found = ray_tmpdir(tmp_path)
    assert found.parent == Path("/tmp")  # noqa: S108 - what is meant
    shutil.rmtree(found)


def test_a_directory_that_somebody_else_made_is_refused(tmp_path: Path) -> None:
    directory = ray_tmpdir(tmp_path)
    shutil.rmtree(directory)
    directory.symlink_to(tmp_path)
    with pytest.raises(StartError, match="not a directory of this user"):
        ray_tmpdir(tmp_path)


def test_a_directory_open_to_others_is_closed(tmp_path: Path) -> None:
    ray_tmpdir(tmp_path).chmod(0o777)
    assert stat.S_IMODE(ray_tmpdir(tmp_path).stat().st_mode) == 0o700


def test_ended_sessions_are_deleted_but_for_the_newest_two(tmp_path: Path) -> None:
    directory = ray_tmpdir(tmp_path)
    ray = directory / "ray"
    names = [f"session_2026-02-{day:02}_00-00-00_000000_{day}" for day in range(1, 6)]
    for name in [*names, NEWEST]:
        (ray / name / "sockets").mkdir(parents=True)
        (ray / name / "log").touch()
    (ray / "session_latest").symlink_to(ray / NEWEST)
    with socket.socket(socket.AF_UNIX) as raylet, socket.socket(socket.AF_UNIX) as ended:
        raylet.bind(str(ray / names[0] / "sockets" / "raylet"))
        raylet.listen()
        ended.bind(str(ray / names[1] / "sockets" / "raylet"))
        sweep(directory)
    left = {path.name for path in ray.iterdir()}
    assert left == {names[0], names[-1], NEWEST, "session_latest"}


def test_the_directory_of_a_deleted_installation_is_deleted(tmp_path: Path) -> None:
    left, running, deleted = (ray_tmpdir(tmp_path / name) for name in ("left", "running", "gone"))
    sockets = running / "ray" / NEWEST / "sockets"
    sockets.mkdir(parents=True)
    shutil.rmtree(tmp_path / "running")
    shutil.rmtree(tmp_path / "gone")
    with socket.socket(socket.AF_UNIX) as raylet:
        raylet.bind(str(sockets / "raylet"))
        raylet.listen()
        sweep(left)
        assert running.exists()
    assert left.exists()
    assert not deleted.exists()
