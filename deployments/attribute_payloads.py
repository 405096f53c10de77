"""How the attributes of a document lie in the payload of its points, on every store.

`attributes.values` holds a digest of each attribute, its kind, key and value, so that one keyword
index serves all keys. A digest has a fixed length, and no path is made of a key from outside.
Booleans are in it, too, as qdrant-edge 0.9 cannot match them.

`attributes.numbers` holds the numbers by digests of their keys, for ranges. Qdrant may read a
double from its payload with an error of one unit in the last place, but integers exactly. So a
number is stored as two integers, which together have the order of the doubles; the higher one fits
a double.

A path for each key cannot have an index, and a condition without one reads the payload of every
point. So the higher integers of the first numbers of a document are in fields that have an index,
too, whatever their keys, and a digest in `values` says which key is in which.
"""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deployments.filters import is_number

if TYPE_CHECKING:
    from collections.abc import Mapping

    from deployments.filters import Attributes, AttributeValue, Ordered

ATTRIBUTES = "attributes"
VALUES = f"{ATTRIBUTES}.values"
_NUMBERS = f"{ATTRIBUTES}.numbers"
_DIGEST_CHARS = 32  # 128 bits
_ALL_BUT_SIGN = 2**63 - 1
_LOW_BITS = 12  # the 52 others fit a double
NUMBER_FIELDS = tuple(f"{ATTRIBUTES}.number_{field}" for field in range(4))
"""Of integers, with an index. A document with more numbers has the others without."""


@dataclass(frozen=True, slots=True)
class NumberRange:
    """A range of numbers that are stored as two integers.

    A number is in it if its higher integer is in `high`, unless that equals the higher integer of
    the bound (digest `at_bound` in `VALUES`) and its lower integer, at `low_path`, is in
    `low_outside`. `places` are the paths that may hold the higher integer; the one that does has
    its digest in `VALUES`.
    """

    places: tuple[tuple[str, str], ...]
    high: dict[str, int]
    at_bound: str
    low_path: str
    low_outside: dict[str, int]

    @classmethod
    def of(cls, wanted: Ordered) -> NumberRange:
        """Return the range of the numbers that a filter matches."""
        high, low = _parts(wanted.bound)
        number = f"{_NUMBERS}.{_number(wanted.key)}"
        indexed = ((_place(wanted.key, n), path) for n, path in enumerate(NUMBER_FIELDS))
        outside = {"gt": "lte", "gte": "lt", "lt": "gte", "lte": "gt"}[wanted.order]
        return cls(
            (*indexed, (_place(wanted.key, len(NUMBER_FIELDS)), f"{number}.high")),
            {"gte" if wanted.order.startswith("gt") else "lte": high},
            _high(wanted.key, high),
            f"{number}.low",
            {outside: low},
        )


def attributes_payload(attributes: Attributes) -> dict[str, Any]:
    """Return the payload that is set on all points of a document."""
    values = [value_digest(key, value) for key, value in attributes.items()]
    numbers = {key: _parts(value) for key, value in attributes.items() if is_number(value)}
    indexed: dict[str, int] = {}
    for n, (key, (high, _)) in enumerate(numbers.items()):
        place = min(n, len(NUMBER_FIELDS))
        values += [_high(key, high), _place(key, place)]
        if place < len(NUMBER_FIELDS):
            indexed[NUMBER_FIELDS[place].removeprefix(f"{ATTRIBUTES}.")] = high
    by_key = {_number(key): {"high": high, "low": low} for key, (high, low) in numbers.items()}
    return {ATTRIBUTES: {"values": values, "numbers": by_key, **indexed}}


def payload_digest(payload: Mapping[str, Any] | None) -> str:
    """Return a digest of the attributes in the payload of a point, the same for the same ones.

    Chunks that version 0.1 has stored have none, which is as if the document had none.
    """
    known = payload or {}
    if not any(known.values()):
        return ""
    ordered = {**known, "values": sorted(known.get("values") or ())}
    return hashlib.sha256(json.dumps(ordered, sort_keys=True).encode()).hexdigest()[:_DIGEST_CHARS]


def attributes_digest(attributes: Attributes) -> str:
    """Return the `payload_digest` of the points of a document with these attributes."""
    return payload_digest(attributes_payload(attributes)[ATTRIBUTES])


def value_digest(key: str, value: AttributeValue) -> str:
    """Return what is in `VALUES` if an attribute has this value."""
    if is_number(value):
        return _digest("number", key, *_parts(value))
    return _digest(type(value).__name__, key, value)


def _number(key: str) -> str:
    return _digest("number", key)


def _high(key: str, high: int) -> str:
    return _digest("high", key, high)


def _place(key: str, place: int) -> str:
    return _digest("place", key, place)


def _parts(number: float) -> tuple[int, int]:
    """Return a number as two integers, in the order of the doubles."""
    (bits,) = struct.unpack(">q", struct.pack(">d", number or 0.0))  # -0.0 is 0.0
    if bits < 0:
        bits ^= _ALL_BUT_SIGN
    return bits >> _LOW_BITS, bits & (1 << _LOW_BITS) - 1


def _digest(*parts: AttributeValue) -> str:
    digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:_DIGEST_CHARS]
    return f"a{digest}"  # a path begins with a letter
