"""The service below a path, and the addresses it gives: real uvicorn, Serve's own request class."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import uvicorn
from ray.serve._private.proxy_request_response import ASGIProxyRequest

from serve_app.testing import Fakes
from tests.support.api_keys import ALICE, KEYS, PUBLIC, bearer

pytestmark = pytest.mark.anyio
PICTURE = {"prompt": "x", "response_format": "url", "n": 1}
MOUNTS = [("/genserve", ""), ("", "/genserve"), ("/ai", "/genserve")]
"""Serve's `root_path`, which a proxy strips before Serve, and its `route_prefix`."""


@contextlib.asynccontextmanager
async def served(
    fakes: Fakes, root_path: str = "", route_prefix: str = "", **changes: Any
) -> AsyncIterator[httpx.AsyncClient]:
    """As Serve's proxy hands requests on; the client is what reaches Serve, after any proxy."""
    fakes.jobs.runs = True
    app = fakes.app(**changes)

    async def proxied(scope: Any, receive: Any, send: Any) -> None:
        if route_prefix:
            request = ASGIProxyRequest(scope, receive, send)
            request.set_root_path(request.root_path + route_prefix)
        await app(scope, receive, send)

    config = uvicorn.Config(
        proxied, port=0, root_path=root_path, lifespan="off", log_config=None, access_log=False
    )
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve())
    try:
        while not server.started:
            await asyncio.sleep(0.01)
        (port,) = {sock.getsockname()[1] for sock in server.servers[0].sockets}
        url, headers = f"http://127.0.0.1:{port}{route_prefix}", {"x-request-id": "one"}
        async with httpx.AsyncClient(base_url=url, headers=headers) as http:
            yield http
    finally:
        server.should_exit = True
        await running


def filled(path: str) -> str:
    """A path with ids that nothing has."""
    return re.sub(r"{(\w+)}", lambda name: "0" if name[1] == "number" else "nothing", path)


@pytest.mark.parametrize(("root_path", "route_prefix"), MOUNTS)
async def test_every_route_answers_below_a_path_as_at_the_root(
    root_path: str, route_prefix: str
) -> None:
    fakes = Fakes()
    routes = [
        (method, filled(path))
        for path, methods in fakes.app().openapi()["paths"].items()
        for method in methods
    ]
    assert len(routes) > 30
    async with served(Fakes()) as root, served(Fakes(), root_path, route_prefix) as below:
        for method, path in routes:
            expected = await root.request(method, path)
            answer = await below.request(method, path)
            assert answer.status_code == expected.status_code, (method, path)
            assert answer.headers["content-type"] == expected.headers["content-type"], path
            if expected.is_client_error and expected.status_code != 405:
                assert answer.json() == expected.json(), (method, path)


@pytest.mark.parametrize(("root_path", "route_prefix"), MOUNTS)
async def test_a_path_neither_opens_nor_closes_a_route(root_path: str, route_prefix: str) -> None:
    async with served(Fakes(api_keys=KEYS), root_path, route_prefix) as http:
        for path in PUBLIC:
            assert (await http.get(path)).status_code == 200, path
        for path in (
            "/v1/models",
            "/v1/jobs",
            "/genserve/healthz",
            "/genserve/v1/models",
            "/page/../v1/models",
            "/healthz/x",
            "/nowhere",
        ):
            assert (await http.get(path)).status_code == 401, path
        assert (await http.get("/v1/models", headers=bearer(ALICE))).status_code == 200


@pytest.mark.parametrize(("root_path", "route_prefix"), MOUNTS)
async def test_links_lead_below_the_path(root_path: str, route_prefix: str) -> None:
    mount = root_path + route_prefix
    async with served(Fakes(), root_path, route_prefix) as http:
        schema = (await http.get("/openapi.json")).json()
        docs = (await http.get("/docs")).text
        accepted = await http.post("/generate/image/background", json={"prompt": "x", "count": 1})
        redirected = await http.get("/docs/")
        made = (await http.post("/v1/images/generations", json=PICTURE)).json()["data"][0]["url"]
        origin = f"http://{http.base_url.netloc.decode()}"
        uploaded = await http.post("/upload", files={"file": ("a.txt", b"x" * 1_500_000)})
    assert schema["servers"] == [{"url": mount}]
    assert f"'{mount}/openapi.json'" in docs
    assert f"{mount}/static-offline-docs/swagger-ui.css" in docs
    assert accepted.headers["location"] == f"{mount}/v1/jobs/{accepted.json()['job_id']}"
    assert (redirected.status_code, redirected.headers["location"]) == (307, f"{mount}/docs")
    assert made.startswith(f"{origin}{mount}/v1/images/job_")
    assert uploaded.status_code == 202, "a file over the bound of other bodies"


async def test_the_mount_path_itself_leads_to_the_page() -> None:
    async with served(Fakes(api_keys=KEYS), route_prefix="/genserve") as http:
        answer = await http.get(str(http.base_url).rstrip("/"))
    assert (answer.status_code, answer.headers["location"]) == (307, "/genserve/")


async def picture_url(http: httpx.AsyncClient, headers: dict[str, str]) -> str:
    made = await http.post("/v1/images/generations", json=PICTURE, headers=bearer(ALICE) | headers)
    return str(made.json()["data"][0]["url"])


async def test_image_urls_and_redirects_do_not_follow_a_forged_host() -> None:
    forged = ("evil.example", "192.0.2.9", "127.0.0.1@evil.example", "evil.example#127.0.0.1")
    async with served(Fakes(api_keys=KEYS)) as http:
        origin = str(http.base_url).rstrip("/")
        assert (await picture_url(http, {})).startswith(f"{origin}/v1/images/")
        local = await picture_url(http, {"host": "localhost:8000"})
        assert local.startswith("http://localhost:8000/v1/images/")
        for host in forged:
            assert (await picture_url(http, {"host": host})).startswith("/v1/images/"), host
            redirect = await http.get("/v1/jobs/", headers=bearer(ALICE) | {"host": host})
            assert redirect.headers["location"] == "/v1/jobs"


async def test_a_public_url_decides_whatever_the_request_says() -> None:
    public = "https://ai.example.com/genserve"
    async with served(Fakes(api_keys=KEYS), public_url=f"{public}/") as http:
        for headers in ({}, {"host": "evil.example"}, FORWARDED):
            assert (await picture_url(http, headers)).startswith(f"{public}/v1/images/")


FORWARDED = {
    "x-forwarded-proto": "https",
    "x-forwarded-host": "ai.example.com",
    "x-forwarded-prefix": "/genserve",
}


async def test_forwarded_hosts_and_prefixes_are_not_believed() -> None:
    async with served(Fakes(api_keys=KEYS)) as http:
        # The scheme is, by uvicorn itself, from 127.0.0.1.
        url = await picture_url(http, FORWARDED)
    assert url.startswith(f"https://{http.base_url.netloc.decode()}/v1/images/")


@pytest.mark.parametrize(
    "url",
    ["ai.example.com", "ftp://a.example", "https://", "https://me:pw@a.example", "http://a?b"],
)
def test_a_public_url_is_a_whole_address(url: str) -> None:
    with pytest.raises(ValueError, match="public_url"):
        Fakes().app(public_url=url)
