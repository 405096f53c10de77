"""What an engine counts of its own work."""

from __future__ import annotations

from typing import NamedTuple


class Readings(NamedTuple):
    """Requests being computed and waiting now, tokens read and written since it started."""

    running: int = 0
    waiting: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
