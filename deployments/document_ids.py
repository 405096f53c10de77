"""Ids and names of documents: what those from outside must look like."""

from __future__ import annotations

import re

from deployments.errors import InvalidRequest

DOCUMENT_ID = r"doc_[0-9a-f]{32}"
"""The regular expression of an id."""

_SIGN = r"/\\\x00-\x1f\x7f"  # what no segment of a name has
_SEGMENT = rf"(?:[^.{_SIGN}][^{_SIGN}]*|\.[^.{_SIGN}][^{_SIGN}]*|\.\.[^{_SIGN}]+)"
DOCUMENT_NAME = rf"{_SEGMENT}(?:/{_SEGMENT})*"
"""Pattern of the names of documents: file names, or relative paths of files in ZIP files."""

_ID = re.compile(DOCUMENT_ID)


def check_document_id(document_id: str) -> None:
    """Raise InvalidRequest unless the id is safe as part of a path."""
    if not _ID.fullmatch(document_id):
        msg = "The id of a document is `doc_` and 32 hexadecimal digits in lower case."
        raise InvalidRequest(msg, param="document_id")
