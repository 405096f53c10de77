"""Titles of documents: tell one that a person gave from what programs and pages leave behind.

The rule, for all formats with metadata or headings:

1. the title in the metadata, if `tidy_title` keeps it;
2. else the heading that is largest on page 1 (or the first heading of a format that marks
   headings), if `tidy_title` keeps it and it is clearly larger than the text;
3. else the file name without its extension.
"""

from __future__ import annotations

import re
import unicodedata
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from deployments.parser.reading.content import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

MIN_TITLE_CHARS: Final = 3
MIN_WIDE_TITLE_CHARS: Final = 2  # Chinese, Japanese and Korean: a character is a syllable or more
_MAX_WORDS: Final = 30
_MIN_LETTER_SHARE: Final = 0.5  # of the characters that are no spaces
_MAX_CASE_CHANGES: Final = 0.3  # of the letters: "aBcDeF" is no word
_WIDE_SCRIPT_START: Final = "\u2e80"

_HEADING_RATIO: Final = 1.2  # of its height to that of the text
_MAX_HEADING_SIZES: Final = 3
_MAX_HEADING_LINES: Final = 4
_SAME_SIZE: Final = 0.95
_MIN_HEADING_LETTERS: Final = 3

_PROGRAM = re.compile(
    r"^(?:Microsoft (?:Office )?\w+|PowerPoint Presentation|Print|Layout \d+|Slide \d+)\s*[-:]\s*",
    re.IGNORECASE,
)
_PLACEHOLDER = re.compile(
    r"\W*(?:"
    r"un(?:titled|named|known|specified|benannt)|no(?:ne| title| name)|null|n/a|anonymous|"
    r"(?:new |neues )?(?:document|dokument|text|title|titel|presentation|pr[\xe4]sentation|slide|"
    r"folie|page|seite|sheet|worksheet|book|layout|draft|scan|image|figure|print|file|test)|"
    r"(?:microsoft|ms) (?:word|excel|powerpoint|publisher)(?: document| -)?|"
    r"powerpoint[- ](?:presentation|pr[\xe4]sentation)|slide show|title of (?:the )?document|"
    r"adobe \w+|scanned (?:document|image|from .*)|"
    r"(?:table of )?contents|index|abstract|summary|introduction|references|appendix"
    r")(?:[\W_]*(?:document|dokument)?[\W_]*\d{0,4})\W*",
    re.IGNORECASE,
)
_FILE_NAME = re.compile(
    r"[^.]*(?:\.[^. ]+)*\.(?:docx?|docm|dotx?|dvi|eps|fm|html?|indd|jpe?g|md|odp|ods|odt|p65|pdf|"
    r"png|pmd|pptx?|ps|pub|qxd|qxp|rtf|tex|tiff?|tmp|txt|vsdx?|wpd|xlsx?|xml)(?:\s*[([].*)?",
    re.IGNORECASE,
)
_NAME_OF_FILE = re.compile(r"\w_\w|\w-v?\d|\d{3,}|\w{3}\.[a-z]{3,8}$")  # without a space
_PATH = re.compile(r"(?:[A-Za-z]:[\\/]|file:|https?:|www\.|\\\\|/[\w.-]+/)\S*.*", re.IGNORECASE)
_CAPTION = re.compile(
    r"(?:fig(?:ure|ura|\.)?|abb(?:ildung|\.)|tab(?:le|elle|leau|\.)?|chart|diagram|exhibit|box|"
    r"plate|scheme|photo|image|listing|equation)(?:\s*[0-9]+|\s+[ivx]+\b|\s+[a-z]\b)(?:[^a-z].*)?",
    re.IGNORECASE,
)
_RUNNING_HEAD = re.compile(
    r"(?:(?:page|seite|p\.|s\.|sheet|slide)\s*[0-9ivx]+(?:\s*(?:of|von|/)\s*[0-9]+)?|"
    r"[0-9]{1,4}\s*[|/\u2013-]?\s*|"
    r".*\b(?:vol(?:ume|\.)?|no\.|issue|nr\.|bd\.)\s*[0-9]+.*|"
    r".*\b(?:issn|isbn|doi|arxiv)\b.*|"
    r".*(?:\bpage|\bseite)\s+[0-9]+(?:\s+(?:of|von)\s+[0-9]+)?|"
    r".*(?:\(c\)|\u00a9|copyright|all rights reserved|confidential).*|"
    r"(?:date|datum|from|to|subject|re|tel|phone|fax|e-?mail|attention|attn)\s*:.*|"
    r"dear\b.*|"
    r"(?:[0-9]{1,4}[./ -]){2}[0-9]{2,4})",
    re.IGNORECASE,
)
_ADDRESS = re.compile(r"\S+@\S+\.\w+|\S+://\S+")
_GLYPHS = re.compile(
    r"\(cid:[0-9]+\)|(?:/(?:g|c|cid|uni|glyph|index|a)\s?[0-9a-f]+){2,}|&(?:#\w+|\w{2,8});|"
    r"\\[a-z]+\b|[\ufffd\ue000-\uf8ff]",
    re.IGNORECASE,
)
_CELLS = re.compile(r"\s\|\s|\t|\.{4,}|_{3,}|(?:\. ){4,}")
_FRAGMENT_END = re.compile(
    r"(?:[,;:=(&+/-]|\b(?:a|an|the|of|and|or|in|on|at|to|by|for|with|from|as|is|was|are|were|that|"
    r"which|who|der|die|das|des|dem|und|oder|von|zu|mit|f\xfcr|im|ein|eine|le|la|les|du|et|de|"
    r"el|los|y|del))$",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r".*[a-z\u00e0-\u00ff0-9)]\.$|.*[\u3002]$", re.DOTALL)
