"""A real browser on the page, as a person has it; whatever should not happen is written down."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Dialog,
    FilePayload,
    Page,
    Request,
    sync_playwright,
)

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_UNAUTHORIZED = "status of 401"
_TIMEOUT_MS = 60_000


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """The system's Chromium without a window; fails in words where there is none."""
    if not CHROMIUM:
        msg = "the page is tried in a real browser: install Chromium (apt-get install chromium)"
        raise FileNotFoundError(msg)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_ARGUMENTS)
        yield browser
        browser.close()


@dataclass
class Visit:
    """A page that somebody visits, and what it did that it should not."""

    page: Page
    url: str
    problems: list[str] = field(default_factory=list)
    # Chromium logs a refused request as an error, and a page without a key must be refused.
    without_key: bool = True

    def __post_init__(self) -> None:
        self.page.set_default_timeout(_TIMEOUT_MS)
        self.page.on("console", self._logged)
        self.page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        self.page.on("dialog", self._asked)
        self.page.on("request", self._requested)
        self.page.add_init_script(
            "addEventListener('securitypolicyviolation', (event) =>"
            " console.error('policy', event.violatedDirective, event.blockedURI))"
        )

    def open(self, view: str = "chat") -> None:
        self.page.goto(f"{self.url}/#{view}")

    def give_key(self, key: str) -> None:
        """Answer the page's request for a key as a person does."""
        settings = self.page.locator("#settings")
        settings.get_by_label("API key").fill(key)
        with self.page.expect_response("**/v1/models") as answer:
            settings.get_by_role("button", name="Save").click()
        if answer.value.ok:
            self.without_key = False

    def go(self, view: str) -> None:
        self.page.get_by_role("navigation").get_by_role("link", name=view).click()
        self.page.get_by_role("heading", name=view, level=1, exact=True).wait_for()

    def ask(self, question: str) -> None:
        self.page.get_by_label("Your question").fill(question)
        self.page.keyboard.press("Enter")

    def drop(self, name: str, content: str) -> None:
        """Drop a file onto the page, as far as a script can."""
        carried = self.page.evaluate_handle(
            """([name, content]) => {
                const carried = new DataTransfer();
                carried.items.add(new File([content], name, { type: "text/markdown" }));
                return carried;
            }""",
            [name, content],
        )
        for event in ("dragenter", "dragover"):
            self.page.dispatch_event("main", event, {"dataTransfer": carried})
        self.page.get_by_text("Drop to add").wait_for()
        self.page.dispatch_event("main", "drop", {"dataTransfer": carried})
        self.page.get_by_text("Drop to add").wait_for(state="hidden")

    def choose(self, files: Mapping[str, str | bytes]) -> None:
        """Choose files with these contents, as from the dialog of the browser."""
        chosen: list[FilePayload] = [
            {
                "name": name,
                "mimeType": "text/plain",
                "buffer": content if isinstance(content, bytes) else content.encode(),
            }
            for name, content in files.items()
        ]
        self.page.locator("#files").set_input_files(chosen)

    def settle(self) -> None:
        """Wait until everything that a resize or a scroll causes has happened."""
        self.evaluate("new Promise(done => requestAnimationFrame(() => setTimeout(done, 50)))")

    def evaluate(self, script: str, argument: Any = None) -> Any:
        return self.page.evaluate(script, argument)

    def _logged(self, message: ConsoleMessage) -> None:
        allowed = self.without_key and _UNAUTHORIZED in message.text
        if message.type == "error" and not allowed:
            self.problems.append(f"console: {message.text}")

    def _asked(self, dialog: Dialog) -> None:
        self.problems.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _requested(self, request: Request) -> None:
        origin = "/".join(self.url.split("/", 3)[:3])
        if not request.url.startswith((f"{self.url}/", f"blob:{origin}/")):
            self.problems.append(f"request: {request.url}")
