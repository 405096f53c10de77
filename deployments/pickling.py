"""Pickles of dataclasses between replicas of different versions."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence


def set_state(self: Any, state: Sequence[Any]) -> None:  # noqa: ANN401 - any dataclass with slots
    """Unpickle a dataclass whose class had fewer or more fields at its end.

    The fields that are missing get their defaults. To be used as `__setstate__`.
    """
    for number, each in enumerate(fields(self)):
        if number < len(state):
            value = state[number]
        elif each.default_factory is not MISSING:
            value = each.default_factory()
        else:
            value = each.default
        object.__setattr__(self, each.name, value)
