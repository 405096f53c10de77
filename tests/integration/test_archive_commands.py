"""`genserve export` and `genserve import` at a service that breaks connections off."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve_app.command import main
from serve_app.testing import Fakes
from tests.integration.page.fake_service import FakeService, served
from tests.support.api_keys import ALICE, KEYS

DOCUMENTS = 30


class BreaksOff:
    """ASGI middleware that breaks off each response after so many bytes, as long as there are."""

    def __init__(self, app: ASGIApp, after_bytes: list[int]) -> None:
        self._app = app
        self._after_bytes = after_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].endswith("/export"):
            await self._app(scope, receive, send)
            return
        left = self._after_bytes.pop(0) if self._after_bytes else None

        async def counted(message: Message) -> None:
            nonlocal left
            if left is not None and message["type"] == "http.response.body":
                left -= len(message.get("body", b""))
                if left < 0:
                    raise ConnectionError
            await send(message)

        await self._app(scope, receive, counted)


@dataclass
class BreakingFakes(Fakes):
    """Fakes whose exports break off."""

    after_bytes: list[int] = field(default_factory=list)

    def app(self, **changes: object) -> FastAPI:
        app = super().app(**changes)
        app.add_middleware(BreaksOff, after_bytes=self.after_bytes)
        return app


@pytest.fixture
def breaking(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeService]:
    fakes = BreakingFakes(api_keys=KEYS)
    fakes.jobs.runs = True
    monkeypatch.setattr("serve_app.service_client._PAUSE_S", 0.001)
    with served(fakes) as service:
        monkeypatch.setenv("GENSERVE_URL", f"{service.url}/v1")
        monkeypatch.setenv("GENSERVE_API_KEY", ALICE)
        yield service


def client(service: FakeService) -> httpx.Client:
    return httpx.Client(base_url=service.url, headers={"authorization": f"Bearer {ALICE}"})


def test_an_export_goes_on_and_is_imported_once(
    breaking: FakeService, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with client(breaking) as http:
        for number in range(DOCUMENTS):
            text = f"Snow is white {number}.\n\n" * 50
            assert http.post("/upload", files={"file": (f"{number}.txt", text)}).is_success
        whole = http.get("/v1/vector_stores/default/export", params={"vectors": True}).content

        fakes = breaking.fakes
        assert isinstance(fakes, BreakingFakes)
        file, part = tmp_path / "one.tar", tmp_path / "one.tar.part"
        export = ["export", "--output", str(file), "--vectors"]
        fakes.after_bytes += [100, 30_000, 2_000] + [0] * 10  # the command gives up
        assert main(export) == 1
        assert "broke off" in capsys.readouterr().out
        assert part.exists()
        assert not file.exists()
        fakes.after_bytes[:] = [40_000, 40_000]
        assert main(export) == 0
        assert f"exported {DOCUMENTS} documents" in capsys.readouterr().out
        assert not part.exists()
        # But the time of the export, both are the same.
        assert file.stat().st_size == len(whole)
        assert file.read_bytes()[2048:] == whole[2048:]
        assert main(export) == 1
        assert "exists already" in capsys.readouterr().out

        for _ in range(2):  # the second one finds the first
            assert main(["import", str(file), "--name", "a copy"]) == 0
            assert f"imported {DOCUMENTS} documents as vs_" in capsys.readouterr().out
        stores = http.get("/v1/vector_stores").json()["data"]
        (copy,) = [store for store in stores if store["name"] == "a copy"]
        assert copy["file_counts"]["completed"] == DOCUMENTS
        http.delete(f"/v1/vector_stores/{copy['id']}")
        assert main(["import", str(file), "--name", "a copy"]) == 0  # it has been deleted since


def test_the_commands_say_what_is_wrong(
    breaking: FakeService,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = tmp_path / "bad.tar"
    assert main(["export", "--output", str(file), "--store", "vs_unknown"]) == 1
    assert "no collection" in capsys.readouterr().out
    file.write_bytes(b"%PDF-1.7 " + bytes(5000))
    assert main(["import", str(file)]) == 1
    assert "not a tar file" in capsys.readouterr().out
    assert main(["import", str(tmp_path / "missing.tar")]) == 1
    assert "missing.tar" in capsys.readouterr().out
    monkeypatch.setenv("GENSERVE_API_KEY", "wrong")
    assert main(["export", "--output", str(tmp_path / "x.tar")]) == 1
    assert "API key is not known" in capsys.readouterr().out
    assert main(["export", "--output", str(tmp_path / "y.tar"), "--url", "ftp://x"]) == 1
    assert "not an address" in capsys.readouterr().out
    assert not list(tmp_path.glob("?.tar"))
