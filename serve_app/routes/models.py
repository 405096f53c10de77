"""The two models: `genserve`, which answers from web and documents, and the bare one."""

from __future__ import annotations

from fastapi import APIRouter

from deployments.errors import NotFound
from serve_app.contradictions import ANSWERING_MODEL
from serve_app.dependencies import SettingsDep  # noqa: TC001 - FastAPI reads annotations
from serve_app.schemas import Model, ModelList

router = APIRouter(prefix="/v1/models", tags=["models"])


@router.get("")
async def list_models(settings: SettingsDep) -> ModelList:
    """List both."""
    return ModelList(data=[Model(id=ANSWERING_MODEL), Model(id=settings.llm.served_name)])


@router.get("/{model_id:path}")
async def get_model(model_id: str, settings: SettingsDep) -> Model:
    """Name one."""
    if model_id not in {ANSWERING_MODEL, settings.llm.served_name}:
        raise NotFound(unknown_model(settings.llm.served_name), param="model")
    return Model(id=model_id)


def unknown_model(served_name: str) -> str:
    """What to say of any other."""
    return f"unknown model: use `{ANSWERING_MODEL}` or `{served_name}`"