_SENTENCE_INSIDE = re.compile(r"[a-z\u00e0-\u00ff]{3,}[.!?] [A-Z\u00c0-\u00dd][a-z]* [a-z]+ [a-z]+")
_WORD = re.compile(r"[^\W\d_]+")


def tidy_title(candidate: str) -> str:
    """Return a candidate on one line, or "" if no person would call it the document's title.

    It fails if it is too short, a placeholder ("untitled", "Document1"), the name of a program,
    a file name or path, a caption, a running head or page number, cells of a table, glyph names
    or private characters, or a fragment of a sentence: it begins with a small letter or ends in
    a comma, a preposition or a full stop. The program in "Microsoft Word - Annual report" is
    removed. The rule for what is tried, and in which order, stands at the head of this module.
    """
    title = _PROGRAM.sub("", one_line(unicodedata.normalize("NFC", candidate))).strip(" \u2022*#")
    if not _has_words(title) or _is_left_behind(title) or _is_fragment(title):
        return ""
    return title


def _has_words(title: str) -> bool:
    """Tell whether letters are most of it, enough for a word."""
    letters = sum(character.isalpha() for character in title)
    marks = sum(unicodedata.category(character).startswith("M") for character in title)
    wide = any(character >= _WIDE_SCRIPT_START for character in title)
    visible = sum(not character.isspace() for character in title)
    digits = sum(character.isdigit() for character in title)
    return (
        letters >= (MIN_WIDE_TITLE_CHARS if wide else MIN_TITLE_CHARS)
        and letters + marks >= (visible - digits) * _MIN_LETTER_SHARE
        and letters + marks >= visible * _MIN_LETTER_SHARE / 2
        and len(title.split()) <= _MAX_WORDS
        and not _is_spaced_out(title)
    )


def _is_spaced_out(title: str) -> bool:
    """Tell whether letters stand apart ("A N N U A L") or change case as ciphers do."""
    words = [match[0] for match in _WORD.finditer(title)]
    single = sum(len(word) == 1 and word < _WIDE_SCRIPT_START for word in words)
    if len(words) >= 4 and single * 2 > len(words):  # noqa: PLR2004 - initials are fewer
        return True
    changes = sum(a.islower() and b.isupper() for word in words for a, b in pairwise(word))
    return changes > max(2.0, sum(len(word) for word in words) * _MAX_CASE_CHANGES)


def _is_left_behind(title: str) -> bool:
    """Tell whether a program, a layout or a page furnishes it rather than a person."""
    return bool(
        _PLACEHOLDER.fullmatch(title)
        or _FILE_NAME.fullmatch(title)
        or _PATH.fullmatch(title)
        or _CAPTION.fullmatch(title)
        or _RUNNING_HEAD.fullmatch(title)
        or _GLYPHS.search(title)
        or _CELLS.search(title)
        or _ADDRESS.search(title)
        # "annual_report_final-v2": names of files have no spaces.
        or (" " not in title and _NAME_OF_FILE.search(title))
    )


def _is_fragment(title: str) -> bool:
    """Tell whether it is a piece of a sentence, or more than one."""
    first = title.lstrip("\"'\u201c\u201e\u00ab(\u00bf\u00a1[")[:1]
    words = title.split()
    # "iPhone manual", "eBay", "pH of soils"; a word in small letters alone may be a name.
    small = first.islower() and not any(c.isupper() for c in words[0])
    return bool(
        (small and len(words) > 1)
        or _FRAGMENT_END.search(title)
        or (_SENTENCE_END.fullmatch(title) and len(words) > 2)  # noqa: PLR2004 - "Dr. Who et al."
        or _SENTENCE_INSIDE.search(title)
        or first in {",", ".", ";", ":", ")", "|", "=", "-", "\u2013", "\u2014"}
        or title.count("(") != title.count(")")
    )


def largest_heading(page: Sequence[tuple[float, str]], heights: Sequence[tuple[float, int]]) -> str:
    """Return the largest heading of a page as a title, "" if none is clearly larger than the text.

    Args:
        page: the height of each line of the page, and its text.
        heights: the height of each line of some pages, and how many letters it has.
    """
    body = _usual_height(heights)
    lines = [
        (size, text)
        for size, text in page
        if size >= body * _HEADING_RATIO and sum(map(str.isalpha, text)) >= _MIN_HEADING_LETTERS
    ]
    for _ in range(_MAX_HEADING_SIZES):
        if not lines:
            break
        largest = max(size for size, _ in lines)
        group = [text for size, text in lines if size >= largest * _SAME_SIZE]
        title = tidy_title(" ".join(group)) if len(group) <= _MAX_HEADING_LINES else ""
        if title or (title := tidy_title(group[0])):
            return title
        lines = [line for line in lines if line[0] < largest * _SAME_SIZE]
    return ""


def _usual_height(heights: Sequence[tuple[float, int]]) -> float:
    """Return the height of the line that the median letter is in."""
    left = sum(letters for _, letters in heights) / 2
    for height, letters in sorted(heights):
        left -= letters
        if left <= 0:
            return height
    return 0.0
