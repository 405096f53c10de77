"""The JSON of a deletion of a response."""

from __future__ import annotations

from typing import Literal

from serve_app.schemas.fields import example
from serve_app.schemas.paging import Deleted
from serve_app.schemas.responses.examples import RESPONSE_ID_EXAMPLE


class ResponseDeleted(Deleted):
    """OpenAI's answer to a deletion of a response."""

    model_config = example({"id": RESPONSE_ID_EXAMPLE, "object": "response", "deleted": True})

    object: Literal["response"] = "response"
