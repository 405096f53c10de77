"""The JSON of an error."""

from __future__ import annotations

from pydantic import BaseModel


class ErrorBody(BaseModel):
    """The one form of an error."""

    message: str
    type: str
    code: str
    param: str | None = None


class ErrorResponse(BaseModel):
    """What every status of 400 and above carries."""

    error: ErrorBody
