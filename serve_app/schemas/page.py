"""The JSON that the web page reads before anybody has given a key."""

from __future__ import annotations

from pydantic import BaseModel


class Capabilities(BaseModel):
    """What the operator's settings allow the page to offer."""

    web: bool
    documents: bool
    max_upload_bytes: int
