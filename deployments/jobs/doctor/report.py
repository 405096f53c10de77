"""The report of a run: findings counted by kind, with examples, so that its size is bounded."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from deployments.jobs.doctor.findings import ABOUT
from deployments.types import DamageKind

if TYPE_CHECKING:
    from deployments.jobs.doctor.findings import Finding

_EXAMPLES = 20  # of each kind


@dataclass
class Report:
    """What a run has found; `looked_at` counts what it has compared."""

    found: Counter[DamageKind] = field(default_factory=Counter)
    mended: Counter[DamageKind] = field(default_factory=Counter)
    examples: dict[DamageKind, list[Finding]] = field(default_factory=dict)
    looked_at: Counter[str] = field(default_factory=Counter)
    began_at: float = field(default_factory=time.time)
    took_s: float = 0.0

    def add(self, finding: Finding) -> bool:
        """Count a finding; return whether it is kept, as the first ones of its kind are."""
        self.found[finding.kind] += 1
        if finding.mended:
            self.mended[finding.kind] += 1
        examples = self.examples.setdefault(finding.kind, [])
        if len(examples) == _EXAMPLES:
            return False
        examples.append(finding)
        return True

    @property
    def left(self) -> int:
        """Return the number of findings that were not mended."""
        return self.found.total() - self.mended.total()

    def record(self) -> dict[str, Any]:
        """Return the report as plain values, which JSON can hold."""
        return {
            "began_at": self.began_at,
            "took_s": round(self.took_s, 3),
            "looked_at": dict(self.looked_at),
            "left": self.left,
            "kinds": [
                {
                    "kind": kind.value,
                    **asdict(ABOUT[kind]),
                    "found": self.found[kind],
                    "mended": self.mended[kind],
                    "examples": [
                        asdict(each) | {"kind": kind.value, "subject": each.subject}
                        for each in self.examples.get(kind, ())
                    ],
                }
                for kind in DamageKind
                if self.found[kind]
            ],
        }
