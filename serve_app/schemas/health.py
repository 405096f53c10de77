"""The JSON of health."""

from __future__ import annotations

from pydantic import BaseModel


class DeploymentState(BaseModel):
    """Whether a deployment can do its work; the LLM's also says how busy it is."""

    ready: bool
    detail: str | None = None
    running_requests: int | None = None
    waiting_requests: int | None = None


class Readiness(BaseModel):
    """Ready when every deployment is."""

    ready: bool
    deployments: dict[str, DeploymentState]
