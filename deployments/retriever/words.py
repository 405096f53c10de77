"""Tokens of the word index: case-folded words, stemmed and without stop words, and n-grams.

Stemmer and stop words depend on the language. Text in scripts without spaces is split into
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
# Languages in other scripts; their stemmers leave Latin words alone, which are stemmed as English.
_NON_LATIN: Final = frozenset(("ar", "el", "fa", "hi", "hy", "ne", "ru", "sr", "ta", "yi"))
_DOTLESS_I: Final = frozenset(("az", "tr"))
_STOP_WORD_CODES: Final = {"no": "nb"}  # where the package stop-words has another code

_DOTLESS: Final = str.maketrans({"I": "\u0131", "\u0130": "i"})
# Characters that do not tell words apart or are seldom written: soft hyphens, joiners, direction
# marks, the tatweel and vowel points of Arabic, the points of Hebrew, the nukta of Hindi, and the
# dot that case folding separates from a Turkish capital.
_IGNORED: Final = regex.compile(
    r"[\u00ad\u200b-\u200f\u2060\ufeff\u0640\u064b-\u065f\u0670\u06d6-\u06ed\u0591-\u05bd\u05bf"
    r"\u05c1\u05c2\u05c4\u05c5\u05c7\u093c]|(?<=i)\u0307"
)
_YO: Final = str.maketrans({"ё": "\u0435"})
_WORD: Final = regex.compile(r"[\p{L}\p{M}\p{N}]+")

# Chinese characters, Japanese kana and Hangul: a word has about two of them.
_EAST_ASIAN: Final = r"\p{Han}\p{Hiragana}\p{Katakana}\u30fc\p{Hangul}"
_SOUTH_EAST_ASIAN: Final = r"\p{Thai}\p{Lao}\p{Myanmar}\p{Khmer}"
_UNSPACED: Final = regex.compile(
    rf"(?:[{_EAST_ASIAN}]\p{{M}}*)+|(?:[{_SOUTH_EAST_ASIAN}]\p{{M}}*)+"
)
_IS_EAST_ASIAN: Final = regex.compile(rf"[{_EAST_ASIAN}]")
_EAST_ASIAN_SIZES: Final = (1, 2)
_SOUTH_EAST_ASIAN_SIZES: Final = (3,)
_MIN_STOP_WORDS: Final = 2  # in a question, to detect its language by them
_MAX_CACHED_LANGUAGES: Final = 128  # languages whose rules are kept in memory


@dataclass(frozen=True, slots=True)
class _Rules:
    """How words of a language are normalised."""

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
    """Return the question to be indexed as English, its likely words, and its unlikely words.

    `text` is in NFKC. Words are those of the rules of `languages`. If the stop words show one
    language, its stop words are removed in all languages, as they may be rare words there with a
    great weight; the words of the other languages are the unlikely ones.
    """
    folded = {dotless_i: _folded(text, dotless_i=dotless_i) for dotless_i in (False, True)}
    rules = [_rules_of(each) for each in (ENGLISH, *languages)]
    counts = [sum(word in each.stop_words for word in folded[each.dotless_i]) for each in rules]
    most = [each for each, count in zip(rules, counts, strict=True) if count == max(counts)]
    clear = len(most) == 1 and max(counts) >= _MIN_STOP_WORDS
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
    """Return the n-grams of those parts of a text in NFKC that are in scripts without spaces."""
    if text.isascii():
        return []
    folded = _IGNORED.sub("", text.casefold())
    return [gram for run in _UNSPACED.findall(folded) for gram in _ngrams(run)]


def _ngrams(run: str) -> Iterator[str]:
    for size in _EAST_ASIAN_SIZES if _IS_EAST_ASIAN.match(run) else _SOUTH_EAST_ASIAN_SIZES:
        for start in range(max(len(run) - size, 0) + 1):
            yield run[start : start + size]


def _folded(text: str, *, dotless_i: bool) -> list[str]:
    """Return the case-folded words in scripts with spaces."""
    if dotless_i:
        text = text.translate(_DOTLESS)
    text = text.casefold()
    if not text.isascii():
        text = _UNSPACED.sub(" ", _IGNORED.sub("", text).translate(_YO))
    found: list[str] = _WORD.findall(text)
    return found


@lru_cache(_MAX_CACHED_LANGUAGES)
def _rules_of(language: str) -> _Rules:
    code = _STOP_WORD_CODES.get(language, language)
    text = " ".join(get_stop_words(code)) if code in LANGUAGE_MAPPING else ""
    dotless_i = language in _DOTLESS_I
    stop_words = _folded(unicodedata.normalize("NFKC", text), dotless_i=dotless_i)
    return _Rules(
        dotless_i,
        frozenset(stop_words),
        Stemmer(_STEMMERS[language]) if language in _STEMMERS else None,
        Stemmer(_STEMMERS[ENGLISH]) if language in _NON_LATIN else None,
    )
