"""Citations: unknown numbers go and nothing else does, however the text is cut."""

from __future__ import annotations

import random
import re
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.answer_events import AnswerEvent, Opening, Piece, TokenUsage
from serve_app.answering.citations import MOST_HELD_CHARS, Citations
from serve_app.answering.cited_answer import CitedAnswer
from serve_app.schemas.answers import Source

KNOWN = 3
FILTERED = [
    ("Snow is white [1].", "Snow is white [1].", [1]),
    ("Snow is white [7].", "Snow is white.", []),
    ("Snow is white[7].", "Snow is white.", []),
    ("a [7] b [2] c [1] d [2]", "a b [2] c [1] d [2]", [2, 1]),
    ("both [1, 7].", "both [1].", [1]),
    ("both [7; 2 and 3].", "both [2, 3].", [2, 3]),
    ("both [1][7][2].", "both [1][2].", [1, 2]),
    ("all [1-3].", "all [1-3].", [1, 2, 3]),
    ("all [2–7].", "all [2, 3].", [2, 3]),
    ("none [7-9] [8].", "none (7-9).", []),
    ("sorted: [5, 7, 9].", "sorted: (5, 7, 9).", []),
    ("x in [0, 1] and [a][7-9]", "x in (0, 1) and [a] (7-9)", []),
    ("so [1: Snow], [7: Ice] and [7, Ice].", "so [1: Snow], (7: Ice) and (7, Ice).", [1]),
    ('so [source 2, "Ice"], [Source 7: Ice]', 'so [source 2, "Ice"], (Source 7: Ice)', [2]),
    ('so [id="7"], [7.] and [**7**], [**1**]', "so, and, [**1**]", [1]),
    ("il y a[7] et [Quelle 7]", "il y a et", []),
    ("no index: x [7][8].", "no index: x.", []),
    ("so 【1】 and 【7】, 【2†L1-L4】 【9:0†source】", "so 【1】 and, 【2†L1-L4】", [1, 2]),
    ("so [Source 2], [source 7] [Sources: 1, 7]", "so [Source 2], [1]", [2, 1]),
    ("so [^1] [^7] [[2]] [[7]] \\[3\\] \\[7\\]", "so [^1] [[2]] \\[3\\]", [1, 2, 3]),
    ("so [1, p. 12] and [7, pp. 1-2]", "so [1, p. 12] and", [1]),
    ("nothing [0] of [2019] or [007]", "nothing of or", []),
    ("[7] At the start\n[8] of lines", "At the start\nof lines", []),
    ("halves [[9]7] of [1[9]2] ones", "halves [?7] of [1?2] ones", []),
    ("endless [" + "7, " * 100 + "7]", "endless " + "7, " * 100 + "7]", []),
    ("left ` open [7] to the end", "left ` open to the end", []),
    ("left `open\non` [7] `another", "left `open\non` `another", []),
    ("`a``[7]`` b", "`a`` `` b", []),
    ("~~~ `x`\n[7]\n~~~\n[7] x", "~~~ `x`\n[7]\n~~~\nx", []),
    ("```py\na [7]\n``` \nso [7]", "```py\na [7]\n``` \nso", []),
    ("1. ```\n   [7]\n   ```\n   so [7]", "1. ```\n   [7]\n   ```\n   so", []),
]
UNTOUCHED = [
    "```python\nx = [7]\n``` no end [8]\n  ````\nover",
    "use `x = [7]` or ``a ` [8]`` here",
    "x[7] and row_ids[7][8]",
    "see [7](https://a.example/b) and [8](#part)",
    "[ ] open, [x] done, [] and [sic] and [see 7] and [a1] and [0.5, 0.7]",
    "[a link](https://a.example) ![picture](b.png) | a | b |\n\n",
    "trailing space and bracket [",
    "an unfinished marker [7",
    "\\` is no code and \\\\ a backslash  \n",
    "[1, 2 and a thought]",
    "\\[2 + 3\\] and [1 | 7]",
    "[7: " + "a title too long " * 9 + "]",
]


def run(pieces: list[str], known: int = KNOWN) -> tuple[str, list[int]]:
    citations = Citations(known)
    shown = [citations.feed(piece) for piece in pieces]
    return "".join([*shown, citations.close()]), citations.cited


@pytest.mark.parametrize(("text", "shown", "cited"), FILTERED)
def test_unknown_numbers_go_and_known_ones_are_recorded(
    text: str, shown: str, cited: list[int]
) -> None:
    assert run([text]) == (shown, cited)


@pytest.mark.parametrize("text", UNTOUCHED)
def test_what_is_no_citation_is_left_as_it_is(text: str) -> None:
    assert run([text]) == (text, [])


@pytest.mark.parametrize("text", [text for text, *_ in FILTERED] + UNTOUCHED)
def test_every_cut_gives_the_same(text: str) -> None:
    whole = run([text])
    assert run(list(text)) == whole
    for at in range(len(text)):
        assert run([text[:at], text[at:]]) == whole


