"""Rule of the renderer: on this machine, its browser must exist."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deployments.errors import Unavailable
from deployments.renderer.chromium import find_browser
from serve_app.check.placement.machine import is_this_machine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from serve_app.check.file.document import Problem
    from serve_app.check.rules.subject import Subject


def renderer_problems(subject: Subject) -> Iterator[Problem]:
    """Refuse a renderer without its browser, or without Playwright, which drives it."""
    renderer = subject.settings.renderer
    if renderer is None or not is_this_machine(subject.nodes):
        return
    try:
        find_browser(renderer.chromium)
    except Unavailable as error:
        yield subject.setting("renderer.chromium", error.message)
