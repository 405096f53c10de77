"""Split a text into words and numbers for comparison, without knowing its language."""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from itertools import groupby, pairwise
from typing import Final, NamedTuple

# Scripts without spaces between words: Thai to Burmese, Khmer, kana and Han.
_UNSPACED: Final = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\uff66-\uff9f"
)
_FRACTIONS: Final = "\u00bc-\u00be\u2150-\u215e"
_ACCENTS: Final = re.compile(r"[\u0300-\u036f\u064b-\u065f\u0670]")
_GROUPED: Final = re.compile(r"\d{1,3}(?:[.,\u00a0\u202f'\u2019]\d{3})+")
_POSSESSIVE: Final = re.compile(r"['\u2019]s?\Z")
_NAME_SEPARATORS: Final = frozenset(("", " ", "-", "\u2010", "\u2019", "'s ", "\u2019s "))


def _listed(words: str) -> list[str]:
    return words.split()


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_CARDINALS: Final = _listed(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen twenty"
)
_ORDINALS: Final = _listed(
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth"
)
_TENS: Final = _listed("thirty forty fifty sixty seventy eighty ninety")
_NUMBER_WORDS: Final = {
    # "one" is a pronoun more often, and "first" means "at the beginning".
    **{word: str(n) for n, word in enumerate(_CARDINALS) if word != "one"},
    **{word: str(n) for n, word in enumerate(_ORDINALS, 1) if word != "first"},
    **{word: str(n) for n, word in zip(range(30, 100, 10), _TENS, strict=True)},
}
_MULTIPLIERS: Final = {
    **dict.fromkeys(("thousand", "tausend", "mille", "mil"), 3),
    **dict.fromkeys(("million", "millions", "mio", "millionen", "millones", "millón"), 6),
    **dict.fromkeys(("billion", "billions", "mrd", "milliarden"), 9),
}

_FUNCTION_WORDS: Final = _set(
    "a about above after again against all also although always among an and another any are as "
    "at be because been before being below between both but by can could did do does during "
    "each either even every few for from further had has have he hence her here hers him his "
    "how however i if in indeed instead into is it its itself just later many may me might more "
    "moreover most much must my neither never no nor not now of off often on once one only or "
    "other others our out over own perhaps rather same she should since so some still such than "
    "that the their them then there therefore these they this those though through thus to "
    "today too under until up upon us very was we well were what when where whereas whether "
    "which while who whom whose why will with within without would yet you your overall "
    "additionally finally furthermore meanwhile similarly specifically currently"
)
PRONOUNS: Final = _set("he she it they his her its their him them this these who")
NEGATIONS: Final = _set(
    "not never nor cannot nicht kein keine keinen nie niemals pas jamais nunca не никогда"
)
"""Negations of verbs only: "no" is left out, as "no cost" may be "free of charge"."""
_GERMAN_WORDS: Final = _set("der das und ist nicht eine auf wurde zu dem")
_MIN_GERMAN_WORDS: Final = 3
_SHORT_CHARS: Final = 3
_STEM_CHARS: Final = 4
_MAX_ENDING_CHARS: Final = 4


class Token(NamedTuple):
    """A word, a number, or two neighbouring characters of a script without spaces.

    `key` is compared: lower case without accents, or the value of a number. `other` is a second
    form of a number, such as 1200000 for "1.2 million". `joins` is true for a capitalised word that
    may belong to the same name as the word before it.
    """

    key: str
    is_number: bool = False
    is_capital: bool = False
    is_first: bool = False
    other: str = ""
    joins: bool = False

    @property
    def is_function_word(self) -> bool:
        """Whether it is a function word, or too short to be told from one."""
        if self.is_number:
            return False
        return self.key in _FUNCTION_WORDS or (
            len(self.key) <= _SHORT_CHARS and not self.is_capital and self.key.isascii()
        )