PIECES = [*"[]【】()`~\\\n\r -–,;:#^†7123x_'", "[1]", "[7]", " [9]", "[1, 8]", "[[", "]]", "```"]
PIECES += [
    ": A",
    ", Be",
    "§7",
    "source ",
    "to ",
    " and ",
    "word ",
    "(https://",
    "```\n",
    "\n\n",
    "7" * 130,
    " " * 130,
]
SOUP = st.lists(st.sampled_from(PIECES), max_size=30)
MARKER = re.compile(r"[\[【]\s*(?:source\s)?[\"\^#]?(\d+)(?:[\s,;–-]+\d+)*\s*[\]】]")
NOT_CHECKED = re.compile(r"(?<!\w)x(?:\[[^\]]*\])+|\]\((?:https://|/|#)")


@given(SOUP, st.randoms(use_true_random=False))
def test_soup_gives_the_same_however_it_is_cut_and_little_is_held(
    soup: list[str], chance: random.Random
) -> None:
    text = "".join(soup)
    citations = Citations(KNOWN)
    at, shown = 0, ""
    while at < len(text):
        step = chance.choice((1, 1, 2, 5, 50))
        shown += citations.feed(text[at : at + step])
        at += step
        assert len(citations._held) <= 2 * MOST_HELD_CHARS + 50
    shown += citations.close()
    assert (shown, citations.cited) == run([text])


@given(SOUP)
def test_soup_without_code_shows_no_unknown_number(soup: list[str]) -> None:
    shown, cited = run(["".join(soup).replace("`", "").replace("~", "")])
    if not NOT_CHECKED.search(shown):
        for found in MARKER.finditer(shown):
            numbers = [int(number) for number in re.findall(r"\d+", found[0])]
            assert set(numbers) <= {1, 2, 3}
            assert set(numbers) <= set(cited)


@given(SOUP)
def test_nothing_is_lost_but_markers_and_a_space_before_them(soup: list[str]) -> None:
    text = "".join(soup)
    shown, _ = run([text])
    letters = re.compile("[^a-z]")  # Digits, brackets and spaces may go.
    assert letters.sub("", text.replace("source", "").replace("to", "").replace("and", "")) == (
        letters.sub("", shown.replace("source", "").replace("to", "").replace("and", ""))
    )


@given(st.text(st.characters(exclude_characters="[【［")), st.integers(1, 5))
def test_ordinary_text_passes_as_it_is_and_at_once(text: str, size: int) -> None:
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    assert run(pieces)[0] == text
    if not re.search(r"[`~\\ ]", text):
        assert Citations(KNOWN).feed(text) == text


@pytest.mark.parametrize(
    "unit", ["1§1-1,", "1 and ", "1p1-1 ", "source  ", "1:1†", "1, ", '"1" & ', "1: a"]
)
def test_a_marker_that_never_closes_takes_no_longer_than_its_length(unit: str) -> None:
    text = ("[" + unit * 30 + "!") * 30
    began = time.process_time()
    run([text[at : at + 3] for at in range(0, len(text), 3)])
    assert time.process_time() - began < 5


def test_pieces_of_several_choices_are_filtered_apart_and_end_complete() -> None:
    answer = CitedAnswer(KNOWN)
    role, usage = Piece("", delta={"role": "assistant"}), TokenUsage({"total_tokens": 3})
    given: list[AnswerEvent] = [
        *(Opening({"id": "1"}), role),
        *(Piece("a ["), Piece("b [", 1), Piece("7", 1), Piece("2"), Piece("] c [")),
        *(Piece("]. [3] [", 1), Piece("1", 0, "length"), Piece(None, 1, "stop"), usage),
    ]
    assert answer.shown(given[:2]) == given[:2]
    assert answer.shown([Piece("")]) == [Piece("")]
    shown = [event for event in given[2:] for event in answer.shown([event])]
    assert len(shown) == len(given[2:]) - 2  # All that "7" and "2" say is held back.
    assert shown[-1] == usage
    pieces = [event for event in shown if isinstance(event, Piece)]
    texts = [
        "".join(piece.text or "" for piece in pieces if piece.choice_index == n) for n in (0, 1)
    ]
    assert texts == ["a [2] c [1", "b. [3] ["]
    assert [piece.finish_reason for piece in pieces[-2:]] == ["length", "stop"]
    assert answer.cited == [2, 3]
    assert answer.rest() == []


def test_a_piece_that_carries_more_than_text_is_never_skipped() -> None:
    answer = CitedAnswer(KNOWN)
    call = {"tool_calls": [{"function": {"arguments": "[7]"}}]}
    for piece in (
        Piece("[", delta=call),
        Piece("[", delta={"reasoning": "[7]"}),
        Piece("[", choice={"logprobs": {"content": []}}),
        Piece("[", chunk={"usage": {}}),
    ):
        assert answer.shown([piece]) != []
    assert answer.shown([Piece(None, delta=call)]) == [Piece(None, delta=call)]
    assert answer.rest() == [Piece("[[")]


def test_a_whole_completion_and_its_sources() -> None:
    def completion(*texts: str | None) -> dict[str, Any]:
        messages = [{"role": "assistant", "content": text, "reasoning": "[7]"} for text in texts]
        return {"choices": [{"index": n, "message": m} for n, m in enumerate(messages)]}

    answer = CitedAnswer(2)
    assert answer.whole(completion("a [2] [7]", None, "b [3] [")) == completion(
        "a [2]", None, "b ["
    )
    sources = [Source(id=n, kind="page", title="", uri="", text="") for n in (1, 2)]
    assert [source.cited for source in answer.marked(sources)] == [False, True]
    assert CitedAnswer(0).whole(completion("a list [1]")) == completion("a list [1]")
