"""Two API keys, and the paths that need none."""

from __future__ import annotations

ALICE, BOB = "a" * 20, "b" * 20
KEYS = f"alice:{ALICE}, bob:{BOB}"
PUBLIC = ("/healthz", "/readyz", "/docs", "/openapi.json", "/static-offline-docs/swagger-ui.css")


def bearer(key: str) -> dict[str, str]:
    """Return the header that names a key."""
    return {"authorization": f"Bearer {key}"}
