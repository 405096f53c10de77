"""API keys: `NAME:KEY` pairs from the environment."""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from pydantic import SecretStr

NOBODY = ""
"""The owner of every request where the service has no keys."""

KEYS_NEEDED = (
    "without API keys the service is for this machine only; set GENSERVE_API_KEYS=NAME:KEY,... "
    "in the environment, or the host to 127.0.0.1"
)
MIN_KEY_CHARS = 16
_PAIR = re.compile(r"(?P<name>[a-z0-9][a-z0-9_-]{0,31}):(?P<key>[\x21-\x2b\x2d-\x7e]+)")


class Keys:
    """Each key has an owner; an owner may have several keys, to change them without a gap.

    Only digests are kept.
    """

    def __init__(self, owners: dict[bytes, str]) -> None:
        """Take owners by the digests of their keys; most callers want `read`."""
        self._owners = owners

    @classmethod
    def read(cls, secret: SecretStr | None) -> Self:
        """Read `alice:KEY,bob:KEY`; raises ValueError, which says what is wrong and no key."""
        owners: dict[bytes, str] = {}
        pairs = secret.get_secret_value().split(",") if secret is not None else []
        for number, pair in enumerate(filter(None, map(str.strip, pairs)), 1):
            match = _PAIR.fullmatch(pair)
            if match is None:
                msg = (
                    f"GENSERVE_API_KEYS: entry {number} is not NAME:KEY, a name of lower-case "
                    "letters, digits, `-` and `_`, then a key without blanks or commas"
                )
                raise ValueError(msg)
            if len(match["key"]) < MIN_KEY_CHARS:
                msg = (
                    f"GENSERVE_API_KEYS: the key of `{match['name']}` has less than "
                    f"{MIN_KEY_CHARS} characters; `openssl rand -hex 24` makes a good one"
                )
                raise ValueError(msg)
            if owners.setdefault(_digest(match["key"]), match["name"]) != match["name"]:
                msg = f"GENSERVE_API_KEYS: `{match['name']}` has the same key as somebody else"
                raise ValueError(msg)
        return cls(owners)

    def __bool__(self) -> bool:
        return bool(self._owners)

    def owners(self) -> list[str]:
        """Return all owners of keys; only NOBODY where there are none."""
        return sorted(set(self._owners.values())) or [NOBODY]

    def owner_of(self, key: str) -> str | None:
        """Return the owner of a key, None if it is unknown, in constant time."""
        given, found = _digest(key), None
        for digest, owner in self._owners.items():
            if hmac.compare_digest(given, digest):
                found = owner
        return found


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
