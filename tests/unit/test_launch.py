"""Where the service listens can be said at its start."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from serve_app.check import check
from serve_app.launch.start import StartError, moved, service_url

ROOT = Path(__file__).parents[2]
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
    assert written == shipped() | {"http_options": options}
    assert check(path.read_text(), str(path)).problems == []


def test_a_host_for_others_needs_keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("GENSERVE_API_KEYS", raising=False)
    with pytest.raises(StartError, match=r"--host 0\.0\.0\.0.*GENSERVE_API_KEYS"):
        moved(shipped(), "0.0.0.0", None, tmp_path)
    assert list(tmp_path.iterdir()) == []


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
    found = service_url({"http_options": {"host": host, "port": 9000}})
    assert found == url
    assert urlsplit(found).port == 9000
