"""Without API keys the service is for its own machine: it refuses to be bound to more.

`test_real_serve` shows the same of an ingress that is deployed otherwise.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.support.paths import ROOT
from tests.support.processes import free_port

NO_KEYS = {name: value for name, value in os.environ.items() if name != "GENSERVE_API_KEYS"}


def run(*args: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *args],
        cwd=ROOT,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,  # others run beside it
        check=False,
    )


@pytest.mark.parametrize("by_option", [False, True])
def test_make_serve_refuses_before_anything_starts(tmp_path: Path, *, by_option: bool) -> None:
    document = yaml.safe_load((ROOT / "configs/cpu.yaml").read_text())
    models = ROOT / document["applications"][0]["args"]["data_dir"] / "models"
    models.mkdir(parents=True, exist_ok=True)
    (tmp_path / "models").symlink_to(models)  # converted once for all
    document["applications"][0]["args"]["data_dir"] = str(tmp_path)
    host = "127.0.0.1" if by_option else "0.0.0.0"
    document["http_options"] |= {"host": host, "port": free_port()}
    path = tmp_path / "open.yaml"
    path.write_text(yaml.safe_dump(document))
    options = ("--host", "0.0.0.0") if by_option else ()
    refused = run("-m", "serve_app.launch", str(path), *options, env=NO_KEYS)
    assert refused.returncode == 1
    assert ("--host" if by_option else "http_options.host") in refused.stdout
    assert "GENSERVE_API_KEYS" in refused.stdout
    assert "starting Ray" not in refused.stdout
