"""ZIP files in memory."""

from __future__ import annotations

import io
import zipfile


def zip_file(**members: str) -> bytes:
    """Return a ZIP file with members of these names and texts."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return out.getvalue()
