"""Export and import of collections on the page, in a real browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect

from serve_app.testing import Fakes
from tests.integration.page.fake_service import FakeService
from tests.support.api_keys import ALICE, KEYS
from tests.support.browser import Visit
from tests.support.collection_archives import BuiltDocument, archive, members_of


@pytest.mark.parametrize("key", ["", ALICE])
def test_a_collection_is_exported_and_imported(
    serve: Callable[..., FakeService], visitors: Callable[..., Visit], tmp_path: Path, key: str
) -> None:
    fakes = Fakes(api_keys=KEYS if key else "")
    fakes.jobs.runs = True
    visit = visitors(serve(fakes).url)
    page = visit.page
    page.wait_for_load_state("networkidle")
    if key:
        visit.give_key(key)
        visit.without_key = False
    visit.choose({"snow.md": "# Snow\n\nSnow is white."})
    expect(page.locator(".upload", has_text="snow.md")).to_contain_text("Searchable")
    visit.go("Documents")
    with page.expect_download() as downloading:
        page.get_by_role("button", name="Export").click()
    target = tmp_path / downloading.value.suggested_filename
    downloading.value.save_as(target)
    assert target.name == "default.tar"

    page.locator("#archive").set_input_files(target)
    row = page.locator(".upload", has_text="default.tar").first
    expect(row).to_contain_text("Imported, 1 document in default")
    row.get_by_role("button", name="Show it").click()
    expect(page.locator("#documents-list")).to_contain_text("snow.md")
    assert page.locator("#show-collection").input_value().startswith("vs_")

    bad = tmp_path / "bad.tar"
    bad.write_bytes(archive(members_of([BuiltDocument(lines=b"{}\n" * 2)])))
    visit.page.locator("#archive").set_input_files(bad)
    failed = page.locator(".upload", has_text="bad.tar")
    expect(failed).to_have_attribute("data-state", "failed")
    expect(failed).to_contain_text("This archive cannot be imported")
    visit.go("Jobs")
    expect(page.locator("#jobs-list")).to_contain_text("Import of a collection")
