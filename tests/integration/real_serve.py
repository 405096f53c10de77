"""The real Ingress, Jobs and Images on a Ray of their own; the other deployments do nothing.

Run as a program it deploys the ingress on all interfaces, without API keys and with them. Then it
scales Images from no replica to one and back. It prints one JSON object.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import ray
from ray import serve
from ray.serve.config import HTTPOptions

from deployments.catalogue.import_0_1 import SOURCE
from deployments.catalogue.opening import open_catalogue
from deployments.images.deployment import Images
from deployments.jobs.deployment import Jobs
from serve_app.ingress import Ingress
from serve_app.settings import APPLICATION_NAME, AppSettings
from serve_app.testing import fake_settings
from tests.support.processes import free_port

KEYS = {"GENSERVE_API_KEYS": "somebody:0123456789abcdef"}
WAIT_S = 120.0  # others run beside it
LEFT_ALONE_S = 5.0  # asked all the while how it is, longer than it takes to wake or to fall asleep
AT_ONCE = 4
SCALING = {
    "min_replicas": 0,
    "max_replicas": 1,
    "target_ongoing_requests": 4,
    "metrics_interval_s": 0.5,
    "look_back_period_s": 2,
    "upscale_delay_s": 0,
    "downscale_delay_s": 600,  # not to be taken for the one below
    "downscale_to_zero_delay_s": 3,
}
PICTURE: dict[str, Any] = {"prompt": "a red circle", "size": "64x64"}


@serve.deployment(name="Rest", ray_actor_options={"num_cpus": 0})
class Rest:
    async def check_health(self) -> None: ...

    async def move_collections(self) -> int:
        return 0


def public_ingress(*, keys: bool) -> str:
    """Deploy the ingress where Serve listens on all interfaces; what came of it."""
    ingress: Any = Ingress
    if keys:
        ingress = ingress.options(ray_actor_options={"runtime_env": {"env_vars": KEYS}})
    with tempfile.TemporaryDirectory() as folder:
        return _deployed(ingress, fake_settings(data_dir=folder))


def _deployed(ingress: Any, settings: AppSettings) -> str:
    note_import(settings)
    rest: Any = Rest
    parts = dict.fromkeys(
        ("llm", "embedder", "scraper", "parser", "retriever", "images", "jobs"), rest.bind()
    )
    try:
        serve.run(ingress.bind(settings, **parts))
    except RuntimeError:
        (failed,) = serve.status().applications.values()
        return failed.deployments["Ingress"].message
    return "deployed"


def note_import(settings: AppSettings) -> None:
    """Have there be nothing to import from version 0.1: `Rest` is no retriever."""
    catalogue = open_catalogue(settings.database_url)
    asyncio.run(catalogue.set_imported(SOURCE))
    catalogue.close()


def application(folder: Path) -> serve.Application:
    settings = fake_settings(data_dir=str(folder), images={"steps": 2})
    note_import(settings)
    scaled: Any = Images.options(autoscaling_config=SCALING, ray_actor_options={"num_cpus": 0.1})
    rest: Any = Rest.bind()
    images = scaled.bind(settings.images, settings.data_dir, shares={})
    jobs: Any = Jobs
    ingress: Any = Ingress
    return ingress.bind(
        settings,
        **dict.fromkeys(("llm", "embedder", "scraper", "parser", "retriever"), rest),
        images=images,
        jobs=jobs.bind(
            *(settings.jobs, settings.database_url, settings.files, rest, rest),
            images=images,
            images_at_once=1,
            batch_chunks=8,
            responder="Ingress",
            chunker="",
            shares={},
            quotas=settings.limits.quotas,
        ),
    )


@dataclass
class Watch:
    """What /readyz and Serve itself say, for as long as it is on."""

    statuses: set[int] = field(default_factory=set)
    details: list[str | None] = field(default_factory=list)
    replicas: list[int] = field(default_factory=list)

    async def look(self, http: httpx.AsyncClient) -> None:
        answer = await http.get("/readyz")
        detail = answer.json()["deployments"]["images"]["detail"]
        self.statuses.add(answer.status_code)
        if self.details[-1:] != [detail]:
            self.details.append(detail)
        replicas = await asyncio.to_thread(image_replicas)
        if self.replicas[-1:] != [replicas]:
            self.replicas.append(replicas)

    def summary(self) -> dict[str, Any]:
        return {
            "statuses": sorted(self.statuses),
            "details": self.details,
            "replicas": self.replicas,
        }


def image_replicas() -> int:
    application = serve.status().applications[APPLICATION_NAME]
    return sum(application.deployments["Images"].replica_states.values())


@contextlib.asynccontextmanager
async def watching(http: httpx.AsyncClient) -> AsyncIterator[Watch]:
    watch = Watch()

    async def go_on() -> None:
        while True:
            await watch.look(http)
            await asyncio.sleep(0.1)

    task = asyncio.create_task(go_on())
    try:
        yield watch
    finally:
        task.cancel()
        await asyncio.wait({task})  # one look at a time, or an older one might come in last
    await watch.look(http)


async def until_asleep(http: httpx.AsyncClient) -> None:
    async with asyncio.timeout(WAIT_S):
        while image_replicas():
            await http.get("/readyz")
            await asyncio.sleep(0.1)


async def job_ended(http: httpx.AsyncClient, job_id: str) -> str:
    async with asyncio.timeout(WAIT_S):
        while True:
            status: str = (await http.get(f"/v1/jobs/{job_id}")).json()["status"]
            if status not in {"queued", "running"}:
                return status
            await asyncio.sleep(0.1)


async def day(url: str) -> dict[str, Any]:
    result: dict[str, Any] = {}
    async with httpx.AsyncClient(base_url=url, timeout=WAIT_S) as http:
        async with watching(http) as watch:
            await asyncio.sleep(LEFT_ALONE_S)
        result["left alone"] = watch.summary()

        async with watching(http) as watch:
            answers = await asyncio.gather(
                *(http.post("/v1/images/generations", json=PICTURE) for _ in range(AT_ONCE))
            )
        result["woken"] = watch.summary() | {"answers": [answer.status_code for answer in answers]}

        async with watching(http) as watch:
            await until_asleep(http)
            await asyncio.sleep(LEFT_ALONE_S)
        result["asleep again"] = watch.summary()

        accepted = await http.post("/generate/image/background", json=PICTURE | {"count": 2})
        result["job"] = await job_ended(http, accepted.json()["job_id"])
    return result


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="gs", ignore_cleanup_errors=True) as folder:
        port = free_port()
        # A folder of its own: another Ray on this machine stays the one that `auto` finds.
        os.environ |= {
            "RAY_TMPDIR": folder,
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
            "RAY_SERVE_ENABLE_DIRECT_INGRESS": "0",
        }
        ray.init(
            address="local",
            num_cpus=4,
            include_dashboard=False,
            object_store_memory=80 * 1024**2,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
        try:
            serve.start(http_options=HTTPOptions(host="0.0.0.0", port=free_port()))
            doors = {
                "without keys": public_ingress(keys=False),
                "with keys": public_ingress(keys=True),
            }
            serve.shutdown()
            serve.start(http_options={"host": "127.0.0.1", "port": port})
            serve.run(application(Path(folder) / "data"), name=APPLICATION_NAME)
            began = time.monotonic()
            result = asyncio.run(day(f"http://127.0.0.1:{port}"))
            result["public"] = doors
            result["seconds"] = round(time.monotonic() - began, 1)
        finally:
            serve.shutdown()
            ray.shutdown()
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
