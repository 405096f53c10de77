"""The JSON of health."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from serve_app.schemas.fields import example


class Liveness(BaseModel):
    """The ingress answers."""

    model_config = example({"status": "ok"})

    status: Literal["ok"] = "ok"


class DeploymentState(BaseModel):
    """Whether a deployment can do its work; the LLM's also says how busy it is."""

    ready: bool
    detail: str | None = None
    running_requests: int | None = None
    waiting_requests: int | None = None


class Readiness(BaseModel):
    """Ready when every deployment is."""

    model_config = example({"ready": True, "deployments": {"embedder": {"ready": True}}})

    ready: bool
    deployments: dict[str, DeploymentState]
