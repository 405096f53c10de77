"""The folder of a browser whose replica was killed is removed by the next one, and no other."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from deployments.renderer.browser_folder import browser_folder, remove_leftovers
from tests.support.paths import ROOT

_REPLICA = """
import time
from deployments.renderer.browser_folder import browser_folder
with browser_folder() as folder:
    (folder / "home" / "profile").write_text("of the browser")
    print(folder, flush=True)
    time.sleep(60)
"""


def aged(folder: Path) -> None:
    """Make a folder look as if it had been made an hour ago."""
    os.utime(folder, (time.time() - 3600,) * 2)


def test_only_the_folder_of_a_killed_replica_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    environment = os.environ | {"TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", _REPLICA], stdout=subprocess.PIPE, text=True, env=environment
    ) as replica:
        assert replica.stdout is not None
        left = Path(replica.stdout.readline().strip())
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        (elsewhere / "file").touch()
        link = tmp_path / "genserve-chromium-abcdefgh"
        link.symlink_to(elsewhere)
        (left / "home" / "link").symlink_to(elsewhere)
        other = tmp_path / "genserve-chromium-of-somebody"
        young = tmp_path / "genserve-chromium-12345678"
        for folder in (other, young):
            folder.mkdir()
        for folder in (left, elsewhere, other):
            aged(folder)
        remove_leftovers()
        assert (left / "home" / "profile").exists()  # its replica still runs
        replica.kill()
        replica.wait()
        assert left.exists()
        with browser_folder() as own:
            aged(own)
            remove_leftovers()
            assert own.exists()
        assert not left.exists()
        assert not own.exists()
        assert (elsewhere / "file").exists()
        assert link.is_symlink()
        assert other.exists()
        assert young.exists()
