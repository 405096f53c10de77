"""Ids of jobs that are derived from a key of the caller."""

from __future__ import annotations

import hashlib


def job_id_for(owner: str, kind: str, key: str) -> str:
    """Derive a job id from a key and its owner, so that every replica finds the same job."""
    # The name of an owner contains no slash.
    path = "/".join(filter(None, (owner, kind, key)))
    digest = hashlib.sha256(path.encode()).hexdigest()
    return f"job_{digest[:32]}"
