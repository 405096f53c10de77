"""Settings that have another name now: the old one is read, and a warning says what to write."""

from __future__ import annotations

from typing import Any

from loguru import logger

RENAMED = {
    "jobs.database_url": "database_url",
    "retriever.max_collections": "limits.max_collections",
}
"""The dotted paths of settings in version 0.1, and those of today."""


def with_new_names(given: dict[str, Any]) -> dict[str, Any]:
    """Return settings under the names of today; those under both names stay as they are."""
    for old, new in RENAMED.items():
        if _has(given, old) and not _has(given, new):
            logger.warning("rename the setting `{}` to `{}`", old, new)
            given, value = _without(given, old)
            if value is not None:
                given = _with(given, new, value)
    return given


def _has(given: dict[str, Any], path: str) -> bool:
    section, _, name = path.rpartition(".")
    settings = given.get(section) if section else given
    return isinstance(settings, dict) and name in settings


def _without(given: dict[str, Any], path: str) -> tuple[dict[str, Any], Any]:
    section, _, name = path.rpartition(".")
    left = dict(given[section])
    value = left.pop(name)
    return given | {section: left}, value


def _with(given: dict[str, Any], path: str, value: Any) -> dict[str, Any]:  # noqa: ANN401
    section, _, name = path.rpartition(".")
    if not section:
        return given | {name: value}
    return given | {section: {**(given.get(section) or {}), name: value}}
