"""`python -m tests.bench.page --url URL --key KEY`: time cold loads of the page in Chromium.

Each load has a browser context of its own, so nothing is cached. With `--shots FOLDER` the page is
then used as a person would use it, and the README's screenshots are taken.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from playwright.sync_api import Browser

from tests.bench.report import Spread, say
from tests.support.browser import chromium
from tests.support.screenshots import DESKTOP, delete_collection, shoot_desktop, shoot_phone

LOADS, QUICK_LOADS = 10, 2
_TIMES = """() => {
    const paints = Object.fromEntries(
        performance.getEntriesByType("paint").map((entry) => [entry.name, entry.startTime]));
    const [navigation] = performance.getEntriesByType("navigation");
    return {
        "first paint": paints["first-paint"],
        "first contentful paint": paints["first-contentful-paint"],
        "DOMContentLoaded": navigation.domContentLoadedEventEnd,
    };
}"""


def loads(browser: Browser, url: str, count: int) -> list[dict[str, float]]:
    """Return the milliseconds of `count` cold loads; one more before them warms the browser up."""
    times = []
    for _ in range(count + 1):
        context = browser.new_context(viewport=DESKTOP)
        page = context.new_page()
        page.goto(url, wait_until="networkidle")
        times.append(page.evaluate(_TIMES))
        context.close()
    return times[1:]


def main() -> int:
    """Time the loads, take the screenshots; return 1 if the page reported a problem."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.page", description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--key", default="", help="an API key, if the service wants one")
    parser.add_argument("--shots", type=Path, help="take the README's pictures into this folder")
    parser.add_argument("--quick", action="store_true", help=f"only {QUICK_LOADS} loads")
    options = parser.parse_args()
    url, count = options.url.rstrip("/"), QUICK_LOADS if options.quick else LOADS
    problems: list[str] = []
    with chromium() as browser:
        times = loads(browser, url, count)
        for name in times[0]:
            spread = Spread.of([one[name] for one in times])
            figures = f"median {spread.median:.0f} ms, max {spread.high:.0f} ms"
            say(f"{name}: {figures} of {count} cold loads")
        if options.shots is not None:
            options.shots.mkdir(parents=True, exist_ok=True)
            desktop = shoot_desktop(browser, url, options.key, options.shots)
            phone = shoot_phone(browser, url, options.key, options.shots)
            delete_collection(desktop)
            problems = desktop.problems + phone.problems
    for problem in problems:
        say(f"the page reported: {problem}")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
