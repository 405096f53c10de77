"""Ready, busy, silent for too long, asleep: what /readyz makes of each."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from deployments.errors import Overloaded, Unavailable
from deployments.serving.scale_to_zero import ScaleState, scale_states
from serve_app import readiness
from serve_app.readiness import ReadinessProbe
from serve_app.schemas.health import DeploymentState
from serve_app.testing import Fakes

pytestmark = pytest.mark.anyio


class Clock:
    """Stands for the `time` module."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class Hanging:
    """Answers, or leaves questions unanswered."""

    def __init__(self) -> None:
        self.hangs = False
        self.asked = 0

    async def check_health(self) -> None:
        self.asked += 1
        if self.hangs:
            await asyncio.Event().wait()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(readiness, "time", clock)
    monkeypatch.setattr(readiness, "_CHECK_TIMEOUT_S", 0.01)
    return clock


@pytest.fixture
def fakes() -> Fakes:
    return Fakes()


@pytest.fixture
def parser(fakes: Fakes) -> Hanging:
    hanging = Hanging()
    fakes.parser.check_health = hanging.check_health  # type: ignore[method-assign]
    return hanging


async def parser_state(probe: ReadinessProbe) -> tuple[bool, str | None]:
    seen = await probe.check()
    assert seen.ready == all(state.ready for state in seen.deployments.values())
    state = seen.deployments["parser"]
    return state.ready, state.detail


BUSY, SILENT, WELL = (True, "busy"), (False, "does not answer"), (True, None)


async def test_busy_for_a_minute_and_then_ill(clock: Clock, fakes: Fakes, parser: Hanging) -> None:
    probe = ReadinessProbe(fakes.services())
    assert await parser_state(probe) == WELL
    parser.hangs = True
    seen = []
    for _ in range(8):
        seen.append(await parser_state(probe))
        clock.now += 10
    assert seen == [BUSY] * 6 + [SILENT] * 2
    parser.hangs = False
    assert await parser_state(probe) == WELL
    parser.hangs = True
    assert await parser_state(probe) == BUSY


async def test_one_that_was_not_asked_for_long_may_still_be_busy(
    clock: Clock, fakes: Fakes, parser: Hanging
) -> None:
    probe = ReadinessProbe(fakes.services())
    assert await parser_state(probe) == WELL
    clock.now += 3600
    parser.hangs = True
    assert await parser_state(probe) == BUSY
    clock.now += 3600  # unanswered once, and nothing asked since
    assert await parser_state(probe) == BUSY
    clock.now += 59
    assert await parser_state(probe) == BUSY
    clock.now += 2
    assert await parser_state(probe) == SILENT


async def test_one_that_was_never_well_is_not_ready(
    clock: Clock, fakes: Fakes, parser: Hanging
) -> None:
    parser.hangs = True
    assert await parser_state(ReadinessProbe(fakes.services())) == SILENT


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (Overloaded("full"), BUSY),
        (
            Unavailable("the document parser is not available"),
            (False, "the document parser is not available"),
        ),
    ],
)
async def test_a_full_queue_is_work_and_a_failure_is_not(
    fakes: Fakes, error: Exception, state: tuple[bool, str | None]
) -> None:
    async def failing() -> None:
        raise error

    fakes.parser.check_health = failing  # type: ignore[method-assign]
    assert await parser_state(ReadinessProbe(fakes.services())) == state


@pytest.mark.parametrize(
    ("standing", "state"),
    [
        (ScaleState.AWAKE, DeploymentState(ready=True)),
        (ScaleState.ASLEEP, DeploymentState(ready=True, detail="asleep")),
        (ScaleState.WAKING, DeploymentState(ready=True, detail="waking")),
        (ScaleState.BROKEN, DeploymentState(ready=False, detail="does not start")),
    ],
)
async def test_what_may_sleep_is_not_asked(
    fakes: Fakes, parser: Hanging, standing: ScaleState, state: DeploymentState
) -> None:
    async def told() -> Mapping[str, ScaleState]:
        return {"parser": standing, "llm": ScaleState.AWAKE}

    async def never() -> None:
        pytest.fail("the language model was woken")

    fakes.llm.card = never  # type: ignore[assignment, method-assign]
    seen = await ReadinessProbe(fakes.services(), told).check()
    assert (seen.deployments["parser"], seen.ready, parser.asked) == (state, state.ready, 0)


def deployment(
    *replicas: str, status: str = "HEALTHY", target: int | None = None, **scaling: int
) -> dict[str, Any]:
    return {
        "deployment_config": {"autoscaling_config": scaling or None},
        "replicas": [{"state": state} for state in replicas],
        "status": status,
        "target_num_replicas": len(replicas) if target is None else target,
    }


def test_serve_says_who_sleeps() -> None:
    told = scale_states(
        {
            "LLM": deployment("RUNNING", min_replicas=1),
            "Jobs": deployment(),  # fixed in number: away, not asleep
            "Asleep": deployment(min_replicas=0),
            "Leaving": deployment("STOPPING", target=0, min_replicas=0, status="DOWNSCALING"),
            "Waking": deployment("STARTING", min_replicas=0, status="UPSCALING"),
            "Wanted": deployment(target=1, min_replicas=0),
            "Growing": deployment("RUNNING", "STARTING", min_replicas=0, status="UPSCALING"),
            "Broken": deployment("STARTING", min_replicas=0, status="UNHEALTHY"),
        }
    )
    assert told == {
        "asleep": ScaleState.ASLEEP,
        "leaving": ScaleState.ASLEEP,
        "waking": ScaleState.WAKING,
        "wanted": ScaleState.WAKING,
        "growing": ScaleState.AWAKE,
        "broken": ScaleState.BROKEN,
    }
