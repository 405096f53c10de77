"""Read server-sent events."""

from __future__ import annotations

import json
from typing import Any


def events(text: str) -> list[tuple[str, Any]]:
    """Return the name and the data of each event."""
    blocks = [block.split("\n") for block in text.strip().split("\n\n")]
    return [(name[len("event: ") :], json.loads(data[len("data: ") :])) for name, data in blocks]
