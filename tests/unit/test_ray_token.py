"""The file of Ray's token is whole from the first moment, or is refused."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from serve_app.launch.progress import StartError
from serve_app.launch.ray_token import token_file


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)


def test_a_token_is_made_once_for_this_user_alone(tmp_path: Path) -> None:
    path = token_file(tmp_path / "data")
    token = path.read_text()
    assert len(token) == 64
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert token_file(tmp_path / "data").read_text() == token
    assert {each.name for each in path.parent.iterdir()} == {"ray_token", "ray_token.lock"}


def test_a_crash_while_it_is_written_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(_: int) -> None:
        raise OSError("the disk is full")

    with monkeypatch.context() as failing:
        failing.setattr(os, "fsync", crash)
        with pytest.raises(StartError, match="the disk is full"):
            token_file(tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == ["ray_token.lock"]
    assert len(token_file(tmp_path).read_text()) == 64


def test_starts_at_once_agree_on_one_token(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = {path.read_text() for path in pool.map(token_file, [tmp_path] * 8)}
    assert len(found) == 1


@pytest.mark.parametrize("held", ["", "\n", "0123"])
def test_what_is_no_token_is_replaced(
    held: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ray_token").write_text(held)
    assert len(token_file(tmp_path).read_text()) == 64
    assert f"{tmp_path / 'ray_token'} held no whole token" in capsys.readouterr().out


def test_a_file_of_others_is_refused_and_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = tmp_path / "shared"
    shared.touch()
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(shared))
    with pytest.raises(StartError, match=r"holds no token .*openssl rand -hex 32"):
        token_file(tmp_path / "data")
    assert shared.read_text() == ""
    shared.write_text("the token of a cluster\n")
    assert token_file(tmp_path / "data") == shared
