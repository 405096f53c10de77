"""The whole settings tree, refused if two of its settings contradict each other."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from serve_app.settings.consistency import contradictions
from serve_app.settings.tree import SettingsTree


class AppSettings(SettingsTree):
    """Behaviour of the whole service; sizes and replicas belong under `deployments:`."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if found := contradictions(self):
            raise PydanticCustomError(
                "contradiction",  # noqa: EM101 - a type, not a message
                "{text}",
                {"text": "; ".join(f"{c.field}: {c.message}" for c in found), "found": found},
            )
        return self
