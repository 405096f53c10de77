"""What a reader sees on a web page is kept: recipes, products, threads, several articles."""

from __future__ import annotations

import pytest

from deployments.text.html import html_to_text
from tests.support.paths import ROOT

CASES = ROOT / "tests" / "support" / "cases"
PROSE = (
    "I remember the kitchen of the old mill where pears were kept in straw until the winter. "
    "My aunt baked on Sundays, and the smell of it went up the stairs before the church bells. "
    "Nobody wrote anything down, so what follows is what three cousins agreed on last year. "
)
AROUND = (
    (
        "<header><a href='/'>Site of pears</a><nav><ul>"
        "<li><a href='/a'>All recipes</a></li><li><a href='/b'>Contact us</a></li></ul></nav>"
        "</header>"
    ),
    (
        "<div class='cookie-banner'><p>We bake cookies into your page.</p></div>"
        "<div class='related'><h3>You may also like</h3><ul><li><a href='/x'>Quince jelly</a></li>"
        "<li><a href='/y'>Plum cake</a></li></ul></div>"
        "<section><h2><a href='/n'>Newest from the orchard</a></h2><p>It snowed on the trees.</p>"
        "<h2><a href='/m'>Second from the orchard</a></h2><p>It thawed again.</p></section>"
        "<footer><p>Imprint of the orchard</p></footer>"
    ),
)
NOISE = (
    "All recipes", "Contact us", "cookies into", "Quince jelly", "Plum cake", "Imprint",
    "You may also like", "crimson",
)  # fmt: skip
TEASERS = ("Newest from the orchard", "It snowed on the trees", "Second from", "It thawed")


def page(inner: str) -> str:
    before, after = AROUND
    return f"<html><head><title>Page</title></head><body>{before}{inner}{after}</body></html>"


