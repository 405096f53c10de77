"""Compare two runs, question by question."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from serve_app.evaluation.run import Run

CLEAR_P = 0.05
"""A change with a smaller p is reported as clear."""
_ROUNDS, _BLOCK = 10_000, 500
_SEED = 1
_ROUNDING = 1e-5


class Difference(NamedTuple):
    """The change of one metric over the questions that both runs have scored.

    `won` and `lost` are the keys of the questions that became better and worse, the largest change
    first.
    """

    metric: str
    questions: int
    before: float
    now: float
    p: float
    won: list[str]
    lost: list[str]

    @property
    def clear(self) -> bool:
        """Whether the change is unlikely to be noise."""
        return self.p < CLEAR_P


def differences(before: Run, now: Run) -> list[Difference]:
    """Compare all metrics that both runs have measured of the same questions."""
    earlier = {one.key: one.scores for one in before.questions}
    found = []
    for metric in now.metrics:
        pairs = {
            one.key: (earlier[one.key][metric], one.scores[metric])
            for one in now.questions
            if metric in one.scores and metric in earlier.get(one.key, {})
        }
        if pairs:
            found.append(_difference(metric, pairs))
    return found


def _difference(metric: str, pairs: dict[str, tuple[float, float]]) -> Difference:
    change = {key: later - earlier for key, (earlier, later) in pairs.items()}
    order = sorted(change, key=lambda key: -abs(change[key]))
    before, now = np.mean(list(pairs.values()), axis=0)
    return Difference(
        metric,
        len(pairs),
        float(before),
        float(now),
        p_value(list(change.values())),
        [key for key in order if change[key] > _ROUNDING],
        [key for key in order if change[key] < -_ROUNDING],
    )


def p_value(changes: Sequence[float]) -> float:
    """Return how often a mean change as large as this one comes about by chance, two-sided.

    The paired randomisation test (Smucker, Allan and Carterette, CIKM 2007): if both systems were
    equal, each change could as well have the other sign. Where scores are 0 or 1, this is the sign
    test.
    """
    changed = np.array([one for one in changes if abs(one) > _ROUNDING])
    if not changed.size:
        return 1.0
    observed = abs(changed.sum()) - _ROUNDING
    draw = np.random.default_rng(_SEED)
    extreme = 0
    for _ in range(_ROUNDS // _BLOCK):
        signs = draw.choice((-1.0, 1.0), size=(_BLOCK, changed.size))
        extreme += int((np.abs(signs @ changed) >= observed).sum())
    return (extreme + 1) / (_ROUNDS + 1)
