"""Detection of an engine that lives and does not work."""

from __future__ import annotations

import time
from typing import Any


class Progress:
    """Notes when an engine last did something."""

    def __init__(self, output_processor: Any) -> None:  # noqa: ANN401 - vLLM's
        self._stalled_s = 0.0
        self._looked_at = time.monotonic()
        process, update = output_processor.process_outputs, output_processor.update_scheduler_stats

        def processing(*outputs: Any, **options: Any) -> Any:  # noqa: ANN401 - vLLM's
            self._stalled_s = 0.0
            return process(*outputs, **options)

        def updating(stats: Any) -> Any:  # noqa: ANN401 - vLLM's
            # Of each step: of one that makes no token as well, and of one that computes nothing.
            if stats is not None and stats.num_running_reqs:
                self._stalled_s = 0.0
            return update(stats)

        output_processor.process_outputs = processing
        output_processor.update_scheduler_stats = updating

    def stalled_s(self, *, busy: bool) -> float:
        """Return for how long there have been requests since the engine's last step.

        It is added up from call to call, so that requests which give up and come again count.
        """
        now = time.monotonic()
        if busy:
            self._stalled_s += now - self._looked_at
        self._looked_at = now
        return self._stalled_s
