"""Words of a text, as the word index compares them: folded, without stop words, stemmed.

The rules are those of the language. Text in scripts that are written without spaces is cut into
n-grams, whatever the language.
"""

from __future__ import annotations

import threading
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import regex
from Stemmer import Stemmer
from stop_words import LANGUAGE_MAPPING, get_stop_words

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ENGLISH: Final = "en"

# Stemmers of Snowball, by ISO 639 code. Words of other languages are not stemmed.
_STEMMERS: Final = {
    "ar": "arabic",
    "ca": "catalan",
    "cs": "czech",
    "da": "danish",
    "de": "german",
    "el": "greek",
    "en": "english",
    "eo": "esperanto",
    "es": "spanish",
    "et": "estonian",
    "eu": "basque",
    "fa": "persian",
    "fi": "finnish",
    "fr": "french",
    "ga": "irish",
    "hi": "hindi",
    "hu": "hungarian",
    "hy": "armenian",
    "id": "indonesian",
    "it": "italian",
    "lt": "lithuanian",
    "ne": "nepali",
    "nl": "dutch",
    "no": "norwegian",
    "pl": "polish",
    "pt": "portuguese",
    "ro": "romanian",
    "ru": "russian",
    "sr": "serbian",
    "st": "sesotho",
    "sv": "swedish",
    "ta": "tamil",
    "tr": "turkish",
    "yi": "yiddish",
}
# Of other scripts than the Latin one: Latin words among theirs are read as English.
_OTHER_SCRIPTS: Final = frozenset(("ar", "el", "fa", "hi", "hy", "ne", "ru", "sr", "ta", "yi"))
_DOTLESS_I: Final = frozenset(("az", "tr"))
_LISTED_AS: Final = {"no": "nb"}  # codes of the stop words

_DOTLESS: Final = str.maketrans({"I": "\u0131", "\u0130": "i"})
# What is seldom written, or says nothing: soft hyphens, joiners, marks of direction, the tatweel
# and vowel points of Arabic, those of Hebrew, the dot of Hindi's borrowed consonants, and the dot
# that case folding separates from a Turkish capital.
_IGNORED: Final = regex.compile(
    r"[\u00ad\u200b-\u200f\u2060\ufeff\u0640\u064b-\u065f\u0670\u06d6-\u06ed\u0591-\u05bd\u05bf"
    r"\u05c1\u05c2\u05c4\u05c5\u05c7\u093c]|(?<=i)\u0307"
)
_YO: Final = str.maketrans({"ё": "\u0435"})
_WORD: Final = regex.compile(r"[\p{L}\p{M}\p{N}]+")

# Chinese characters, the Japanese kana and Hangul: a word has about two of them.
_EAST: Final = r"\p{Han}\p{Hiragana}\p{Katakana}\u30fc\p{Hangul}"
_SOUTH_EAST: Final = r"\p{Thai}\p{Lao}\p{Myanmar}\p{Khmer}"
_SPACELESS: Final = regex.compile(rf"(?:[{_EAST}]\p{{M}}*)+|(?:[{_SOUTH_EAST}]\p{{M}}*)+")
_IS_EAST: Final = regex.compile(rf"[{_EAST}]")
_EAST_SIZES: Final = (1, 2)
_SOUTH_EAST_SIZES: Final = (3,)
_LEAST_STOP_WORDS: Final = 2  # of a question that they tell the language of
_MOST_RULES: Final = 128  # languages whose rules are kept in memory


@dataclass(frozen=True, slots=True)
class _Rules:
    """How words of a language are read."""

    dotless_i: bool
    stop_words: frozenset[str]
    stemmer: Stemmer | None
    latin_stemmer: Stemmer | None  # for Latin words among those of another script

    def stems(self, found: Sequence[str]) -> list[str]:
        """Return the stems of folded words."""
        if self.stemmer is None:
            return list(found)
        with _lock:
            if self.latin_stemmer is None:
                return list(self.stemmer.stemWords(found))
            return [
                (self.latin_stemmer if word.isascii() else self.stemmer).stemWord(word)
                for word in found
            ]


_lock = threading.Lock()  # a stemmer is for one thread at a time


def words(text: str, language: str) -> list[str]:
    """Return the words of a text in NFKC, stemmed and without stop words, in order."""
    rules = _rules_of(language)
    found = _folded(text, dotless_i=rules.dotless_i)
    return rules.stems([word for word in found if word not in rules.stop_words])


def question_words(text: str, languages: Sequence[str]) -> tuple[str, list[str], list[str]]:
    """Return a question in NFKC as it is to be read as English, and its words in `languages`.

    If most of its stop words are of one language, these are left out in all: in others they may be
    rare words, which would count for much. Words that only other languages have come last.
    """
    folded = {dotless_i: _folded(text, dotless_i=dotless_i) for dotless_i in (False, True)}
    rules = [_rules_of(each) for each in (ENGLISH, *languages)]
    counts = [sum(word in each.stop_words for word in folded[each.dotless_i]) for each in rules]
    most = [each for each, count in zip(rules, counts, strict=True) if count == max(counts)]
    clear = len(most) == 1 and max(counts) >= _LEAST_STOP_WORDS
    ignored = most[0].stop_words if clear else frozenset()
    likely: list[str] = []
    unlikely: list[str] = []
    for each in rules[1:]:
        left = [word for word in folded[each.dotless_i] if word not in ignored]
        stems = each.stems([word for word in left if word not in each.stop_words])
        (unlikely if clear and each is not most[0] else likely).extend(stems)
    if ignored and most[0] is not rules[0]:
        text = _WORD.sub(lambda word: "" if word[0].casefold() in ignored else word[0], text)
    return text, likely, unlikely


def ngrams(text: str) -> list[str]:
    """Return the n-grams of what is written without spaces in a text in NFKC."""
    if text.isascii():
        return []
    folded = _IGNORED.sub("", text.casefold())
    return [gram for run in _SPACELESS.findall(folded) for gram in _ngrams(run)]


def _ngrams(run: str) -> Iterator[str]:
    for size in _EAST_SIZES if _IS_EAST.match(run) else _SOUTH_EAST_SIZES:
        for start in range(max(len(run) - size, 0) + 1):
            yield run[start : start + size]


def _folded(text: str, *, dotless_i: bool) -> list[str]:
    """Return the words of scripts with spaces, in the form in which they are compared."""
    if dotless_i:
        text = text.translate(_DOTLESS)
    text = text.casefold()
    if not text.isascii():
        text = _SPACELESS.sub(" ", _IGNORED.sub("", text).translate(_YO))
    found: list[str] = _WORD.findall(text)
    return found


@lru_cache(_MOST_RULES)
def _rules_of(language: str) -> _Rules:
    listed = _LISTED_AS.get(language, language)
    text = " ".join(get_stop_words(listed)) if listed in LANGUAGE_MAPPING else ""
    dotless_i = language in _DOTLESS_I
    stop_words = _folded(unicodedata.normalize("NFKC", text), dotless_i=dotless_i)
    return _Rules(
        dotless_i,
        frozenset(stop_words),
        Stemmer(_STEMMERS[language]) if language in _STEMMERS else None,
        Stemmer(_STEMMERS[ENGLISH]) if language in _OTHER_SCRIPTS else None,
    )
