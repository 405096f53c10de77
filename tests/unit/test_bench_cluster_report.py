"""The cluster bench reports every check that does not hold."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.bench.cluster.node_loss import Draining, HeadLoss
from tests.bench.cluster.report import Losses, losses_section
from tests.support.node_removal import Removal

TRAFFIC = {"requests": 9, "failed": 0, "errors": {}, "warnings": {}, "without_sources": 0}
WELL = Losses(
    date="2026-11-27",
    cold_start_s={"LLM": 40.0},
    head_loss=HeadLoss(15.0, 40.0, 8, 8, 6.0, 0, TRAFFIC),
    draining=Draining("large-0", {"LLM": 1}, 30.0, 35.0, TRAFFIC),
    removal=Removal("large-1", {"LLM": 1}, 3, 1, [], 59.0, 40.0, TRAFFIC),
)


def test_what_nodes_that_go_cost_is_reported() -> None:
    section = losses_section(WELL)
    assert section.holds
    assert "of 9 requests before, meanwhile and after it 0 failed" in section.body


@pytest.mark.parametrize(
    ("part", "changed"),
    [
        ("head_loss", {"late": 1}),
        ("head_loss", {"kept": 7}),
        ("head_loss", {"whole_s": None}),
        ("head_loss", {"scaled_s": None}),
        ("draining", {"traffic": TRAFFIC | {"failed": 1}}),
        ("draining", {"left_s": None}),
        ("draining", {"gone_s": None}),
        ("removal", {"failed_in_flight": 4}),
        ("removal", {"late": [(0.5, "status 503")]}),
        ("removal", {"whole_s": 61.0}),
        ("removal", {"whole_s": None}),
    ],
)
def test_what_does_not_hold_is_said(part: str, changed: dict[str, object]) -> None:
    found = replace(WELL, **{part: replace(getattr(WELL, part), **changed)})
    section = losses_section(found)
    assert sum(not check.holds for check in section.checks) == 1
    assert section.body.count("| NO |") == 1
