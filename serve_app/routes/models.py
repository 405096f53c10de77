"""The models: `genserve`, which answers from web and documents, and those it is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Path, Query

from serve_app.http.body_route import BodyRoute
from serve_app.http.errors import refusals
from serve_app.routes.dependencies import SettingsDep  # noqa: TC001 - FastAPI reads annotations
from serve_app.routes.shapes import unknown_model
from serve_app.schemas.models import Lifecycle, Model, ModelKind, ModelList
from serve_app.settings import ANSWERING_MODEL

if TYPE_CHECKING:
    from serve_app.settings import AppSettings

router = APIRouter(prefix="/v1/models", tags=["models"], route_class=BodyRoute)


_Id = Annotated[str | None, Query(max_length=200)]
_NoEffect = Annotated[bool | None, Query(description="Without effect.")]


@router.get("")
async def list_models(  # noqa: PLR0913 - what FastAPI hands in
    settings: SettingsDep,
    *,
    limit: Annotated[int, Query(ge=1, le=1000)] = 20,
    after_id: _Id = None,
    before_id: _Id = None,
    lifecycle: Annotated[
        list[Lifecycle] | None, Query(alias="lifecycle[]", description="All are `active`.")
    ] = None,
    beta: _NoEffect = None,  # noqa: ARG001 - Anthropic's clients send it
) -> ModelList:
    """List all models and what each is for.

    The parameters are those of Anthropic's API.
    """
    models = _models(settings) if lifecycle is None or "active" in lifecycle else []
    ids = [model.id for model in models]
    if before_id in ids:
        earlier = models[: ids.index(before_id)]
        page, more = earlier[-limit:], len(earlier) > limit
    else:
        later = models[ids.index(after_id) + 1 if after_id in ids else 0 :]
        page, more = later[:limit], len(later) > limit
    return ModelList(
        data=page,
        has_more=more,
        first_id=page[0].id if page else None,
        last_id=page[-1].id if page else None,
    )


@router.get("/{model_id:path}", responses=refusals(404))
async def get_model(
    model_id: Annotated[str, Path(examples=[ANSWERING_MODEL])],
    settings: SettingsDep,
    beta: _NoEffect = None,  # noqa: ARG001 - as above
) -> Model:
    """Name one."""
    models = {model.id: model for model in _models(settings)}
    if model_id not in models:
        raise unknown_model(model_id, *models)
    return models[model_id]


def _models(settings: AppSettings) -> list[Model]:
    named: list[tuple[str, ModelKind]] = [
        (ANSWERING_MODEL, "answering"),
        (settings.llm.served_name, "chat"),
        (settings.embedder.name, "embedding"),
        (settings.images.name, "image"),
    ]
    if settings.embedder.reranker:  # otherwise the embedding model reranks
        named.insert(3, (settings.embedder.reranking_name, "reranking"))
    return [Model(id=name, kind=kind, display_name=name) for name, kind in named]
