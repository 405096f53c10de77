"""Five of the kills of `make bench-kill`, one of them of the whole node."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.kills import Plan, run
from tests.bench.victims import VICTIMS


@pytest.mark.timeout(1500)
def test_what_was_acknowledged_is_kept_whoever_is_killed(tmp_path: Path) -> None:
    """On a service of its own, without the language model, which has nothing to do with it."""
    wanted = Plan(kills=5, minutes=12, pause_s=(2, 6), clients=4, chat=False)
    outcome = run(wanted, tmp_path, print)
    assert str(outcome.verdict) == ""
    assert sorted(kill.victim for kill in outcome.kills) == sorted(VICTIMS)
    # Nothing wrong would be easy to say of nothing.
    assert outcome.verdict.looked_at["documents"] > 0
    assert outcome.verdict.looked_at["pictures"] > 0
