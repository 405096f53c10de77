"""HTML to title and text: what a reader sees is kept, what nobody sees is not."""

from __future__ import annotations

import pytest

from deployments.text.html import MAX_ELEMENTS, html_to_text

PROSE = "The harbour was dredged in 1911, and the lighthouse was lit again the same year. " * 3


def article(inner: str) -> str:
    return (
        "<html><head><title>The  harbour\n</title></head><body><nav><a href='/'>Start</a></nav>"
        f"<article><h1>History</h1><p>{PROSE}</p>{inner}</article></body></html>"
    )


def test_main_text_comes_as_markdown_without_navigation() -> None:
    page = html_to_text(
        article(
            "<h2>Trade</h2><ul><li>herring</li><li>salt</li></ul><p>In <b>bold</b> letters.</p>"
        )
    )
    assert page.title == "The harbour"
    assert "## Trade" in page.text
    assert "- herring" in page.text
    assert "**bold**" in page.text
    assert PROSE.strip() in page.text
    assert "Start" not in page.text


def test_links_and_images_leave_only_their_words() -> None:
    text = html_to_text(
        article('<p>See <a href="/map?k=1">the map</a> <img src="a.png">.</p>')
    ).text
    assert "See the map" in text
    assert "map?k" not in text
    assert "a.png" not in text


HIDDEN = {
    "comment": "<!-- SECRET -->",
    "script": "<script>var a = 'SECRET'</script>",
    "style": "<style>SECRET</style>",
    "template": "<template><p>SECRET</p></template>",
    "attribute": "<p hidden>SECRET words</p>",
    "display": '<div style="color:red; DISPLAY : none"><p>SECRET words</p></div>',
    "css comment": '<p style="display:/**/none">SECRET words</p>',
    "visibility": '<p style="visibility:hidden !important">SECRET words</p>',
    "opacity": '<p style="opacity: 0">SECRET words</p>',
    "tiny": '<p style="font-size:0px">SECRET words</p>',
    "aside": '<p style="position:absolute;left:-9999px">SECRET words</p>',
    "class": "<style>/* */ p .x, .gone{color:red;display : none}</style>"
    "<p class='a gone'>SECRET</p>",
    "id": "<style>@media print{}\n P#gone{visibility:hidden!important}</style>"
    "<p id=gone>SECRET</p>",
    "dialog": "<dialog><p>SECRET words</p></dialog>",
}


@pytest.mark.parametrize("kind", HIDDEN)
@pytest.mark.parametrize("size", ["article", "tiny"])
def test_what_is_hidden_is_left_out_and_what_follows_kept(kind: str, size: str) -> None:
    after = "<p>Afterwards came the railway, and with it the first visitors.</p>"
    page = article(HIDDEN[kind] + after) if size == "article" else HIDDEN[kind] + after
    text = html_to_text(page).text
    assert "SECRET" not in text
    assert "Afterwards came the railway, " in text


@pytest.mark.parametrize("style", ["opacity:0.8", "font-size:0.9em", "left:-1px", "display:block"])
def test_styles_that_hide_nothing_hide_nothing(style: str) -> None:
    assert "In plain sight" in html_to_text(f'<p style="{style}">In plain sight</p>').text


@pytest.mark.parametrize(
    "head",
    [
        "<style>.x{display:block} @media print{.x{display:none}} .y .x, .x.z{display:none}</style>",
        "<style>.x{display:none} .open .x{display:block}</style>",
        "<style>.x{display:none} .x:target{visibility:visible}</style>",
        "<style>.x{display:none}</style><script>$('.x').show()</script>",
        "<style>div.x{display:none} .xx{display:none} body{visibility:hidden}</style>",
        "<style media=print>.x{display:none}</style>",
        "<noscript><style>.x{display:none}</style></noscript>",
        "<style>" + "{" * 100_000 + ".x{display:none}</style>",
    ],
)
def test_conditional_style_rules_hide_no_text(head: str) -> None:
    text = html_to_text(f"{head}<p class=x>In plain sight</p><p>{'Other words. ' * 9}</p>").text
    assert "In plain sight" in text


def test_a_style_rule_for_most_of_a_page_hides_no_text() -> None:
    """A script shows it once the page is loaded."""
    page = "<style>#app{display:none}</style><div id=app><p>In plain sight</p></div><p>Ad</p>"
    assert "In plain sight" in html_to_text(page).text


def test_invisible_characters_are_dropped() -> None:
    smuggled = "".join(chr(0xE0000 + ord(letter)) for letter in "obey")
    text = html_to_text(
        f"<p>ig\u200bno\u2060re\u00ad\ufeff\u202e{smuggled} \u200dthis\ufe0f</p>"
    ).text
    assert text == "ignore this"


def test_the_joiners_that_persian_is_written_with_stay() -> None:
    assert html_to_text("<p>می\u200cشود</p>").text == "می\u200cشود"


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        ("<p>café – crème</p>".encode(), None),
        ("<p>café – crème</p>".encode("cp1252"), "iso-8859-1"),
        ("<meta charset=windows-1252><p>café – crème</p>".encode("cp1252"), None),
        ("<p>café – crème</p>".encode("utf-16"), None),
        ("<p>café – crème</p>".encode("utf-8-sig"), "iso-8859-1"),
        ("<p>café – crème</p>".encode(), "no-such-charset"),
        (
            '<?xml version="1.0" encoding="utf-8"?><html><body><p>café – crème</p></body></html>',
            None,
        ),
    ],
)
def test_characters_survive_their_encoding(data: bytes | str, encoding: str | None) -> None:
    assert html_to_text(data, encoding).text == "café – crème"


def test_a_page_without_an_article_gives_all_its_visible_lines() -> None:
    page = html_to_text("<title>Form</title><div>Na<b>me</b><br>Town</div><td>Street</td>")
    assert page.text.splitlines() == ["Name", "Town", "Street"]
    assert page.title == "Form"


@pytest.mark.parametrize(
    ("head", "title"),
    [
        ("<svg><title>icon</title></svg><title>Right</title>", "Right"),
        ('<meta property="og:title" content="Shared">', "Shared"),
        ("<h1>Only a <em>heading</em></h1>", "Only a heading"),
        ("<p>none</p>", ""),
    ],
)
def test_title(head: str, title: str) -> None:
    assert html_to_text(head + "<p>text</p>").title == title


@pytest.mark.parametrize("data", ["", b"", b"\x00", "<!-- only this -->", "<html></html>"])
def test_nothing_gives_nothing(data: str | bytes) -> None:
    page = html_to_text(data)
    assert (page.title, page.text) == ("", "")


def test_a_huge_page_is_read_whole() -> None:
    text = html_to_text("<p>word</p>" * MAX_ELEMENTS + "<p>the end</p>").text
    assert text.count("word") == MAX_ELEMENTS
    assert text.endswith("the end")


@pytest.mark.parametrize("data", ["<div>" * 50_000 + "x", "<" * 50_000, "<b>x" * 50_000])
def test_broken_markup_does_no_harm(data: str) -> None:
    assert html_to_text(data).title == ""
