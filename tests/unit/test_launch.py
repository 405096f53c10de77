"""The launcher: where the service listens, and what it tells the terminal."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from deployments.settings import RendererSettings
from serve_app.check import check
from serve_app.launch.configuration import (
    moved,
    require_free_port,
    require_keys,
    service_url,
    settings,
)
from serve_app.launch.javascript import scripts_line
from serve_app.launch.progress import StartError
from serve_app.launch.start import status_command
from tests.support.paths import ROOT

KEYS = "alice:" + "k" * 20


def shipped() -> dict[str, object]:
    document: dict[str, object] = yaml.safe_load((ROOT / "configs/cpu.yaml").read_text())
    return document


@pytest.mark.parametrize(
    ("host", "port", "options"),
    [
        ("0.0.0.0", None, {"host": "0.0.0.0", "port": 8000}),
        (None, 9000, {"host": "127.0.0.1", "port": 9000}),
        ("::1", 9000, {"host": "::1", "port": 9000}),
    ],
)
def test_host_and_port_are_changed_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    host: str | None,
    port: int | None,
    options: dict[str, object],
) -> None:
    monkeypatch.setenv("GENSERVE_API_KEYS", KEYS)
    path = Path(moved(shipped(), host, port, tmp_path / "data"))
    written = yaml.safe_load(path.read_text())
    assert written == shipped() | {"http_options": {"root_path": "", **options}}
    assert check(path.read_text(), str(path)).problems == []


def test_a_host_for_others_needs_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GENSERVE_API_KEYS", raising=False)
    with pytest.raises(StartError, match=r"--host 0\.0\.0\.0.*GENSERVE_API_KEYS"):
        require_keys("0.0.0.0")
    require_keys("127.0.0.1")
    monkeypatch.setenv("GENSERVE_API_KEYS", KEYS)
    require_keys("0.0.0.0")


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:9000"),
        ("0.0.0.0", "http://127.0.0.1:9000"),
        ("::", "http://127.0.0.1:9000"),
        ("::1", "http://[::1]:9000"),
    ],
)
def test_what_is_opened_in_a_browser_is_an_address(host: str, url: str) -> None:
    # Serve takes requests without the prefix, which the reverse proxy removes.
    found = service_url({"http_options": {"host": host, "port": 9000, "root_path": "/genserve"}})
    assert found == url
    assert urlsplit(found).port == 9000


def test_a_port_that_is_taken_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        document = {"http_options": {"host": "127.0.0.1", "port": port}}
        with pytest.raises(StartError, match=f"port {port} is taken.*--port"):
            require_free_port(document)
        with pytest.raises(StartError, match=f"port {port} is taken"):
            require_free_port({"http_options": {"port": port}})  # every address, this one too
    require_free_port(document)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"host": "192.0.2.1"}, "cannot listen on 192.0.2.1, port 8000: "),
        ({"host": "127.0.0.1", "port": 99999}, "port 99999: must be a number from 1 to 65535"),
    ],
)
def test_an_address_that_is_none_is_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(StartError, match=said):
        require_free_port({"http_options": options})


def test_the_status_command_survives_a_shell(tmp_path: Path) -> None:
    token = tmp_path / "a folder" / "ray_token"
    command = status_command(token, "http://127.0.0.1:8266")
    assert shlex.split(command)[:3] == [
        "RAY_AUTH_MODE=token",
        f"RAY_AUTH_TOKEN_PATH={token}",
        "RAY_DASHBOARD_ADDRESS=http://127.0.0.1:8266",
    ]


def test_prometheus_finds_the_metrics_of_make_serve() -> None:
    """The first path of the shipped file is that of the shipped configuration, by data_dir."""
    folder = ROOT / "configs" / "monitoring"
    scraped = yaml.safe_load((folder / "prometheus.yml").read_text())["scrape_configs"]
    first = scraped[0]["file_sd_configs"][0]["files"][0]
    data_dir = (
        ROOT
        / yaml.safe_load((ROOT / "configs/cpu.yaml").read_text())["applications"][0]["args"][
            "data_dir"
        ]
    )
    wanted = data_dir / "ray" / "prom_metrics_service_discovery.json"
    assert os.path.normpath(folder / first) == str(wanted)


@pytest.mark.parametrize(
    ("prefix", "number", "stops"),
    [
        (["nohup"], signal.SIGHUP, False),
        (["env", "--default-signal=HUP"], signal.SIGHUP, True),
        (["nohup"], signal.SIGTERM, True),
        # What a shell without job control does to `command &`.
        (["sh", "-c", 'trap "" INT; exec "$@"', "sh"], signal.SIGINT, True),
    ],
)
def test_a_signal_stops_it_unless_nohup_ignores_that(
    prefix: list[str], number: signal.Signals, tmp_path: Path, *, stops: bool
) -> None:
    fifo = tmp_path / "config.yaml"  # nothing goes on before the test writes
    os.mkfifo(fifo)
    with subprocess.Popen(
        [*prefix, sys.executable, "-m", "serve_app.launch", str(fifo)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as launcher:
        assert launcher.stdout is not None
        assert "checking" in launcher.stdout.readline()
        launcher.send_signal(number)
        if not stops:
            fifo.write_text("no configuration")
        out = launcher.stdout.read()
    assert ("stopping" in out) is stops
    assert launcher.returncode == (0 if stops else 1), out


def test_the_start_says_whether_pages_with_scripts_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = settings(shipped(), "configs/cpu.yaml")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "`renderer` is not set: there is no browser `chromium`" in scripts_line(app)
    (tmp_path / "chromium").touch(mode=0o755)
    assert f"`renderer` is not set: {tmp_path}/chromium is installed" in scripts_line(app)
    app = app.model_copy(update={"renderer": RendererSettings()})
    assert "are read with chromium." in scripts_line(app)
