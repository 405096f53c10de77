"""Uploads in a real browser, over a fake service whose jobs do as the test tells them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from playwright.sync_api import Locator, Route, expect

from deployments.errors import Overloaded
from deployments.types import JobStatus, UnreadFile, ZipOutcome
from tests.integration.page.fake_service import FakeService
from tests.support.archives import zip_file
from tests.support.browser import Visit


def collect(routes: list[Route]) -> Callable[[Route], None]:
    """Return a handler that keeps each request waiting; Playwright takes no built-in function."""

    def handle(route: Route) -> None:
        routes.append(route)

    return handle


def row(visit: Visit, name: str) -> Locator:
    return visit.page.locator(".upload", has_text=name)


def test_files_are_sent_while_others_wait_to_be_searchable(fake: FakeService, visit: Visit) -> None:
    names = [f"file-{number}.md" for number in range(9)]
    visit.choose({name: f"# The text of {name}" for name in names})
    for name in names:  # none of their jobs begins
        expect(row(visit, name)).to_contain_text("Waiting to be read")
    jobs = fake.fakes.jobs
    assert len(jobs.known) == 9
    for job in reversed([*jobs.known]):
        fake.call(jobs.change(job, status=JobStatus.SUCCEEDED, done=2, total=2))
    for name in names:
        expect(row(visit, name)).to_contain_text("Searchable, 2 passages")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("pictures.7z", "7z\x00\x01\x02\x03", "ZIP files of these, and images as PNG"),
        ("a.pdf", "these are words", "not a PDF"),
        ("large.txt", "x" * 1_100_000, "larger than 1 MB"),
        ("empty.md", "", "empty"),
    ],
)
def test_a_file_that_must_be_refused_is_refused_when_it_is_chosen(
    serve: Callable[..., FakeService],
    visitors: Callable[..., Visit],
    name: str,
    content: str,
    words: str,
) -> None:
    visit = visitors(serve(limits={"max_upload_bytes": 1024**2}).url)
    sent: list[Route] = []
    visit.page.route("**/upload", collect(sent))  # nothing gets through
    visit.page.wait_for_load_state("networkidle")
    visit.choose({f"first-{number}.md": "a text" for number in range(5)} | {name: content})
    expect(row(visit, name)).to_have_attribute("data-state", "failed")
    expect(row(visit, name)).to_contain_text(words)
    expect(row(visit, "first-4.md")).to_contain_text("Waiting to be sent")
    assert len(sent) == 2


@pytest.mark.parametrize(
    "content",
    [
        "Grüße, and a text",
        b"\x89PNG\r\n\x1a\n\x00" + b"\x01" * 99,
        b"\xff\xd8\xff\xe0\x00" + b"\x01" * 99,
        b"II*\x00\x08\x00" + bytes(9) + b"\x01" * 99,
        b"MM\x00*\x00" + bytes(9) + b"\x01" * 99,
        b"RIFF\x10\x00\x00\x00WEBPVP8 " + b"\x01" * 99,
    ],
    ids=["text", "png", "jpeg", "tiff", "big-endian tiff", "webp"],
)
def test_a_text_or_an_image_with_any_name_is_taken(visit: Visit, content: str | bytes) -> None:
    visit.choose({"noname": content})
    expect(row(visit, "noname")).to_contain_text("Waiting to be read")


def test_a_file_that_the_service_refuses_says_why(
    serve: Callable[..., FakeService], visitors: Callable[..., Visit]
) -> None:
    visit = visitors(serve(limits={"max_upload_bytes": 1024**2}).url)
    visit.page.route("**/page/capabilities", lambda route: route.fulfill(status=404))
    visit.page.reload()
    visit.choose({"large.md": "x" * 1_200_000})
    expect(row(visit, "large.md")).to_contain_text("The file is larger than 1 MB")
    assert any("413" in problem for problem in visit.problems)  # the service refused it
    visit.problems.clear()  # Chromium logs what is refused


def test_a_busy_service_gets_the_file_later(fake: FakeService, visit: Visit) -> None:
    fake.fakes.jobs.submit_error = Overloaded("too many jobs", retry_after_s=1)
    visit.choose({"patient.md": "a text"})
    expect(row(visit, "patient.md")).to_contain_text("busy")
    fake.fakes.jobs.submit_error = None
    expect(row(visit, "patient.md")).to_contain_text("Waiting to be read")
    assert all("status of 429" in problem for problem in visit.problems)
    visit.problems.clear()


def test_an_upload_is_stopped_after_it_is_sent(fake: FakeService, visit: Visit) -> None:
    visit.choose({"stopped.md": "a text"})
    expect(row(visit, "stopped.md")).to_contain_text("Waiting to be read")
    visit.page.get_by_role("button", name="Stop adding stopped.md").click()
    expect(row(visit, "stopped.md")).to_contain_text("Stopped.")
    (job,) = fake.fakes.jobs.known.values()
    assert job.status is JobStatus.CANCELLED


def test_uploads_stopped_while_they_wait_do_not_keep_others_from_being_sent(visit: Visit) -> None:
    page = visit.page
    held: list[Route] = []
    page.route("**/upload", collect(held), times=2)  # those that are sent at once
    names = [f"file-{number}.md" for number in range(5)]
    visit.choose(dict.fromkeys(names, "a text"))
    for name in names[:2]:
        expect(row(visit, name)).to_contain_text(re.compile("Uploading|Reading"))
    for name in names[2:]:
        expect(row(visit, name)).to_contain_text("Waiting to be sent")
        page.get_by_role("button", name=f"Stop adding {name}").click()
        expect(row(visit, name)).to_have_count(0)
        expect(page.locator("#announcer")).to_have_text(f"{name}: Stopped.")
    page.evaluate("document.getElementById('announcer').textContent = ''")
    for route in held:
        route.continue_()
    visit.choose({"last.md": "a text"})
    for name in (*names[:2], "last.md"):
        expect(row(visit, name)).to_contain_text("Waiting to be read")
    expect(page.locator("#announcer")).to_be_empty()


def test_a_zip_file_shows_its_progress_and_what_was_not_read(
    fake: FakeService, visit: Visit
) -> None:
    visit.choose({"all.zip": zip_file({"a.txt": "a text", "b/c.txt": "another", "d.bin": b"MZ"})})
    shown = row(visit, "all.zip")
    expect(shown).to_contain_text("Waiting to be read")
    jobs = fake.fakes.jobs
    (job,) = jobs.known
    unread = (UnreadFile("d.bin", "unsupported_media", "This looks like a program."),)
    outcome = ZipOutcome(documents=1, not_read=1, unread=unread)
    fake.call(jobs.change(job, status=JobStatus.RUNNING, done=2, total=3, outcome=outcome))
    expect(shown).to_contain_text("2 of 3 files, 1 not read")
    outcome = replace(outcome, documents=2)
    fake.call(jobs.change(job, status=JobStatus.SUCCEEDED, done=3, outcome=outcome))
    expect(shown).to_contain_text("Searchable, 2 documents in default")
    expect(shown.locator(".warning")).to_have_text("d.bin: This looks like a program.")


def test_a_dropped_file_goes_to_the_collection_that_is_chosen(
    fake: FakeService, visit: Visit
) -> None:
    visit.drop("dropped.md", "# Dropped")
    expect(row(visit, "dropped.md")).to_contain_text("Waiting to be read")
    (job,) = fake.fakes.jobs.known.values()
    fake.call(fake.fakes.jobs.change(job.id, status=JobStatus.SUCCEEDED, done=1, total=1))
    expect(row(visit, "dropped.md")).to_contain_text("Searchable, 1 passage in default")
    visit.page.get_by_role("button", name="Ask about it").click()
    assert visit.evaluate("document.activeElement.id") == "question"
