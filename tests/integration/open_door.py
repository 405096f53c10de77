"""Run the ingress alone on a Serve that listens on all interfaces, at first without keys.

Prints what came of each as one JSON object.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import ray
from ray import serve
from ray.serve.config import HTTPOptions

from serve_app.ingress import Ingress
from serve_app.settings import AppSettings

KEYS = {"GENSERVE_API_KEYS": "somebody:0123456789abcdef"}
NAMES = ("llm", "embedder", "scraper", "parser", "retriever", "images", "jobs")


@serve.deployment(ray_actor_options={"num_cpus": 0})
class Stand:
    """In place of what would be asked, if anybody were let in."""


def came_of(application: serve.Application) -> str:
    try:
        serve.run(application)
    except RuntimeError:
        (failed,) = serve.status().applications.values()
        return failed.deployments["Ingress"].message
    return "deployed"


def main(port: int) -> None:
    settings = AppSettings.model_validate(
        {"llm": {"model": "a/b", "served_name": "small"}, "embedder": {"model": "c/d"}}
    )
    ingress: Any = Ingress
    with_keys = ingress.options(ray_actor_options={"runtime_env": {"env_vars": KEYS}})
    parts = dict.fromkeys(NAMES, Stand.bind())
    # `auto`, the default, might be another Ray of this machine.
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    serve.start(http_options=HTTPOptions(host="0.0.0.0", port=port))
    try:
        result = {
            "without keys": came_of(ingress.bind(settings, **parts)),
            "with keys": came_of(with_keys.bind(settings, **parts)),
        }
    finally:
        serve.shutdown()
        ray.shutdown()
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]))
