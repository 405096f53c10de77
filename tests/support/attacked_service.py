"""A service with two keys, one of which attacks it."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp
import psutil

from tests.support.bystander import chats
from tests.support.job_clients import ENDED
from tests.support.processes import free_port, started
from tests.support.systems import CPU, Configuration, edited_args, ours

_WARM_UP = 8
_REST_S = 5.0
_DOCUMENT = b"The lighthouse of Arvik was lit for the first time in 1847.\n" * 20


@dataclass(frozen=True)
class Site:
    """The service under attack, the keys of both callers, and the port of the hostile pages."""

    url: str
    process: psutil.Process
    attacker: str
    bystander: str
    web_port: int


@contextlib.contextmanager
def attacked_service(folder: str) -> Iterator[Site]:
    """Run `configs/cpu.yaml` with two keys and no limit of rate; raises StartError."""
    system, web_port = ours(Configuration.read(CPU), Path(folder)), free_port()
    with edited_args(system) as args:
        args["limits"]["requests_per_minute"] = None  # it would hold off most of the attacks
        args["scraper"] |= {
            "allowed_networks": ["127.0.0.0/8"],
            "allowed_ports": [80, 443, web_port],
        }
    keys = [secrets.token_hex(16) for _ in range(2)]
    env = {"GENSERVE_API_KEYS": f"attacker:{keys[0]},bystander:{keys[1]}"}
    with started(replace(system.command, env=env), Path(folder) / "log") as process:
        yield Site(system.url, process, keys[0], keys[1], web_port)


async def prepare(site: Site) -> None:
    """Upload a document of the second key and ask the first chats."""
    headers = {"authorization": f"Bearer {site.bystander}"}
    form = aiohttp.FormData()
    form.add_field("file", _DOCUMENT, filename="arvik.txt")
    async with aiohttp.ClientSession(site.url, headers=headers) as http:
        async with http.post("/upload", data=form) as answer:
            job = f"/v1/jobs/{(await answer.json())['job_id']}"
        while True:
            async with http.get(job) as answer:
                if (await answer.json())["status"] in ENDED:
                    break
            await asyncio.sleep(0.2)
    await chats(site.url, site.bystander, _WARM_UP)


async def cancel_jobs(site: Site) -> None:
    """Stop what an attack has left, so that the next one is measured by itself."""
    await asyncio.sleep(_REST_S)
    headers = {"authorization": f"Bearer {site.attacker}"}
    async with aiohttp.ClientSession(site.url, headers=headers) as http:
        for status in ("queued", "running") * 4:
            query = {"status": status, "limit": "100"}
            async with http.get("/v1/jobs", params=query) as answer:
                jobs = (await answer.json())["data"] if answer.ok else []
            for job in jobs:
                async with http.post(f"/v1/jobs/{job['id']}/cancel") as answer:
                    await answer.read()
    await asyncio.sleep(_REST_S)
