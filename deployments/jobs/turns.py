"""Fair turns: which waiting job starts next, by weighted fair queueing over owners.

Each owner has a virtual time: the CPU seconds of its jobs, divided by its weight. The owner with
the least goes next. A job is charged its estimated cost when it starts, more while it takes more,
and what it took when it has ended; so the unit of a turn is the cost of a job, not the job. An
owner who was idle begins at the virtual time of those at work: idleness earns no credit.

Short and long jobs have places of their own: a long job never takes the place of a short one.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from collections.abc import Set as AbstractSet

_LEAST_COST_S = 0.02
"""What any job costs: its database transactions and calls."""


@dataclass(frozen=True, slots=True)
class WaitingJob:
    """A job in the queue: its owner, its estimated cost in CPU seconds, and its kind of place."""

    id: str
    owner: str
    cost_s: float
    short: bool


@dataclass(frozen=True, slots=True)
class Places:
    """How many jobs run at once; with no places for short jobs these use the others.

    `per_owner` is the most long jobs of one owner, by default all.
    """

    long: int
    short: int = 0
    per_owner: int | None = None

    def pool(self, job: WaitingJob) -> bool:
        """Return whether the job runs in a place for short jobs."""
        return job.short and self.short > 0

    def size(self, *, short: bool) -> int:
        """Return the number of places of one of the two pools."""
        return self.short if short else self.long


@dataclass(slots=True)
class _Running:
    job: WaitingJob
    charged_s: float
    used_s: float = 0.0


@dataclass(slots=True)
class _Owner:
    weight: float
    spent: float = 0.0
    waiting: dict[bool, OrderedDict[str, WaitingJob]] = field(
        default_factory=lambda: {True: OrderedDict(), False: OrderedDict()}
    )
    running: dict[bool, int] = field(default_factory=lambda: {True: 0, False: 0})
    unpaid_s: float = 0.0  # charged for running jobs, and not yet used by them

    @property
    def paid(self) -> float:
        """Return the part of `spent` that was used: estimates may be refunded."""
        return self.spent - self.unpaid_s / self.weight

    @property
    def idle(self) -> bool:
        return not any(self.waiting.values()) and not any(self.running.values())


class Turns:
    """The waiting and the running jobs of one kind at one replica; not for several threads."""

    def __init__(self, places: Places, shares: Mapping[str, float] | None = None) -> None:
        """Set the places, and the weights of owners, which are 1 by default."""
        self._places = places
        self._shares = shares or {}
        self._owners: dict[str, _Owner] = {}
        self._waiting: dict[str, WaitingJob] = {}
        self._running: dict[str, _Running] = {}
        self._virtual_time = 0.0

    @property
    def waiting(self) -> AbstractSet[str]:
        """Return the ids of the waiting jobs."""
        return self._waiting.keys()

    @property
    def running(self) -> AbstractSet[str]:
        """Return the ids of the running jobs."""
        return self._running.keys()

    def waiting_by_owner(self) -> Counter[str]:
        """Count the waiting jobs of each owner."""
        return Counter(
            {name: sum(map(len, owner.waiting.values())) for name, owner in self._owners.items()}
        )

    def runs_short(self, job_id: str) -> bool:
        """Return whether a running job holds a place for short jobs."""
        run = self._running.get(job_id)
        return run is not None and self._places.pool(run.job)

    def add(self, job: WaitingJob) -> None:
        """Queue a job behind those of its owner; a job that waits or runs already stays so."""
        if job.id in self._waiting or job.id in self._running:
            return
        owner = self._owners.get(job.owner)
        if owner is None:
            owner = self._owners[job.owner] = _Owner(self._shares.get(job.owner, 1.0))
        if owner.idle:
            owner.spent = max(owner.spent, self._virtual_time)
        owner.waiting[self._places.pool(job)][job.id] = job
        self._waiting[job.id] = job

    def remove(self, job_id: str) -> None:
        """Drop a waiting job: it was cancelled, or another replica has claimed it."""
        job = self._waiting.pop(job_id, None)
        if job is not None:
            del self._owners[job.owner].waiting[self._places.pool(job)][job_id]
            self._forget_idle()

    def take(self) -> Iterator[WaitingJob]:
        """Yield the jobs to start now, as far as places are free; each then holds its place."""
        for short in (True, False):
            free = self._places.size(short=short)
            free -= sum(self._places.pool(run.job) == short for run in self._running.values())
            while free > 0 and (job := self._next(short=short)) is not None:
                self._start(job)
                free -= 1
                yield job

    def charge(self, job_id: str, cpu_s: float) -> None:
        """Charge a running job for CPU seconds, as far as they exceed what it was charged."""
        run = self._running.get(job_id)
        if run is not None:
            owner = self._owners[run.job.owner]
            owner.unpaid_s -= min(cpu_s, max(run.charged_s - run.used_s, 0.0))
            run.used_s += cpu_s
            if run.used_s > run.charged_s:
                self._correct(run, run.used_s)

    def end(self, job_id: str) -> None:
        """Free the place of a job and charge it what it took, which may be less than estimated."""
        run = self._running.pop(job_id, None)
        if run is not None:
            owner = self._owners[run.job.owner]
            owner.unpaid_s -= max(run.charged_s - run.used_s, 0.0)
            self._correct(run, max(run.used_s, _LEAST_COST_S))
            owner.running[self._places.pool(run.job)] -= 1
            self._forget_idle()

    def put_back(self, job: WaitingJob) -> None:
        """Return a job that was taken and could not be started to the head of its queue."""
        self.end(job.id)
        self.add(job)
        self._owners[job.owner].waiting[self._places.pool(job)].move_to_end(job.id, last=False)

    def _next(self, *, short: bool) -> WaitingJob | None:
        able = [owner for owner in self._owners.values() if owner.waiting[short]]
        if not short and self._places.per_owner is not None:
            able = [owner for owner in able if owner.running[short] < self._places.per_owner]
        if len(able) > 1:
            # No owner holds all places while another waits.
            most = self._places.size(short=short) - 1
            able = [owner for owner in able if owner.running[short] < most] or able
        if not able:
            return None
        first = min(able, key=lambda owner: owner.spent)
        return next(iter(first.waiting[short].values()))

    def _start(self, job: WaitingJob) -> None:
        owner, pool = self._owners[job.owner], self._places.pool(job)
        del self._waiting[job.id], owner.waiting[pool][job.id]
        owner.running[pool] += 1
        self._virtual_time = max(self._virtual_time, owner.paid)
        cost_s = max(job.cost_s, _LEAST_COST_S)
        owner.spent += cost_s / owner.weight
        owner.unpaid_s += cost_s
        self._running[job.id] = _Running(job, cost_s)

    def _correct(self, run: _Running, cost_s: float) -> None:
        owner = self._owners[run.job.owner]
        owner.spent += (cost_s - run.charged_s) / owner.weight
        run.charged_s = cost_s

    def _forget_idle(self) -> None:
        """Drop idle owners who have no debt; the others are kept until all are idle."""
        everyone_idle = not self._waiting and not self._running
        for name, owner in list(self._owners.items()):
            if everyone_idle or (owner.idle and owner.spent <= self._virtual_time):
                del self._owners[name]
