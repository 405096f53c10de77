"""Readability: mend what fonts garble in text, and tell text that nobody can read.

PDF fonts may lack the table from glyphs to characters. What is extracted then is names of glyphs,
private characters, control codes or other letters than those on the page.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from functools import cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_MIN_VISIBLE: Final = 12  # characters; a shorter page is judged by its unmapped share alone
_MIN_LETTERS: Final = 12  # for statistics of letters where the font is suspected
_MIN_LETTERS_UNSUSPECTED: Final = 45  # of different words
_MANY_LETTERS: Final = 150  # so many say more
_SAFE_SHARE: Final = 0.02  # of the characters without a mapping: a part of the page will do
_SAMPLE_CHARS: Final = 1500
_SUSPECTED_SHARE: Final = 0.3  # of the characters without a mapping
_MAX_NOISE_SHARE: Final = 0.15  # private, undefined and control characters
_MAX_GLYPH_NAME_SHARE: Final = 0.2
_MAX_SYMBOL_SHARE: Final = 0.65  # of what are neither letters, digits nor leaders
_MAX_SYMBOL_SHARE_SUSPECTED: Final = 0.4
_MAX_BROKEN_SHARE: Final = 0.06  # of the words, with a letter lost to a control code
_MAX_RARE_SHARE: Final = 0.4  # of the Latin letters: phonetic ones
_MAX_ACCENT_SHARE: Final = 0.5  # of the Latin letters, where the font is suspected
_MAX_MIXED_SHARE: Final = 0.3  # of the words, with letters of two scripts
_MAX_SCRIPTS: Final = 4
_MIN_SCRIPT_SHARE: Final = 0.03
_MIN_COMMON_IDEOGRAPHS: Final = 0.75
_MIN_IDEOGRAPHS: Final = 10
# Mean natural logarithm of the frequency of Latin letters: prose in European languages has -2.8
# to -3.1, letters that stand for others -3.5 and less.
_LEAST_LIKELIHOOD: Final = -3.3
_LEAST_LIKELIHOOD_OF_MANY: Final = -3.4
_LEAST_LIKELIHOOD_OF_FEW: Final = -3.55

# Per mille, the mean of English, German, French, Spanish, Italian, Polish and Swedish.
_FREQUENCIES: Final = (
    "a85 b14 c33 d41 e124 f14 g18 h27 i78 j6 k16 l45 m28 n73 o67 p25 q5 r65 s64 t69 u38 v14 w16 "
    "x2 y14 z13"
)
_LOGARITHMS: Final = {item[0]: math.log(int(item[1:]) / 1000) for item in _FREQUENCIES.split()}
_ENCODINGS: Final = ("gb2312", "big5", "shift_jis", "euc_kr")
_WIDE_BYTES: Final = 2
_LEADERS: Final = frozenset("._-\u2013\u2014\u2026\xb7|")

_GLYPH_NAME = re.compile(r"\(cid:\d+\)|/(?:[A-Za-z]{1,6}\d{1,5}|uni[0-9A-F]{4})(?=\W|$)|\x00")
_WORD = re.compile(r"[^\W\d_]{3,}")
_IDEOGRAPH = re.compile(r"[\u3400-\u9fff\uac00-\ud7a3\uf900-\ufaff]")
_LATIN = re.compile(r"[A-Za-z\xc0-\u02af\u1e00-\u1eff]")
_RARE_LATIN = re.compile(r"[\u0180-\u0217\u021c-\u02af]")

# Codes of ligatures in the encodings OT1 and T1 of TeX fonts, and in an older one.
_TEX_LIGATURES: Final = {
    "\x0b": "ff", "\x0c": "fi", "\x0d": "fl", "\x0e": "ffi", "\x0f": "ffl",
    "\x1b": "ff", "\x1c": "fi", "\x1d": "fl", "\x1e": "ffi", "\x1f": "ffl",
    "\xae": "ff", "\xaf": "fi", "\xb0": "fl", "\xb1": "ffi", "\xb2": "ffl",
}  # fmt: skip
_LOST_LIGATURE = re.compile(
    r"(?<=[A-Za-z])[\x0b-\x0f\x1b-\x1f](?=[A-Za-z]|\b|\W|$)|[\x0b-\x0f\x1b-\x1f](?=[a-z])|"
    r"(?<=[a-z])[\xae-\xb2](?=[a-z])|(?<![^\s(])[\xaf\xb0](?=[a-z]{2})"
)
# Signs of the font Symbol that documents keep by their place in it.
_SYMBOL_SIGNS: Final = str.maketrans(
    "\uf02b\uf02d\uf03c\uf03d\uf03e\uf0a3\uf0a7\uf0a8\uf0b0\uf0b1\uf0b3\uf0b4\uf0b7\uf0b9\uf0d8\uf0e0\uf0fc",
    "+-<=>\u2264\u2022\u2022\xb0\xb1\u2265\xd7\u2022\u2260\u2022\u2192\u2713",
)
# Letters that are shapes of others: ligatures, Arabic forms, radicals, italics of formulas.
_SHAPES = re.compile(
    "[\ufb00-\ufb06\ufb13-\ufb17\ufb1d-\ufdfb\ufe70-\ufefc\u2e80-\u2fdf\U0001d400-\U0001d7ff]",
    re.UNICODE,
)
_CODE_IN_WORD = re.compile(
    r"[^\W\d_][\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f][^\W\d_]"
)
# A code that parts words as a space does.
_MIN_WORD_CHARS: Final = 2.0
_MAX_WORD_CHARS: Final = 12.0
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f]")
_RUN = re.compile(r"(.)\1*")
_MIN_DOUBLED_CHARS: Final = 6
_COPIES: Final = (4, 3, 2)


def mended(line: str) -> str:
    """Return a line with ligatures spelt out and letters once that were drawn several times."""
    if line.isascii() and line.isprintable():
        return _without_copies(line)
    line = line.translate(_SYMBOL_SIGNS)
    line = _LOST_LIGATURE.sub(lambda code: _TEX_LIGATURES[code[0]], line)
    line = _SHAPES.sub(lambda shape: unicodedata.normalize("NFKC", shape[0]), line)
    return _without_copies(line)


def _without_copies(line: str) -> str:
    """Return "Annual" for "AAnnnnuuaall", if all words of the line are like that."""
    if len(line) < _MIN_DOUBLED_CHARS or line[0] != line[1]:
        return line
    words = line.split()
    for copies in _COPIES:
        runs = [run for word in words for run in _RUN.finditer(word)]
        letters = sum(run[1].isalpha() for run in runs)
        if letters * 2 > len(runs) and all(len(run[0]) % copies == 0 for run in runs):
            return " ".join(
                "".join(run[1] * (len(run[0]) // copies) for run in _RUN.finditer(word))
                for word in words
            )
    return line


def space_code(texts: Sequence[str]) -> str:
    """Return the control code that stands for the space in the lines of a page, "" if none."""
    codes = Counter(code for text in texts for code in _CONTROLS.findall(text))
    if not codes:
        return ""
    code, times = codes.most_common(1)[0]
    words = [word for text in texts for word in text.split()]
    chars = sum(map(len, words)) - times
    pieces = len(words) + times
    apart = _MIN_WORD_CHARS <= chars / max(pieces, 1) <= _MAX_WORD_CHARS
    return code if apart and times >= len(words) and codes.total() < times * 2 else ""


def noise_share(text: str) -> float:
    """Return the share of private, undefined and control characters."""
    if text.isascii() and text.isprintable():
        return 0.0
    counts = Counter("".join(text.split()))
    noise = sum(times for character, times in counts.items() if _is_noise(character))
    return noise / max(counts.total(), 1)


def without_controls(text: str) -> str:
    """Return the text without control codes, tabs and line ends excepted."""
    return _CONTROLS.sub("", text)


def is_unreadable(text: str, unmapped: float = 0.0) -> bool:
    """Tell whether a page's text is not what the page shows.

    Args:
        text: the text of a page, mended.
        unmapped: the share of its characters for which the font has no Unicode mapping. It is a
            suspicion only: many old fonts have none and use the codes of the letters.
    """
    suspected = unmapped >= _SUSPECTED_SHARE
    if unmapped < _SAFE_SHARE and len(text) > _SAMPLE_CHARS:
        text = text[:_SAMPLE_CHARS]
    visible = Counter("".join(text.split()))
    count = visible.total()
    if noise_share(text) > _MAX_NOISE_SHARE:
        return True
    if count < _MIN_VISIBLE and not suspected:
        return False
    names = sum(len(match[0]) for match in _GLYPH_NAME.finditer(text))
    broken = 0 if text.isprintable() else len(_CODE_IN_WORD.findall(text))
    return (
        names > count * _MAX_GLYPH_NAME_SHARE
        or broken > len(text.split()) * _MAX_BROKEN_SHARE
        or _has_many_symbols(visible, suspected=suspected)
        or (not text.isascii() and _has_wrong_scripts(text, visible))
        or _has_wrong_letters(text, suspected=suspected)
    )


def _has_many_symbols(visible: Counter[str], *, suspected: bool) -> bool:
    body = {c: times for c, times in visible.items() if c not in _LEADERS}
    count = sum(body.values())
    symbols = sum(
        times for c, times in body.items() if not c.isalnum() and unicodedata.category(c)[0] != "M"
    )
    most = _MAX_SYMBOL_SHARE_SUSPECTED if suspected else _MAX_SYMBOL_SHARE
    return count >= _MIN_VISIBLE and symbols > count * most


def _is_noise(character: str) -> bool:
    return character == "\ufffd" or unicodedata.category(character) in {"Co", "Cn", "Cc", "Cs"}


def _has_wrong_scripts(text: str, visible: Counter[str]) -> bool:
    """Tell whether scripts are mixed as in no language, or ideographs are rare ones."""
    ideographs = "".join(_IDEOGRAPH.findall(text))
    if len(ideographs) >= _MIN_IDEOGRAPHS and _common_share(ideographs) < _MIN_COMMON_IDEOGRAPHS:
        return True
    words = _WORD.findall(text)
    scripts: Counter[str] = Counter()
    for character, times in visible.items():
        if character.isalpha():
            scripts[_script(character)] += times
    least = scripts.total() * _MIN_SCRIPT_SHARE
    if sum(times >= least for times in scripts.values()) > _MAX_SCRIPTS:
        return True
    mixed = sum(
        len({_script(character) for character in word} - {""}) > 1
        for word in words
        if not word.isascii()
    )
    return len(words) >= _MIN_LETTERS and mixed > len(words) * _MAX_MIXED_SHARE


def _has_wrong_letters(text: str, *, suspected: bool) -> bool:
    """Tell whether Latin letters are as frequent as in no language that is written with them."""
    latin = _LATIN.findall(text)
    if len(latin) < _MIN_LETTERS:
        return False
    if not text.isascii():
        rare = len(_RARE_LATIN.findall(text))
        accented = sum(letter > "\x7f" for letter in latin)
        if rare > len(latin) * _MAX_RARE_SHARE or (
            suspected and accented > len(latin) * _MAX_ACCENT_SHARE
        ):
            return True
    # Words that are repeated, as in forms and tests of printers, say nothing about a language.
    sample = text if suspected else " ".join(set(_WORD.findall(text)))
    counts = Counter(_plain(sample))
    known = sum(counts[letter] for letter in _LOGARITHMS)
    if known < (_MIN_LETTERS if suspected else _MIN_LETTERS_UNSUSPECTED):
        return False
    likelihood = sum(counts[letter] * value for letter, value in _LOGARITHMS.items())
    least = _LEAST_LIKELIHOOD_OF_MANY if known >= _MANY_LETTERS else _LEAST_LIKELIHOOD_OF_FEW
    least = _LEAST_LIKELIHOOD if suspected else least
    return likelihood / known < least


def _plain(text: str) -> str:
    """Return the letters in small, without accents."""
    return unicodedata.normalize("NFD", text).lower()


@cache
def _script(character: str) -> str:
    """Return the first word of a letter's name, "" for scripts that mix with others."""
    name = unicodedata.name(character, "").split(" ", 1)[0]
    east_asian = name in {"CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "IDEOGRAPHIC"}
    return "" if east_asian or name in {"KATAKANA-HIRAGANA", "FULLWIDTH", "MODIFIER"} else name


def _common_share(ideographs: str) -> float:
    """Return the share of characters that the fullest of the common national sets has."""
    # The codec for Korean composes what is not in the set, of more than two bytes.
    return max(
        sum(len(character.encode(encoding, "ignore")) == _WIDE_BYTES for character in ideographs)
        for encoding in _ENCODINGS
    ) / len(ideographs)
