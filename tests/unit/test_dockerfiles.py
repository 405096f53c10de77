"""The Dockerfiles, as far as that can be said without an engine that builds them."""

from __future__ import annotations

import fnmatch
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

FILES = sorted((ROOT / "configs/docker").glob("*.Dockerfile"))
COPY = re.compile(r"^COPY (?!--from)(\S+) \S+$", re.MULTILINE)


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def dockerfile(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def test_both_are_there() -> None:
    assert [path.stem for path in FILES] == ["cpu", "gpu"]


def test_the_linter_has_nothing_to_say(dockerfile: Path) -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, dockerfile], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_what_is_copied_is_in_the_repository_and_in_the_context(dockerfile: Path) -> None:
    sources = COPY.findall(dockerfile.read_text())
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    kept = [line.removeprefix("!") for line in ignored if line.startswith("!")]
    assert {"serve_app", "deployments"} <= set(sources)
    for source in sources:
        assert list(ROOT.glob(source)), source
        assert any(fnmatch.fnmatch(source, f"{name}*") for name in kept), source


def test_health_is_asked_for_by_get(dockerfile: Path) -> None:
    # --spider would send HEAD, which neither answers but with 405.
    check = dockerfile.read_text().partition("HEALTHCHECK")[2]
    assert "/health" in check or "_healthz" in check
    assert "--output-document=/dev/null" in check
    assert "--spider" not in check
