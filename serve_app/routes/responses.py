"""`/v1/responses`: OpenAI's Responses API, for both models."""

from __future__ import annotations

from fastapi import APIRouter

from serve_app.http.body_route import BodyRoute

router = APIRouter(prefix="/v1/responses", tags=["responses"], route_class=BodyRoute)
