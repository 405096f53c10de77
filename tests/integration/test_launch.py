"""What the launcher prints is true of the service that it started."""

from __future__ import annotations

import os
import stat
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from tests.support.service import Service, ray_session

PRINTED_WITHIN_S = 60  # the launcher looks once a second whether the service is ready


@pytest.fixture
def printed(service: Service) -> list[str]:
    """The lines at the terminal once the launcher has said what to try."""
    end = time.monotonic() + PRINTED_WITHIN_S
    while "Ctrl-C stops everything." not in (text := service.output.read_text()):
        assert time.monotonic() < end, text
        time.sleep(0.2)
    return [line.strip() for line in text.splitlines()]


def test_the_status_command_that_is_printed_works_anywhere(printed: list[str]) -> None:
    (command,) = (line for line in printed if line.endswith(" status"))

    done = subprocess.run(
        ["sh", "-c", command],
        cwd="/",
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert yaml.safe_load(done.stdout)["applications"]["genserve"]["status"] == "RUNNING"


def test_its_ray_is_its_own_and_found_from_the_data_folder(
    service: Service, printed: list[str]
) -> None:
    ray = Path(service.settings["data_dir"], "ray")
    session = ray_session(service.processes())

    assert (ray / "session_latest").samefile(session)
    assert (ray / "session_latest" / "logs" / "serve").is_dir()
    assert stat.S_IMODE(session.parents[1].stat().st_mode) == 0o700
    assert (session / "sockets" / "raylet").is_socket()
    assert f"Logs of the replicas: {ray}/session_latest/logs/serve" in printed


def test_nothing_that_it_keeps_is_readable_by_other_users(service: Service) -> None:
    """Data, logs and sockets; links have no mode of their own."""
    data = Path(service.settings["data_dir"])
    for folder in (data, ray_session(service.processes()).parents[1]):
        done = subprocess.run(
            ["find", folder, "!", "-type", "l", "-perm", "/077", "-printf", "%M %p\n"],
            capture_output=True,
            text=True,
            check=False,  # a file may be deleted meanwhile
        )
        assert done.stdout == ""
