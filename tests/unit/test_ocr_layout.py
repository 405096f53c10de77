"""Recognised lines are put into the order in which a person reads them."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pytest

from deployments.parser.ocr import tesseract
from deployments.parser.ocr.layout import Box, page_text

LINE = 20


def box(text: str, left: float, row: float, *, angle: float = 0.0) -> Box:
    """Place a text, 10 wide for each character, on a page that is turned about its corner."""
    width, top = 10 * len(text), row * 26
    corners = [(left, top), (left + width, top), (left + width, top + LINE), (left, top + LINE)]
    sine, cosine = math.sin(math.radians(angle)), math.cos(math.radians(angle))
    return Box(text, np.array([(x * cosine - y * sine, x * sine + y * cosine) for x, y in corners]))


def column(name: str, left: float, rows: range) -> list[Box]:
    return [box(f"{name} line number {row:02} of it", left, row) for row in rows]


@pytest.mark.parametrize("angle", [0, 3, -3])
def test_columns_are_read_one_after_the_other_between_headings(angle: float) -> None:
    rows = range(2, 9)
    boxes = [box("A heading across both of the columns of this page", 0, 0, angle=angle)]
    for name, left in (("right", 340), ("left", 0)):
        boxes += [box(f"{name} line number {row:02} of it", left, row, angle=angle) for row in rows]
    text = page_text(boxes).split("\n")
    lines = [line.split()[0] for line in text if line]
    assert lines == ["A", *["left"] * 7, *["right"] * 7]


def test_rows_of_a_table_stay_rows() -> None:
    cells = [
        box(text, left, row)
        for row in range(6)
        for text, left in ((f"item {row}", 0), (f"{row} kg", 300), (f"{row}.50", 500))
    ]
    assert page_text(cells[::-1]).split("\n")[2] == "item 2 | 2 kg | 2.50"


def test_labels_of_a_form_stay_beside_their_values() -> None:
    form = {
        "Name of the tenant": "Johann Bernhardt of Gerlin",
        "Address of the flat that is let": "Old Harbour Street 17",
        "Notice period in months": "three, to the end of a quarter",
        "Deposit, in crowns and without interest": "two thousand four hundred",
        "Keys": "five, of which two are for the cellar",
    }
    boxes = [box(label, 0, row) for row, label in enumerate(form)]
    boxes += [box(value, 500, row) for row, value in enumerate(form.values())]
    assert page_text(boxes).split("\n") == [" | ".join(pair) for pair in form.items()]


def test_a_wider_gap_begins_a_paragraph() -> None:
    boxes = [box("one", 0, 0), box("two", 0, 1), box("three", 0, 3), box("four", 0, 4)]
    assert page_text(boxes) == "one\ntwo\n\nthree\nfour"
    assert page_text([]) == ""


SCRIPT = """#!/bin/sh
row() { printf '5\\t1\\t1\\t%s\\t%s\\t1\\t0\\t0\\t0\\t0\\t%s\\t%s\\n' "$@"; }
case "$*" in
--list-langs) printf 'List of available languages:\\nosd\\n%s\\n' "$DATA" ;;
*osd*) cat > /dev/null; printf 'Orientation: 0\\nScript: Cyrillic\\n' ;;
*) cat > /dev/null
   printf 'level\\tpage\\tblock\\tpar\\tline\\tword\\tl\\tt\\tw\\th\\tconf\\ttext\\n'
   row 1 1 90 Снег; row 1 1 90 "($6)"; row 1 2 70 белый; row 2 1 5 '~' ;;
esac
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a stand-in for tesseract on the path."""
    program = tmp_path / "tesseract"
    program.write_text(SCRIPT, encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("rus", "Снег (rus)\nбелый"),
        ("script/Cyrillic", "Снег (script/Cyrillic)\nбелый"),
        ("eng", None),
    ],
)
@pytest.mark.usefixtures("installed")
def test_tesseract_reads_a_script_that_it_has_data_of(
    data: str, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATA", data)
    tesseract._installed.cache_clear()
    script, found = tesseract.read(np.full((40, 60, 3), 255, dtype="uint8"))
    tesseract._installed.cache_clear()
    assert script == "Cyrillic"
    assert (found.text if found else None) == expected
    assert found is None or 0.7 < found.confidence < 0.9


def test_without_tesseract_no_script_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    tesseract._installed.cache_clear()
    assert tesseract.read(np.full((40, 60, 3), 255, dtype="uint8")) == ("", None)
    tesseract._installed.cache_clear()
