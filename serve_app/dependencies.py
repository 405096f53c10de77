"""What routes ask for: the capabilities and the settings of this application.

Coroutines, for FastAPI would look a plain function up in a thread of its own.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from serve_app.answering import Answering
from serve_app.ingestion import Ingestion
from serve_app.services import Services
from serve_app.settings import AppSettings


async def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


async def _settings(request: Request) -> AppSettings:
    settings: AppSettings = request.app.state.settings
    return settings


async def _answering(request: Request) -> Answering:
    answering: Answering = request.app.state.answering
    return answering


async def _ingestion(request: Request) -> Ingestion:
    ingestion: Ingestion = request.app.state.ingestion
    return ingestion


ServicesDep = Annotated[Services, Depends(_services)]
SettingsDep = Annotated[AppSettings, Depends(_settings)]
AnsweringDep = Annotated[Answering, Depends(_answering)]
IngestionDep = Annotated[Ingestion, Depends(_ingestion)]
