"""What an engine counts of its own work."""

from __future__ import annotations

from typing import NamedTuple


class Readings(NamedTuple):
    """Requests being computed and waiting now, tokens read and written since it started.

    Of requests None where that is not known, as the engine is elsewhere.
    """

    running: int | None = None
    waiting: int | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
