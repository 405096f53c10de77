"""Server-sent events that are named by their `type`, as in the Responses and Messages APIs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def named_event(event: Mapping[str, Any]) -> str:
    """Return an event as text."""
    data = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
    return f"event: {event['type']}\ndata: {data}\n\n"
