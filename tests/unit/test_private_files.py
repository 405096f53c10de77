"""Folders of the service are closed to the other users of a machine."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments.private_files import make_private
from tests.support.paths import ROOT


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    """As most users have it."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_folder_is_private(tmp_path: Path) -> None:
    make_private(tmp_path / "a" / "data")
    assert mode(tmp_path / "a" / "data") == 0o700


def test_an_open_folder_is_closed_with_everything_in_it(tmp_path: Path) -> None:
    data, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    (data / "files").mkdir(parents=True)
    (data / "files" / "program").touch(mode=0o755)
    elsewhere.mkdir()
    (data / "link").symlink_to(elsewhere)
    (data / "dangling").symlink_to("nowhere")
    make_private(data)
    assert mode(data) == mode(data / "files") == 0o700
    assert mode(data / "files" / "program") == 0o700
    assert mode(elsewhere) == 0o755
    make_private(data)


def test_a_folder_behind_a_link_is_closed(tmp_path: Path) -> None:
    data, link = tmp_path / "data", tmp_path / "link"
    data.mkdir()
    link.symlink_to(data)
    make_private(link)
    assert mode(data) == 0o700


def test_a_folder_that_all_users_share_stays_as_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    make_private(tmp_path)
    assert mode(tmp_path) == 0o777 | stat.S_ISVTX


def test_the_environment_of_nodes_makes_a_private_folder_for_ray(tmp_path: Path) -> None:
    folder = tmp_path / "ray"
    folder.mkdir()
    script = "set -a; . configs/ray.env; set +a; umask; env"
    done = subprocess.run(
        ["sh", "-euc", script],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "RAY_TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[0] == "0077"
    assert f"RAY_TMPDIR={folder}" in done.stdout.splitlines()
    assert mode(folder) == 0o700


def test_a_folder_that_is_not_of_this_user_alone_is_not_used_for_ray(tmp_path: Path) -> None:
    shared, link = tmp_path / "shared", tmp_path / "link"
    shared.mkdir()
    shared.chmod(0o1777)
    link.symlink_to(tmp_path)
    for folder in (shared, link):
        done = subprocess.run(
            ["sh", "-c", "set -a; . configs/ray.env; set +a; env"],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "RAY_TMPDIR": str(folder)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert "not a folder of this user alone" in done.stderr
        assert "RAY_TMPDIR=/dev/null\n" in done.stdout
    assert mode(shared) == 0o1777
