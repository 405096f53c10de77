"""The settings tree (the YAML's `args:`) and the checks across its fields.

Secrets come from the environment: `deployments.settings.Secrets`.
"""

from serve_app.settings.application import AppSettings
from serve_app.settings.tree import (
    ANSWERING_MODEL,
    APPLICATION_NAME,
    DEPLOYMENT_NAMES,
    IMPORT_PATH,
    NEXT_EMBEDDER,
    RENDERER,
    SYSTEM_PROMPT,
    AnswerSettings,
    LimitSettings,
)

__all__ = [
    "ANSWERING_MODEL",
    "APPLICATION_NAME",
    "DEPLOYMENT_NAMES",
    "IMPORT_PATH",
    "NEXT_EMBEDDER",
    "RENDERER",
    "SYSTEM_PROMPT",
    "AnswerSettings",
    "AppSettings",
    "LimitSettings",
]
