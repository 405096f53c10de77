"""Distractors: texts without an answer, the same on every machine.

The first are English technical prose: the language reference that comes with Python
(`pydoc_data.topics`), without headings, grammar, code and tables; the rest, up to the wanted
number, is prose on invented towns. The hard ones are the data set's own sentences with their names
and numbers exchanged for others of the data set.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from pydoc_data.topics import topics

from serve_app.evaluation.data_sets import File
from tests.support.articles import text_of
from tests.support.pdfs import page_text

PASSAGE_CHARS = 500
_PASSAGES_A_FILE = 20
_MIN_PARAGRAPH_CHARS = 80
_MIN_LETTERS_SHARE = 0.85
_FIRST_TOWN = 1000  # volumes that no other benchmark uploads

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[\"(A-Z0-9])")
_MARKER = re.compile(r"(?:[*-]|\d+\.) ")
_CODE = re.compile(r"::=|>>>|->|--|\.\.\.|[|{}]")
_EMPHASIS = re.compile(r"[*_]{1,2}(\w[^*]*?)[*_]{1,2}(?!\w)")
_NUMBER = r"\d[\d,.]*\d|\d"
# Capitalised words in a row; the first word of a sentence is never looked at.
_NAME = r"[A-Z][\w\u2019'-]*(?:\s+[A-Z][\w\u2019'-]*)*"
_SWAPPED = re.compile(rf"(?P<number>\b(?:{_NUMBER})\b)|(?P<name>\b{_NAME})")
_SEED = 4


def distractors(passages: int) -> list[File]:
    """Make plain text files with `passages` passages in all, of about 500 characters each."""
    prose = list(itertools.islice(_passages(_reference()), passages))
    towns = list(itertools.islice(_passages(_towns()), passages - len(prose)))
    return [*_files("Python reference, part", prose), *_files("Towns, volume", towns)]


def hard_distractors(files: Sequence[File]) -> list[File]:
    """Make for each file one of its sentences with names and numbers exchanged.

    Sentences in which nothing can be exchanged are left out.
    """
    draw = random.Random(_SEED)  # noqa: S311
    of_file = {file.name: _SENTENCE_END.split(" ".join(text_of(file).split())) for file in files}
    known: dict[str, list[str]] = {"number": [], "name": []}
    for sentence in itertools.chain(*of_file.values()):
        for found in _SWAPPED.finditer(sentence, _first_word_end(sentence)):
            known[str(found.lastgroup)].append(found[0])

    def other(found: re.Match[str]) -> str:
        return draw.choice(known[str(found.lastgroup)])

    made = []
    for name, sentences in of_file.items():
        changed = []
        for sentence in sentences:
            begin = _first_word_end(sentence)
            new = sentence[:begin] + _SWAPPED.sub(other, sentence[begin:])
            if new != sentence:
                changed.append(new)
        if changed:
            stem = name.rpartition(".")[0] or name
            passages = list(_passages([" ".join(changed)]))
            made.append(File.of_text(f"Notes on {stem}.txt", passages))
    return made


def _first_word_end(sentence: str) -> int:
    return len(sentence.split(" ", 1)[0])


def _reference() -> Iterator[str]:
    """Yield the prose of Python's language reference, each paragraph once, as topics overlap."""
    seen = set()
    for name in sorted(topics):
        for block in re.split(r"\n\s*\n", topics[name]):
            text = _MARKER.sub("", " ".join(block.split()))
            letters = sum(character.isalpha() or character == " " for character in text)
            if (
                len(text) >= _MIN_PARAGRAPH_CHARS
                and letters >= _MIN_LETTERS_SHARE * len(text)
                and text.endswith((".", ":"))
                and not _CODE.search(text)
                and text not in seen
            ):
                seen.add(text)
                yield _EMPHASIS.sub(r"\1", text).removesuffix(":").removesuffix(".") + "."


def _towns() -> Iterator[str]:
    for number in itertools.count(_FIRST_TOWN):
        for page in range(1, _PASSAGES_A_FILE + 1):
            yield page_text(number, page)


def _passages(paragraphs: Iterable[str]) -> Iterator[str]:
    """Join whole sentences into passages of at most their length."""
    passage = ""
    for sentence in itertools.chain.from_iterable(map(_SENTENCE_END.split, paragraphs)):
        if passage and len(passage) + 1 + len(sentence) > PASSAGE_CHARS:
            yield passage
            passage = sentence
        else:
            passage = f"{passage} {sentence}".strip()
    if passage:
        yield passage


def _files(title: str, passages: Sequence[str]) -> Iterator[File]:
    for number, begin in enumerate(range(0, len(passages), _PASSAGES_A_FILE), 1):
        some = passages[begin : begin + _PASSAGES_A_FILE]
        yield File.of_text(f"{title} {number:03}.txt", some)
