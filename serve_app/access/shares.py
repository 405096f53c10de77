"""Shares: what each API key may use of a bounded resource of this ingress replica."""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from deployments.errors import Overloaded

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_WHERE = "Ingress"


class Division(NamedTuple):
    """The requests that an ingress replica serves at once, by what they are."""

    keys: int
    public: int
    health: int


def divided(capacity: int) -> Division:
    """Give three quarters to the keys, an eighth to public paths and an eighth to health checks."""
    eighth = max(2, capacity // 8)
    return Division(max(1, capacity - 2 * eighth), eighth, eighth)


class Shares:
    """Places of a resource, divided among the keys that use it.

    Every busy key has a share by its weight. One more share, that of the heaviest idle key, stays
    free for the next key that comes; it is at most half of the places, so that a heavy key that
    never comes leaves something to the light ones. A key may use its whole share, and no more, if
    a place is left for every key that uses none; a key that uses none gets a place as long as
    there is one. A single key has all places.

    Places are not taken back: a key whose share shrinks keeps what it has and gets no more.
    """

    def __init__(self, what: str, capacity: int, weights: Mapping[str, float]) -> None:
        """Divide `capacity` places among the owners in `weights`; `what` is used in messages."""
        self._what = what
        self.capacity = capacity
        self._weights = weights
        self._used: Counter[str] = Counter()

    @contextlib.contextmanager
    def take(self, owner: str, places: int = 1) -> Iterator[None]:
        """Hold places; raises Overloaded if the owner may not have so many more now."""
        if not self.has_room(owner, places):
            raise self.refusal(owner)
        self.add(owner, places)
        try:
            yield
        finally:
            self.remove(owner, places)

    def has_room(self, owner: str, places: int = 1) -> bool:
        """Return whether the owner may take so many places now.

        One that uses none may, as long as there is any: a large request is served too.
        """
        used, free = self._used[owner], self.capacity - self._used.total()
        if not used:
            return free > 0
        idle = sum(not self._used[other] for other in self._weights)
        left = free - places
        return used + places <= self._share(owner) and left >= min(idle, self.capacity // 2)

    def used(self, owner: str) -> int:
        """Return the number of places that an owner holds."""
        return self._used[owner]

    def add(self, owner: str, places: int = 1) -> None:
        """Take places without asking."""
        self._used[owner] += places

    def remove(self, owner: str, places: int = 1) -> None:
        """Give places back."""
        self._used[owner] -= places

    def refusal(self, owner: str) -> Overloaded:
        """Return the error for an owner that gets no place."""
        used = self._used[owner]
        msg = (
            f"this API key uses {used} of {self.capacity} places for {self._what}, which is its "
            "share; wait until some are free"
            if used
            else f"all {self.capacity} places for {self._what} are taken; try again shortly"
        )
        error = Overloaded(msg)
        error.where = _WHERE
        return error

    def _share(self, owner: str) -> float:
        busy = sum(weight for name, weight in self._weights.items() if self._used[name])
        idle = (weight for name, weight in self._weights.items() if not self._used[name])
        reserve = min(max(idle, default=0.0), busy)
        return self.capacity * self._weights[owner] / (busy + reserve)
