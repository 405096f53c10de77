"""The models: `genserve`, which answers from web and documents, and those it is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Path

from serve_app.http.body_route import BodyRoute
from serve_app.http.errors import refusals
from serve_app.routes.dependencies import SettingsDep  # noqa: TC001 - FastAPI reads annotations
from serve_app.routes.shapes import unknown_model
from serve_app.schemas.models import Model, ModelList
from serve_app.settings import ANSWERING_MODEL

if TYPE_CHECKING:
    from serve_app.settings import AppSettings

router = APIRouter(prefix="/v1/models", tags=["models"], route_class=BodyRoute)


@router.get("")
async def list_models(settings: SettingsDep) -> ModelList:
    """List all models and what each is for."""
    return ModelList(data=_models(settings))


@router.get("/{model_id:path}", responses=refusals(404))
async def get_model(
    model_id: Annotated[str, Path(examples=[ANSWERING_MODEL])], settings: SettingsDep
) -> Model:
    """Name one."""
    models = {model.id: model for model in _models(settings)}
    if model_id not in models:
        raise unknown_model(model_id, *models)
    return models[model_id]


def _models(settings: AppSettings) -> list[Model]:
    reranking = []
    if settings.embedder.reranker:  # else the embedding model reranks
        reranking = [Model(id=settings.embedder.reranking_name, kind="reranking")]
    return [
        Model(id=ANSWERING_MODEL, kind="answering"),
        Model(id=settings.llm.served_name, kind="chat"),
        Model(id=settings.embedder.name, kind="embedding"),
        *reranking,
        Model(id=settings.images.name, kind="image"),
    ]
