"""Run the ingress alone on a Serve that listens on all interfaces; prints what came of it."""

from __future__ import annotations

import sys

import ray
from ray import serve
from ray.serve.config import HTTPOptions

from serve_app.ingress import Ingress
from serve_app.settings import AppSettings

NAMES = ("llm", "embedder", "scraper", "parser", "retriever", "images", "jobs")


@serve.deployment(ray_actor_options={"num_cpus": 0})
class Stand:
    """In place of what would be asked, if anybody were let in."""


def main(port: int) -> None:
    settings = AppSettings.model_validate(
        {"llm": {"model": "a/b", "served_name": "small"}, "embedder": {"model": "c/d"}}
    )
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
    serve.start(http_options=HTTPOptions(host="0.0.0.0", port=port))
    try:
        serve.run(Ingress.bind(settings, **dict.fromkeys(NAMES, Stand.bind())))
    except RuntimeError:
        (application,) = serve.status().applications.values()
        sys.stdout.write(application.deployments["Ingress"].message)
    else:
        sys.stdout.write("deployed")
    finally:
        serve.shutdown()
        ray.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]))
