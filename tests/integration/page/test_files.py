"""The files of the page: sent with their policy and not twice, small, and nothing of others."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from starlette.testclient import TestClient

from serve_app.routes.page import PageFiles
from serve_app.testing import Fakes
from tests.integration.page.fake_service import FakeService
from tests.support.paths import ROOT

FOLDER = ROOT / "serve_app" / "page"
FILES = {path.relative_to(FOLDER).as_posix(): path for path in FOLDER.rglob("*") if path.is_file()}
MODULES = {name for name in FILES if name.endswith(".js")}
MAX_BYTES = 184_000
IMPORT = re.compile(r'(?:from|import) "(\.[^"]+)"')


@pytest.mark.parametrize("root_path", ["", "/genserve"])
def test_the_page_is_sent_with_its_policy_and_not_twice(
    serve: Callable[..., FakeService], root_path: str
) -> None:
    paths = {f"/page/{name}": path for name, path in FILES.items() if name != "index.html"}
    with httpx.Client(base_url=serve(root_path=root_path).url) as http:
        for url, path in {"/": FOLDER / "index.html", **paths}.items():
            answer = http.get(url)
            assert answer.status_code == 200, url
            assert answer.content == path.read_bytes()
            assert "default-src 'none'" in answer.headers["content-security-policy"]
            assert "require-trusted-types-for" in answer.headers["content-security-policy"]
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["cache-control"] == "no-cache"
            again = http.get(url, headers={"if-none-match": answer.headers["etag"]})
            assert (again.status_code, again.content) == (304, b"")
            head = http.head(url)
            assert (head.status_code, head.content) == (200, b"")


def test_an_upgrade_is_seen_although_size_and_time_are_the_same(tmp_path: Path) -> None:
    tags = []
    for content in ("one", "two"):
        file = tmp_path / content / "a.js"
        file.parent.mkdir()
        file.write_text(content)
        os.utime(file, (0, 0))
        tags.append(TestClient(PageFiles(directory=file.parent)).get("/a.js").headers["etag"])
    assert tags[0] != tags[1]


@pytest.mark.parametrize(
    "path",
    [
        "no.js",
        "..%2fapp.py",
        "%2e%2e/app.py",
        "chat/..%2f..%2fapp.py",
        "%2fetc/passwd",
        "%00",
        "chat/",
    ],
)
def test_nothing_else_is_sent(fake: FakeService, path: str) -> None:
    missing = httpx.get(f"{fake.url}/page/{path}")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "not_found")


def test_the_page_is_public_and_names_what_it_can_offer(serve: Callable[..., FakeService]) -> None:
    changes = {"answer": {"web": False}, "limits": {"max_upload_bytes": 5_000_000}}
    url = serve(Fakes(api_keys="tests:sk-0123456789abcdef0123456789abcdef"), **changes).url
    assert httpx.get(f"{url}/").status_code == 200
    offered = {"web": False, "documents": True, "max_upload_bytes": 5_000_000}
    assert httpx.get(f"{url}/page/capabilities").json() == offered
    assert httpx.get(f"{url}/v1/models").status_code == 401


def test_without_its_slash_the_root_path_leads_to_the_page(
    serve: Callable[..., FakeService],
) -> None:
    answer = httpx.get(serve(root_path="/genserve").url, follow_redirects=True)
    assert (answer.status_code, answer.url.path) == (200, "/genserve/")


def test_the_page_is_small_and_all_its_own() -> None:
    assert sum(path.stat().st_size for path in FILES.values()) < MAX_BYTES
    ours = re.compile(r"http://www\.w3\.org/2000/svg|https://example\.com")
    for name, path in FILES.items():
        text = path.read_text(encoding="utf-8")
        assert re.findall(r"https?://[a-z]", ours.sub("", text)) == [], name
        assert not re.search(r"innerHTML|insertAdjacent|document\.write|\beval\b", text), name
        # Below a root path a link to "/" would leave the service.
        assert not re.search(
            r"""(?:href|src|from|fetch\(|request\(|fetched\()=? ?["'`]/""", text
        ), name


def test_every_module_is_used_and_loaded_at_once() -> None:
    index = FILES["index.html"].read_text()
    loaded = re.findall(r'(?:href|src)="page/([\w/]+\.js)"', index)
    assert sorted(loaded) == sorted(MODULES)  # each once
    imported = {
        (FILES[name].parent / target).resolve().relative_to(FOLDER).as_posix()
        for name in MODULES
        for target in IMPORT.findall(FILES[name].read_text())
    }
    assert imported | {"main.js"} == MODULES
