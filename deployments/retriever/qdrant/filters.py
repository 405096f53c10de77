"""Filters by attributes in the terms of a Qdrant server."""

from __future__ import annotations

from qdrant_client import models

from deployments import filters
from deployments.attribute_payloads import VALUES, NumberRange, value_digest


def condition(wanted: filters.Filter) -> models.Filter:
    """Return the condition that points of matching documents fulfil."""
    match wanted:
        case filters.Compound("and", parts):
            return models.Filter(must=[condition(part) for part in parts])
        case filters.Compound(_, parts):
            return models.Filter(should=[condition(part) for part in parts])
        case filters.OneOf(key, values, negated):
            any_of: list[models.Condition] = [_holds([value_digest(key, each) for each in values])]
            return models.Filter(must_not=any_of) if negated else models.Filter(must=any_of)
        case filters.Ordered():
            found = NumberRange.of(wanted)
            high = models.Range(**found.high)
            low_outside = models.FieldCondition(
                key=found.low_path, range=models.Range(**found.low_outside)
            )
            return models.Filter(
                should=[
                    models.Filter(
                        must=[_holds([digest]), models.FieldCondition(key=path, range=high)]
                    )
                    for digest, path in found.places
                ],
                must_not=[models.Filter(must=[_holds([found.at_bound]), low_outside])],
            )


def _holds(digests: list[str]) -> models.FieldCondition:
    return models.FieldCondition(key=VALUES, match=models.MatchAny(any=digests))
