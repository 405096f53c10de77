"""Filters by attributes in the terms of Qdrant Edge."""

from __future__ import annotations

from typing import Any

from qdrant_edge import FieldCondition, Filter, MatchAny, RangeFloat

from deployments import filters
from deployments.attribute_payloads import VALUES, NumberRange, value_digest


def condition(wanted: filters.Filter) -> Filter:
    """Return the condition that points of matching documents fulfil."""
    match wanted:
        case filters.Compound("and", parts):
            return Filter(must=[condition(part) for part in parts])
        case filters.Compound(_, parts):
            return Filter(should=[condition(part) for part in parts])
        case filters.OneOf(key, values, negated):
            any_of: list[Any] = [_holds([value_digest(key, value) for value in values])]
            return Filter(must_not=any_of) if negated else Filter(must=any_of)
        case filters.Ordered():
            found = NumberRange.of(wanted)
            low_outside = FieldCondition(found.low_path, range=RangeFloat(**found.low_outside))
            return Filter(
                should=[
                    Filter(
                        must=[
                            _holds([digest]),
                            FieldCondition(path, range=RangeFloat(**found.high)),
                        ]
                    )
                    for digest, path in found.places
                ],
                must_not=[Filter(must=[_holds([found.at_bound]), low_outside])],
            )


def _holds(digests: list[str]) -> FieldCondition:
    return FieldCondition(VALUES, MatchAny(digests))
