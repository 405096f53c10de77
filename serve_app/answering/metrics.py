"""Count answers by how they ended."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal

from deployments.errors import DeadlineExceeded, InvalidRequest, Overloaded
from deployments.observability.metrics import ANSWERS

if TYPE_CHECKING:
    from types import TracebackType

Model = Literal["genserve", "bare"]

# An error takes the first that fits.
_OUTCOMES: tuple[tuple[type[BaseException], str], ...] = (
    (asyncio.CancelledError, "left"),
    (GeneratorExit, "left"),
    (InvalidRequest, "refused"),
    (Overloaded, "overloaded"),
    (DeadlineExceeded, "timeout"),
    (BaseException, "failed"),
)


class Counted:
    """A context that counts one answer when it is left, however it is left."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def __enter__(self) -> None: ...

    def __exit__(
        self, _kind: object, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        ANSWERS.add(model=self._model, outcome=outcome_of(error))


def outcome_of(error: BaseException | None) -> str:
    """Name the end of an answer by the exception that ended it, if any did."""
    if error is None:
        return "completed"
    return next(outcome for kind, outcome in _OUTCOMES if isinstance(error, kind))