def tokens(text: str) -> list[Token]:
    """Return the tokens of a sentence, in order."""
    found: list[Token] = []
    end = 0
    for match in _pattern().finditer(text):
        if number := match["number"]:
            found.append(Token(_value(number), is_number=True))
        elif characters := match["characters"]:
            pairs = [a + b for a, b in pairwise(characters)] or [characters]
            found += map(Token, pairs)
        else:
            token = _word(match["word"], is_first=not found)
            before = found[-1] if found else token
            joins = (
                token.is_capital
                and before.is_capital
                and text[end : match.start()] in _NAME_SEPARATORS
            )
            found.append(token._replace(joins=joins))
        end = match.end()
    return [
        _multiplied(token, found[place + 1].key)
        if token.is_number and place + 1 < len(found)
        else token
        for place, token in enumerate(found)
    ]


def is_german(keys: set[str]) -> bool:
    """Return whether a text is German, whose nouns all have capitals."""
    return len(keys & _GERMAN_WORDS) >= _MIN_GERMAN_WORDS


def alike(one: str, other: str) -> bool:
    """Return whether two words may be forms of one word: only their endings differ."""
    longer = max(len(one), len(other))
    common = next(
        (n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b),
        min(len(one), len(other)),
    )
    return common >= max(_STEM_CHARS, longer - _MAX_ENDING_CHARS)


def stem(key: str) -> str:
    """Return the beginning that is common to all words `alike` this one."""
    return key[:_STEM_CHARS]


@cache
def _pattern() -> re.Pattern[str]:
    marks = _class_of_marks()
    return re.compile(
        rf"(?P<number>\d+(?:[.,\u00a0\u202f'\u2019]\d+)*[{_FRACTIONS}]?|[{_FRACTIONS}])"
        rf"|(?P<characters>[{_UNSPACED}][{_UNSPACED}{marks}]*)"
        rf"|(?P<word>[^\W\d_{_UNSPACED}](?:[^\W\d_{_UNSPACED}]|[{marks}\u200c\u200d]"
        rf"|['\u2019](?=[^\W\d_]))*\d*)"
    )


def _class_of_marks() -> str:
    """Return the combining marks as ranges, which Python does not count as letters."""
    marks = (n for n in range(0x300, 0xFFFF) if _is_mark(n))
    runs = (
        [n for _, n in run] for _, run in groupby(enumerate(marks), lambda pair: pair[1] - pair[0])
    )
    return "".join(f"{chr(run[0])}-{chr(run[-1])}" for run in runs)


def _is_mark(code: int) -> bool:
    return unicodedata.category(chr(code)).startswith("M")


def _word(text: str, *, is_first: bool) -> Token:
    bare = _POSSESSIVE.sub("", text)
    folded = unicodedata.normalize("NFKD", bare.casefold())
    key = unicodedata.normalize("NFC", _ACCENTS.sub("", folded))
    if key.endswith(("n't", "n\u2019t")):
        return Token("not")
    if value := _NUMBER_WORDS.get(key):
        return Token(value, is_number=True)
    return Token(key, is_capital=bare[:1].isupper(), is_first=is_first)


def _value(number: str) -> str:
    """Return a number in plain digits, with a point."""
    fraction = ""
    if not number[-1].isdecimal():
        fraction = f"{unicodedata.numeric(number[-1]):.3f}"[1:].rstrip("0")
        number = number[:-1]
    digits = "".join(
        str(unicodedata.decimal(char)) if char.isdecimal() else char for char in number
    )
    if _GROUPED.fullmatch(digits):
        digits = "".join(char for char in digits if char.isdecimal())
    head, *rest = re.split(r"[^\d]", digits)
    head = head.lstrip("0") or "0"
    if len(rest) == 1 and rest[0].strip("0") and not fraction:
        return f"{head}.{rest[0].rstrip('0')}"
    return ".".join([head, *(part for part in rest if part.strip("0"))]) + fraction


def _multiplied(token: Token, behind: str) -> Token:
    zeros = _MULTIPLIERS.get(behind)
    if zeros is None or token.key.count(".") > 1:
        return token
    whole, _, part = token.key.partition(".")
    if len(part) > zeros:
        return token
    return token._replace(other=(whole + part.ljust(zeros, "0")).lstrip("0") or "0")
