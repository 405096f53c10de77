"""Sentences for the proof of attribution, made by fixed rules from paragraphs of articles.

Each case has four sources. Three are paragraphs of one article, one of them behind the sentence:
the others are about the same. The fourth is of another article.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from deployments.text.sentences import sentences

KINDS = ("supported", "swapped", "number", "name", "unsupported")
_SOURCES = 4
_SENTENCE_CHARS = (30, 320)
_SEED = 11
_NAME_CHARS = 3

_SYNONYMS = {
    "began": "started",
    "large": "big",
    "many": "numerous",
    "often": "frequently",
    "because": "since",
    "also": "too",
    "however": "though",
    "received": "got",
    "known": "famous",
    "used": "employed",
    "main": "chief",
    "several": "some",
    "important": "major",
    "during": "throughout",
    "created": "made",
    "city": "town",
    "began to": "started to",
    "number": "amount",
    "throughout": "all over",
    "usually": "normally",
    "current": "present",
    "entire": "whole",
    "near": "close to",
    "became": "turned into",
    "most": "the majority of",
    "such as": "like",
    "located": "situated",
    "about": "around",
    "approximately": "about",
    "built": "constructed",
    "help": "assist",
    "children": "kids",
    "said": "stated",
    "show": "demonstrate",
    "required": "needed",
    "allowed": "permitted",
    "people": "persons",
    "difficult": "hard",
    "form": "shape",
    "over": "more than",
}
_TENSES = {
    "is": "was",
    "are": "were",
    "was": "is",
    "were": "are",
    "has": "had",
    "have": "had",
    "had": "has",
    "does": "did",
    "did": "does",
    "can": "could",
    "will": "would",
}
_PERSONS = {"He": "I", "She": "I", "They": "We", "Their": "Our", "His": "My", "Her": "My"}
_NUMBER_WORDS = (
    "two three four five six seven eight nine ten eleven twelve twenty thirty forty fifty".split()
)
_NUMBER = re.compile(r"(?<![\w.,])\d+(?:[.,]\d+)*(?![\w½])")
_NUMBER_WORD = re.compile(rf"\b(?:{'|'.join(_NUMBER_WORDS)})\b")
# Behind another word: what begins a sentence may be no name.
_NAME = re.compile(
    r"(?<=[a-zа-я,;(] )[A-ZÀ-ÖØ-ÞА-Я][\w’'-]*[^\W\d_](?: [A-ZÀ-ÖØ-ÞА-Я][\w’'-]*[^\W\d_])*"
)
_CLAUSE = re.compile(
    r",? (?:which|who|while|and|but|with|by|after|before|including|because|although|where) "
)
_OPENING = re.compile(
    r"^((?:In|On|At|During|After|Before|By|From|For|With|Since|Under)\b[^,]{3,60}), "
)


@dataclass(frozen=True)
class Article:
    title: str
    paragraphs: Sequence[str]

    def sentences(self, number: int) -> list[str]:
        text = self.paragraphs[number]
        found = [text[start:end].strip() for start, end in sentences(text)]
        least, most = _SENTENCE_CHARS
        return [one for one in found if least <= len(one) <= most and one[-1:] not in ":?"]


@dataclass(frozen=True)
class _Place:
    """A sentence of a paragraph."""

    article: Article
    number: int
    sentence: str

    @property
    def paragraph(self) -> str:
        return self.article.paragraphs[self.number]


@dataclass(frozen=True)
class Case:
    """A sentence, its sources, and the number of the one that supports it, or None."""

    kind: str
    rule: str
    text: str
    sources: tuple[str, ...]
    expected: int | None
    cited: int | None = None
    original: str = ""

    @property
    def answer(self) -> str:
        """The sentence as a model writes it."""
        if self.cited is None:
            return self.text
        return f"{self.text[:-1]} [{self.cited}]{self.text[-1]}"


def articles(path: Path) -> list[Article]:
    data = json.loads(path.read_text(encoding="utf-8"))["data"]
    return [
        Article(one["title"], [paragraph["context"] for paragraph in one["paragraphs"]])
        for one in data
    ]


def halves(found: Sequence[Article]) -> tuple[list[Article], list[Article]]:
    """Return the articles to tune on, and those to report on."""
    return list(found[::2]), list(found[1::2])


def cases(found: Sequence[Article], count: int, kinds: Sequence[str] = KINDS) -> list[Case]:
    """Make as many sentences of each kind, or as many as there are."""
    made = []
    for kind in kinds:
        chance = random.Random(f"{_SEED} {kind}")  # noqa: S311
        places = [
            _Place(article, number, sentence)
            for article in found
            for number in range(len(article.paragraphs))
            for sentence in article.sentences(number)
        ]
        chance.shuffle(places)
        of_kind: list[Case] = []
        for place in places:
            if len(of_kind) == count:
                break
            edited = _edited(kind, len(of_kind), place, chance)
            if edited is not None:
                of_kind.append(_case(kind, edited, place, found, chance))
        made += of_kind
    return made


def _case(
    kind: str,
    edited: tuple[str, str],
    place: _Place,
    found: Sequence[Article],
    chance: random.Random,
) -> Case:
    article, number = place.article, place.number
    others = [n for n in range(len(article.paragraphs)) if n != number]
    strangers = [one for one in found if one is not article]
    texts = [article.paragraphs[n] for n in chance.sample(others, min(2, len(others)))]
    if kind == "unsupported":  # the sentence is of this article: its sources are of others
        subject = chance.choice(strangers)
        texts = chance.sample(list(subject.paragraphs), min(_SOURCES - 1, len(subject.paragraphs)))
        strangers = [one for one in strangers if one is not subject]
        true = chance.choice(chance.choice(strangers).paragraphs)
    else:
        true = article.paragraphs[number]
        while len(texts) < _SOURCES - 1:
            texts.append(chance.choice(chance.choice(strangers).paragraphs))
    texts = [true, *texts]
    chance.shuffle(texts)
    right = texts.index(true) + 1
    wrong = [n for n in range(1, len(texts) + 1) if n != right]
    expected = right if kind in {"supported", "swapped"} else None
    cited = right if kind in {"number", "name"} else chance.choice([right, None])
    if kind in {"swapped", "unsupported"}:
        cited = chance.choice(wrong)
    return Case(kind, *edited, tuple(texts), expected, cited, place.sentence)


def _edited(kind: str, turn: int, place: _Place, chance: random.Random) -> tuple[str, str] | None:
    """Return the name of the rule, and what it makes of the sentence if it can be applied."""
    match kind:
        case "unsupported":
            return "other article", place.sentence
        case "number":
            return _other_number(place.sentence, place.paragraph, chance)
        case "name":
            return _other_name(place, chance)
    others = place.article.sentences(place.number)
    rules: dict[str, Callable[[], str | None]] = {
        "verbatim": lambda: place.sentence,
        "dropped": lambda: _dropped(place.sentence),
        "reordered": lambda: _reordered(place.sentence),
        "synonyms": lambda: _replaced(place.sentence, _SYNONYMS, 3),
        "tense": lambda: _replaced(place.sentence, _TENSES, 2),
        "person": lambda: _replaced(place.sentence, _PERSONS, 1),
        "merged": lambda: _merged(place.sentence, others),
    }
    names = list(rules)
    for name in names[turn % len(names) :] + names[: turn % len(names)]:
        if text := rules[name]():
            return name, text
    return None


def _dropped(sentence: str) -> str | None:
    if opening := _OPENING.match(sentence):
        rest = sentence[opening.end() :]
        return rest[0].upper() + rest[1:]
    for clause in _CLAUSE.finditer(sentence):
        kept = sentence[: clause.start()]
        if len(kept.split()) >= 6:
            return kept.rstrip(",;") + "."
    first, _, rest = sentence.partition(",")
    if rest and len(first.split()) >= 6:
        return first + "."
    signs = re.split(r"[，、]", sentence)
    return "，".join(signs[:-1]) + "。" if len(signs) > 2 else None


def _reordered(sentence: str) -> str | None:
    end = sentence[-1] if sentence[-1] in ".。।" else ""
    bare = sentence.removesuffix(end)
    if opening := _OPENING.match(bare):
        rest = bare[opening.end() :]
        return f"{rest[0].upper()}{rest[1:]} {opening[1][0].lower()}{opening[1][1:]}{end}"
    for clause in re.finditer(r",? (while|because|although|after|before|since|when) ", bare):
        first, rest = bare[: clause.start()], bare[clause.end() :]
        if min(len(first.split()), len(rest.split())) >= 3:
            return f"{clause[1].capitalize()} {rest}, {first[0].lower()}{first[1:]}{end}"
    for mark in (", ", "，", "、"):
        parts = bare.split(mark)
        if len(parts) == 2 and min(map(len, parts)) >= 8:
            return f"{parts[1]}{mark}{parts[0]}{end}"
    return None


def _replaced(sentence: str, table: dict[str, str], most: int) -> str | None:
    text, done = sentence, 0
    for word, other in table.items():
        if done < most:
            text, count = re.subn(rf"\b{word}\b", f"\0{other}\0", text, count=1)
            done += count
    return text.replace("\0", "") if done else None


def _merged(first: str, others: Sequence[str]) -> str | None:
    behind = others.index(first) + 1
    if behind == len(others) or first[-1] not in ".。।":
        return None
    second = others[behind]
    opening = second.split(" ", 1)[0]
    if opening in {"The", "It", "He", "She", "They", "This", "These", "In", "A", "However", "His"}:
        second = second[0].lower() + second[1:]
    joint = "，" if first[-1] == "。" else ", and "
    return f"{first[:-1]}{joint}{second}"


def _other_number(sentence: str, paragraph: str, chance: random.Random) -> tuple[str, str] | None:
    digits, words = list(_NUMBER.finditer(sentence)), list(_NUMBER_WORD.finditer(sentence))
    if not digits and not words:
        return None
    found = chance.choice(digits or words)
    if found in words:
        others = [word for word in _NUMBER_WORDS if word not in sentence]
        return "word", _with(sentence, found, chance.choice(others))
    elsewhere = [
        number
        for number in _NUMBER.findall(paragraph)
        if number not in _NUMBER.findall(sentence)
        # A year for a year: a person would not notice.
        and len(number) == len(found[0])
    ]
    if elsewhere and chance.random() < 0.5:
        return "of the paragraph", _with(sentence, found, chance.choice(elsewhere))
    place = chance.choice([n for n, char in enumerate(found[0]) if char.isdecimal()])
    digit = chance.choice([char for char in "123456789" if char != found[0][place]])
    changed = found[0][:place] + digit + found[0][place + 1 :]
    return "digit", _with(sentence, found, changed)


def _other_name(place: _Place, chance: random.Random) -> tuple[str, str] | None:
    article, number, sentence = place.article, place.number, place.sentence
    names = list(_NAME.finditer(sentence))
    if not names:
        return None
    found = chance.choice(names)
    rule = chance.choice(("of the paragraph", "of the article", "invented"))
    if rule == "invented":
        invented = ("Halvorsen", "Port Ellery", "Marchetti", "Sundbury", "Okonjo", "Lake Verrin")
        return rule, _with(sentence, found, chance.choice(invented))
    texts = [article.paragraphs[number]]
    if rule == "of the article":
        texts = [text for n, text in enumerate(article.paragraphs) if n != number]
    elsewhere = [
        name
        for text in texts
        for name in _NAME.findall(text)
        if not set(name.casefold().split()) & set(re.findall(r"\w+", sentence.casefold()))
        and len(name) >= _NAME_CHARS
        and not name.endswith(("'s", "\u2019s"))
    ]
    if not elsewhere:
        return None
    return rule, _with(sentence, found, chance.choice(elsewhere))


def _with(sentence: str, found: re.Match[str], other: str) -> str:
    return sentence[: found.start()] + other + sentence[found.end() :]


def outcomes(made: Sequence[Case], supports: Sequence[int | None]) -> Iterator[tuple[str, float]]:
    """Yield precision, recall and the share of changed numbers and names that were found."""
    pairs = list(zip(made, supports, strict=True))
    claimed = [(case, source) for case, source in pairs if source is not None]
    true = [case for case, _ in pairs if case.expected is not None]
    right = sum(case.expected == source for case, source in claimed)
    yield "precision", right / max(1, len(claimed))
    yield "recall", right / max(1, len(true))
    for kind in ("number", "name"):
        of_kind = [source for case, source in pairs if case.kind == kind]
        if of_kind:
            yield kind, sum(source is None for source in of_kind) / len(of_kind)
