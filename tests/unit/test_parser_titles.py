"""Titles are what a person would call the document, or the file name serves."""

from __future__ import annotations

import pytest

from deployments.parser.reading.titles import tidy_title


@pytest.mark.parametrize(
    "candidate",
    [
        "Annual report of the waterworks",
        "On Harbour Tolls",
        "Tolls",
        "Harbour law",
        "iPhone repair",
        "Figures of speech in Homer",
        "Table manners for children",
        "3D printing: a primer",
        "Is the moon inhabited?",
        "Bericht über das Jahr 2024",
        "第三章 橋の長さ",
        "年報",
        "Годовой отчёт",
        "تقرير سنوي",
        "C++ (second edition)",
        "Vitamin C and the heart",
        "RFC 9110",
    ],
)
def test_title_that_a_person_gave(candidate: str) -> None:
    assert tidy_title(candidate) == candidate


@pytest.mark.parametrize(
    ("candidate", "title"),
    [
        ("Microsoft Word - Annual report", "Annual report"),
        ("  Annual \n report ", "Annual report"),
        ("PowerPoint Presentation - Lamps", "Lamps"),
    ],
)
def test_program_and_spaces_are_removed(candidate: str, title: str) -> None:
    assert tidy_title(candidate) == title


@pytest.mark.parametrize(
    "candidate",
    [
        "",
        " ",
        "7",
        "12.3",
        "§§ --- §§",
        "untitled",
        "Untitled document 3",
        "(anonymous)",
        "Document1",
        "PowerPoint Presentation",
        "Microsoft Word - Document1",
        "Microsoft Word - draft3.doc",
        "report_final_v2.docx",
        "lamp-manual.indd",
        "annual_report_final",
        "IBM-pumps.graffle",
        r"C:\Users\anna\Desktop\report.doc",
        "file:///tmp/print.html",
        "https://example.org/a",
        "Figure 3. The lamp from below",
        "Fig. 2",
        "Table 1: Tolls",
        "Page 1 of 12",
        "Harbour Weekly, Vol. 3, No. 4",
        "Proceedings of the Society page 7",
        "ISSN 1234-5678",
        "Ship | Home port | Toll",
        "Contents ........ 7",
        "/G5/G13/G10/G1",
        "(cid:12)(cid:3)(cid:7)",
        "\ue001\ue002 \ue003\ue004",
        "come from Gerlin was late, as everybody knows",
        "The lamp, which was",
        "A report on the",
        "The lamp needs 47 watts.",
        "The lamp is old. The house is newer than that",
        "D E F G H I J",
        "anna@example.org",
        "© 2024 Lamp Works",
        "Dear Anna",
    ],
)
def test_what_nobody_would_call_a_document(candidate: str) -> None:
    assert tidy_title(candidate) == ""
