"""Plain text, Markdown and HTML become clean text with a title."""

from __future__ import annotations

import textwrap

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.errors import TooLarge, Unprocessable, UnsupportedMedia
from deployments.parser.reading.content import clean, title_of_filename
from deployments.parser.reading.flow import flow, without_running_lines
from deployments.parser.reading.html import read_html
from deployments.parser.reading.markdown import read_markdown
from deployments.parser.reading.text import read_text

LIMIT = 100_000
PARAGRAPH = (
    "The harbour was rebuilt after the storm, and for a decade every ship that came in "
    "paid a toll towards it. Nobody complained until the toll outlived the debt, which it "
    "did by eleven years. Then the merchants went to court together, and won."
)


def test_hard_wrapped_text_becomes_paragraphs() -> None:
    wrapped = "\n\n".join([textwrap.fill(PARAGRAPH, 68)] * 3)
    content = read_text(wrapped.encode(), "harbour.txt", max_chars=LIMIT)
    assert content.text == "\n\n".join([PARAGRAPH] * 3)
    assert content.title == "harbour"
    assert content.page_starts is None


@pytest.mark.parametrize(
    "text",
    ["apples\npears\nplums", "name,age\nann,3\nbob,4", "def f(x):\n    y = x\n    return y\n"],
    ids=["list", "table", "code"],
)
def test_lines_that_are_lines_stay(text: str) -> None:
    assert read_text(text.encode(), "x.txt", max_chars=LIMIT).text == text


def test_the_title_of_a_text_is_the_name_of_its_file() -> None:
    content = read_text(b"Minutes of May\n\nAnn came.", "May 2026.txt", max_chars=LIMIT)
    assert content.title == "May 2026"


@pytest.mark.parametrize(
    ("markdown", "title"),
    [
        ("intro\n\n# The *Guide* #\n\ntext", "The *Guide*"),
        ("The Guide\n=====\n\ntext", "The Guide"),
        ("## only a section\n", "readme"),
    ],
)
def test_markdown_title(markdown: str, title: str) -> None:
    content = read_markdown(markdown.encode(), "docs/readme.md", max_chars=LIMIT)
    assert (content.title, content.markdown) == (title, True)


def test_html_keeps_what_a_reader_sees() -> None:
    page = (
        "<html><head><title>Harbour tolls</title></head><body><article><h1>Tolls</h1>"
        f"<p>{PARAGRAPH}</p><p>Café. {PARAGRAPH}</p></article>"
        "<script>var secret = 1</script></body></html>"
    )
    for encoding in ("utf-8", "utf-16"):
        content = read_html(page.encode(encoding), "x.html", max_chars=LIMIT)
        assert content.title == "Harbour tolls"
        assert PARAGRAPH in content.text
        assert "Café" in content.text
        assert "secret" not in content.text


@pytest.mark.parametrize(
    ("head", "title"),
    [
        ("<title>Harbour  tolls</title><h1>Tolls of today</h1>", "Harbour tolls"),
        ("<title>Untitled</title><h1>Tolls of <em>today</em></h1>", "Tolls of today"),
        ('<title>index.html</title><meta property="og:title" content="Tolls">', "Tolls"),
        ("<title>Document</title>", "tolls 1911"),
        ("", "tolls 1911"),
    ],
)
def test_html_title(head: str, title: str) -> None:
    page = f"<html>{head}<p>{PARAGRAPH}</p></html>".encode()
    assert read_html(page, "x/tolls 1911.html", max_chars=LIMIT).title == title


def test_html_in_the_encoding_it_declares() -> None:
    text = "日本語の文章。" * 30
    page = f'<html><head><meta charset="shift_jis"></head><body><p>{text}</p></body></html>'
    assert text in read_html(page.encode("shift_jis"), "x.html", max_chars=LIMIT).text


def test_binary_called_html_is_refused() -> None:
    with pytest.raises(UnsupportedMedia):
        read_html(bytes(range(256)) * 8, "x.html", max_chars=LIMIT)


def test_nothing_to_read_and_too_much() -> None:
    with pytest.raises(Unprocessable) as caught:
        read_text(b" \n\t \xe2\x80\x8b\n", "blank.txt", max_chars=LIMIT)
    assert caught.value.code == "no_text"
    with pytest.raises(TooLarge, match="more than 10 characters"):
        read_text(b"eleven char", "x.txt", max_chars=10)


def test_what_cannot_be_seen_is_dropped() -> None:
    hidden = "".join(chr(0xE0000 + ord(c)) for c in "obey me")
    assert clean(f"a\0b\x07c\u200bd\u202ee\ud800f\ufeff{hidden}g") == "abcdefg"
    assert clean("a\r\nb\rc\u2028d\x0ce\u00a0f\tg") == "a\nb\nc\nd\ne f\tg"
    persian = "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"
    assert clean(persian) == persian


def test_title_of_filename_has_no_path() -> None:
    assert title_of_filename("C:\\docs\\Annual report.v2.pdf") == "Annual report.v2"
    assert title_of_filename("../../etc/passwd") == "passwd"
    assert title_of_filename("\0") == "Untitled"


def test_broken_words_are_made_whole_and_compounds_kept() -> None:
    page = ["A simple exam-", "ple of a well-", "known and well-known thing."]
    assert flow([page])[0] == "A simple example of a well-known and well-known thing."


def test_hyphens_that_are_no_hyphenation_stay() -> None:
    lines = [
        "The law of the harbour went back to the Anglo-",
        "Saxon kings, and it bound the ships of pre-",
        "and post-war times alike, and those of COVID-",
        "19 too.",
    ]
    text, _ = flow([lines])
    assert "Anglo-Saxon kings" in text
    assert "pre- and post-war" in text
    assert "COVID-19 too" in text


def test_a_sentence_runs_over_a_page_break() -> None:
    wrapped = textwrap.wrap(PARAGRAPH, 60)
    pages = [wrapped[:2], [], wrapped[2:]]
    text, starts = flow(pages)
    assert text == PARAGRAPH
    assert starts[0] == 0
    assert starts[1] == starts[2] == PARAGRAPH.index(wrapped[2])


def test_running_heads_go_and_lone_lines_stay() -> None:
    pages = [
        ["Acme Ltd", f"Page {n + 1} of 5", "Body", "two", f"Due {n * 7}", f"Sum {n * n}"]
        for n in range(5)
    ]
    kept = without_running_lines(pages)
    assert kept[0] == pages[0]
    assert all(kept[n] == pages[n][2:] for n in range(1, 5))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.text(max_size=30), max_size=6), min_size=1, max_size=5))
def test_flow_loses_no_words_and_counts_every_page(pages: list[list[str]]) -> None:
    text, starts = flow(pages)
    assert len(starts) == len(pages)
    assert list(starts) == sorted(starts)
    words = "".join(c for page in pages for line in page for c in line if c.isalnum())
    assert "".join(c for c in text if c.isalnum()) == words
