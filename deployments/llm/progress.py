"""Detection of an engine that lives and does not work."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class Progress:
    """Notes when an engine last did something."""

    def __init__(self, output_processor: Any) -> None:  # noqa: ANN401 - vLLM's
        self._stalled_s = 0.0
        self._looked_at = time.monotonic()
        # The second one is called for each step, also for one that makes no token.
        for name in ("process_outputs", "update_scheduler_stats"):
            setattr(output_processor, name, self._noting(getattr(output_processor, name)))

    def _noting(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def noting(*outputs: Any, **options: Any) -> Any:  # noqa: ANN401 - vLLM's
            self._stalled_s = 0.0
            return method(*outputs, **options)

        return noting

    def stalled_s(self, *, busy: bool) -> float:
        """Return for how long there have been requests since the engine's last step.

        It is added up from call to call, so that requests which give up and come again count.
        """
        now = time.monotonic()
        if busy:
            self._stalled_s += now - self._looked_at
        self._looked_at = now
        return self._stalled_s
