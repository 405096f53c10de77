"""The start message about web pages that need JavaScript."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deployments.errors import Unavailable
from deployments.renderer.chromium import find_browser
from deployments.settings import RendererSettings

if TYPE_CHECKING:
    from serve_app.settings import AppSettings


def scripts_line(settings: AppSettings) -> str:
    """Return a line that says whether such pages are read and, if not, how to enable it."""
    if settings.renderer is not None:
        return f"Web pages that need JavaScript are read with {settings.renderer.chromium}."
    try:
        browser = f"{find_browser(RendererSettings().chromium)} is installed"
    except Unavailable as error:
        browser = error.message
    return (
        f"Web pages that need JavaScript are not read, as `renderer` is not set: {browser}; "
        "configs/README.md says how to set it."
    )