PAGES = {
    "recipe beside its introduction": (
        (f"<h1>Pear tart</h1><div class='intro'><p>{PROSE}</p><p>{PROSE[::-1]}</p></div>"
        "<div class='recipe-card'><p>Serves <b>6</b></p><h2>Ingredients</h2><ul><li>4 pears</li>"
        "<li><a href='/flour'>flour</a>, 180 g</li></ul><h2>Method</h2><ol><li>Peel them.</li>"
        "<li>Bake at 190 C for 35 minutes.</li></ol><div>Keeps for <b>3 days</b></div></div>"),
        ("Serves **6**", "- 4 pears", "- flour, 180 g", "1. Peel them.", "2. Bake at 190 C",
         "Keeps for **3 days**"),
    ),
    "product with its data": (
        ("<main><h1>Lamp Lumo 47</h1><div class='gallery'><img src='a.jpg' alt='x'></div>"
        f"<div class='price'>19.99 EUR</div><form><select><option>crimson</option></select>"
        "<button>Add to basket</button><span>Ships in 2 days</span></form>"
        f"<div id='description'><p>{PROSE}</p></div><div class='specs'><h3>Data</h3><dl>"
        "<dt>Weight</dt><dd>3.2 kg</dd><dt>Colour:</dt><dd>green</dd></dl><table>"
        "<tr><th>Voltage</th><td>230 V</td></tr><tr><th>Power</th><td>47 W</td></tr></table></div>"
        "<div class='rating'>4.6 of 5 stars</div></main>"),
        ("# Lamp Lumo 47", "19.99 EUR", "Ships in 2 days", "Weight: 3.2 kg", "Colour: green",
         "| Voltage | 230 V |", "| Power | 47 W |", "4.6 of 5 stars"),
    ),
    "product in rows of short cells": (
        (f"<div class='top'><h1>Pump P9</h1></div><div class='text'><p>{PROSE}</p></div>"
        "<div class='rows'><div class='row'><span>Flow</span> <span>90 l/min</span></div>"
        "<div class='row'><span>Lift</span> <span>14 m</span></div></div>"),
        ("Flow 90 l/min", "Lift 14 m"),
    ),
    "thread of comments": (
        ("<article><h1>Pump error E47</h1><p>My pump shows E47 after cleaning. How is it reset "
        "without opening the case?</p></article><section class='comments'><h2>2 answers</h2>"
        "<div class='comment'><p>Hold the green button for nine seconds.</p></div>"
        "<div class='comment'><p>Mine needed eleven.</p></div></section>"),
        ("shows E47", "## 2 answers", "nine seconds", "needed eleven"),
    ),
    "thread of answers to a long question": (
        (f"<div class='question'><h1>How is a pear peeled?</h1><p>{PROSE * 5}</p></div>"
        "<div id='answers'><div class='answer'><p>With a knife.</p><ul><li>Hold it still.</li>"
        "</ul></div><div class='answer'><p>Not at all.</p></div></div>"),
        ("With a knife.", "- Hold it still.", "Not at all."),
    ),
    "thread of comments on a long question": (
        (f"<div class='post'><h1>Which lamp for a boat?</h1><p>{PROSE * 6}</p></div>"
        "<div class='comment'><p>Get the Lumo 47.</p></div>"),
        ("Get the Lumo 47.",),
    ),
    "ingredients with links": (
        (f"<main><article><h1>Tart</h1><p>{PROSE}</p></article><ul><li><label>4 pears</label></li>"
        "<li><label><a href='/f'>180 g flour</a></label></li></ul></main>"),
        ("- 4 pears\n- 180 g flour",),
    ),
    "lists and a table in cells": (
        (f"<article><p>{PROSE}</p><table><tr><th>Plan</th><th>Has</th></tr><tr><td>Pro</td>"
        "<td><ul><li>9 users</li><li>80 GB</li></ul><table><tr><td>a</td><td>b</td></tr></table>"
        "</td></tr></table></article>"),
        ("| Plan | Has |\n|---|---|\n| Pro | 9 users; 80 GB; a; b |",),
    ),
    "a few words": ("<div>Closed<br>until May</div>", ("Closed\nuntil May",)),
    "thread of posts": (
        "".join(
            f"<div class='post'><div class='author'><a href='/u{n}'>User {n}</a></div>"
            f"<div class='body'><p>Reply number {n} of the long talk about lamps.</p></div></div>"
            for n in range(9)
        ),
        tuple(f"Reply number {n} of" for n in range(9)),
    ),
    "several articles": (
        "".join(
            f"<article><h2>Entry {n}</h2><p>Day {n}. {PROSE}</p></article>" for n in range(4)
        ),
        tuple(f"## Entry {n}\n\nDay {n}." for n in range(4)),
    ),
    "several articles with linked headings": (
        "<main>" + "".join(
            f"<article><h2><a href='/{n}'>Entry {n}</a></h2><p>Day {n}. {PROSE}</p></article>"
            for n in range(4)
        ) + "</main>",
        tuple(f"## Entry {n}\n\nDay {n}." for n in range(4)),
    ),
    "sections beside each other": (
        "".join(
            f"<section><h2>Part {n}</h2><p>{PROSE}</p><p>End of part {n}.</p></section>"
            for n in range(3)
        ) + "<section><h2>Hours</h2><p>Mon to Fri<br>9:00 to 17:00</p></section>",
        (*(f"End of part {n}." for n in range(3)), "## Hours\n\nMon to Fri\n9:00 to 17:00"),
    ),
    "questions that open": (
        (f"<article><p>{PROSE}</p></article><details><summary>Is it sweet?</summary>"
        "<p>Only in June.</p></details><h3><button>Is it ripe?</button></h3><p>By August.</p>"),
        ("Is it sweet?", "Only in June.", "### Is it ripe?\n\nBy August."),
    ),
    "code and quotations": (
        (f"<article><p>{PROSE}</p><pre><code>if x:\n    y()</code></pre><blockquote><p>So it is."
        "</p></blockquote><p>Call <code>y()</code>.</p></article>"),
        ("```\nif x:\n    y()\n```", "> So it is.", "Call `y()`."),
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", PAGES)
def test_what_a_reader_sees_is_kept_without_what_surrounds_it(kind: str) -> None:
    inner, wanted = PAGES[kind]
    text = html_to_text(page(inner)).text
    assert [words for words in wanted if words not in text] == []
    assert [words for words in NOISE if words in text] == []


def test_teasers_of_other_pages_are_left_out_of_an_article() -> None:
    text = html_to_text(page(f"<article><h1>Pears</h1><p>{PROSE * 3}</p></article>")).text
    assert [words for words in TEASERS if words in text] == []


def test_comments_on_a_long_article_are_left_out() -> None:
    comments = "<div id='comments'><p>First of all readers here today!</p></div>"
    text = html_to_text(page(f"<article><p>{PROSE * 9}</p></article>{comments}")).text
    assert "First of all readers" not in text


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("recipe_siblings", ("- 4 pears", "- 180 g flour", "1. Bake at 190 C for 35 minutes.")),
        ("comments_answer", ("shows E47", "Hold the green button for nine seconds")),
        ("list_in_cell", ("| Mon | 10:00 to 20:00 |", "| Tue | closed |")),
        ("mathml", ("The area of the disc is A = π r^2, as every child learns.",)),
    ],
)
def test_pages_that_once_lost_text(name: str, wanted: tuple[str, ...]) -> None:
    text = html_to_text((CASES / f"html_{name}.html").read_bytes()).text
    assert [words for words in wanted if words not in text] == []


MATH = "<math><mi>x</mi><mo>=</mo><mfrac><mrow><mi>a</mi><mo>+</mo><mn>1</mn></mrow><mi>b</mi>"
MATH += "</mfrac><msub><mi>y</mi><mn>2</mn></msub></math>"


@pytest.mark.parametrize(
    "formula",
    [
        MATH,
        f"<span class='katex'><span>{MATH}</span><span aria-hidden='true'>x=ba+1</span></span>",
        f"<span><span style='display: none'>{MATH}</span><img src='x.svg' alt='x = '></span>",
    ],
)
def test_formulas_are_written_once(formula: str) -> None:
    text = html_to_text(f"<article><p>{PROSE}</p><p>So {formula} holds.</p></article>").text
    assert text.endswith("So x = (a + 1)/b y_2 holds.")
