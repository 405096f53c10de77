"""The version of GenServe that runs."""

from __future__ import annotations

import importlib.metadata


def genserve_version() -> str:
    """Return the version of the installed package."""
    try:
        return importlib.metadata.version("genserve")
    except importlib.metadata.PackageNotFoundError:
        return "(not installed as a package: version unknown)"
