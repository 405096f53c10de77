"""Alias for the failures of jobs that version 0.1 stored; to be removed with version 0.3."""

from deployments.errors import Unavailable as Away

__all__ = ["Away"]
