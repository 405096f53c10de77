"""What an engine counts of its own work, and the loop that exports it as metrics."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from loguru import logger

from deployments.observability.metrics import ENGINE_REQUESTS, TOKENS

if TYPE_CHECKING:
    from collections.abc import Callable

_PERIOD_S = 5.0  # Ray exports every ten


class EngineUsage(NamedTuple):
    """Requests being computed and waiting now, tokens read and written since the engine started.

    The requests are None where they are not known, because the engine runs elsewhere.
    """

    running: int | None = None
    waiting: int | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0


async def report_usage(
    usage: Callable[[], EngineUsage | None], period_s: float = _PERIOD_S
) -> None:
    """Export what `usage` returns every `period_s` seconds, until cancelled.

    A failure is logged, and the next turn tries again.
    """
    reported = EngineUsage()
    while True:
        await asyncio.sleep(period_s)
        try:
            now = usage() or reported
            _export(now, since=reported)
            reported = now
        except Exception as error:  # noqa: BLE001 - a metric must not end the reporting
            logger.opt(exception=error).warning("the language model's usage was not reported")


def _export(now: EngineUsage, since: EngineUsage) -> None:
    for state, requests in (("running", now.running), ("waiting", now.waiting)):
        if requests is not None:
            ENGINE_REQUESTS.set(requests, state=state)
    TOKENS.add(now.prompt_tokens - since.prompt_tokens, kind="prompt")
    TOKENS.add(now.completion_tokens - since.completion_tokens, kind="completion")
