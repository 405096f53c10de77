"""Fair turns: which owner is next, by weighted fair queueing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

Owner = TypeVar("Owner")


class FairTurns(Generic[Owner]):
    """Turns of the owners who wait (self-clocked fair queueing: Golestani, 1994).

    An owner's virtual time is what its turns have cost, divided by its weight. The owner whose next
    turn would end at the least virtual time is next. An owner who comes starts at the virtual time
    of the latest turn: idleness earns nothing.
    """

    def __init__(self, shares: Mapping[str, float] | None = None) -> None:
        """Set the weights of owners, 1 for those that are not named."""
        self._shares: Mapping[Any, float] = shares or {}  # an owner may be of any type
        self._spent: dict[Owner, float] = {}
        self._now = 0.0

    def weight(self, owner: Owner) -> float:
        return self._shares.get(owner, 1.0)

    def enter(self, owner: Owner) -> None:
        """Let an owner take turns, who may do so already."""
        self._spent.setdefault(owner, self._now)

    def forget_idle(self, waiting: Collection[Owner]) -> None:
        """Forget the owners who wait no longer, unless they are ahead of the others."""
        self._spent = {
            owner: spent
            for owner, spent in self._spent.items()
            if owner in waiting or spent > self._now
        }

    def next(self, costs: Mapping[Owner, float]) -> Owner:
        """Return whose turn it is, of the owners of these next turns."""
        return min(costs, key=lambda owner: self._end(owner, costs[owner]))

    def begin(self, owner: Owner, cost: float) -> None:
        """Move the virtual time to the end of this turn, which is charged separately."""
        self._now = max(self._now, self._end(owner, cost))

    def charge(self, owner: Owner, cost: float) -> None:
        self._spent[owner] = self._end(owner, cost)

    def _end(self, owner: Owner, cost: float) -> float:
        return self._spent[owner] + cost / self.weight(owner)
