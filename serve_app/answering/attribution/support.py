"""Find support for a sentence of an answer in the sources, by words, numbers and names.

A sentence is supported if one or two sentences of a source have nearly all its words, weighted by
their rarity, and all its numbers and names in the same context. If the words do not decide,
`Judgement.candidates` are to be compared by meaning.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

from deployments.text.sentences import sentences
from serve_app.answering.attribution.words import (
    NEGATIONS,
    PRONOUNS,
    Token,
    alike,
    is_german,
    stem,
    tokens,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

MAX_SOURCE_SENTENCES: Final = 1000
"""Of all sources together; later sentences are ignored."""
_MAX_SENTENCE_CHARS: Final = 1000
_MAX_TOKENS: Final = 250  # Of one sentence.

_MIN_SHARES: Final = (0.66, 0.75)
"""The share of a sentence's weighted words that one sentence of a source, or two, must have."""
_MIN_OPEN_SHARE: Final = 0.2
"""The smallest share of a candidate for comparison by meaning."""
_MIN_SECOND_GAIN: Final = 0.12  # The share that a second sentence must add,
_MIN_SECOND_PART: Final = 0.5  # also as a part of the share that the first lacks.
_MIN_SECOND_WORDS: Final = 2  # New words besides names: a name alone may be of another statement.
_MAX_COMPARED: Final = 6  # Sentences with the greatest shares.
_MAX_CANDIDATES: Final = 3
_TIE: Final = 0.05  # Strengths with a smaller difference count as equal.
_FUNCTION_WEIGHT: Final = 0.15
_FORM_WEIGHT: Final = 0.9  # Of another form of a word.
_CONTEXT_WORDS: Final = 3  # Content words on each side of a number or name,
_CONTEXT_DISTANCE: Final = 4  # and how far from it they may be in the source.
_MAX_CONTEXT_TOKENS: Final = 12  # Tokens on each side, function words included.
_MAX_CHECKED: Final = 60  # Numbers and names of a sentence.
_MAX_PLACES: Final = 12  # Occurrences of a token in a sentence.
_MIN_LEAD: Final = (
    2  # Context words that another number or name must have more, to be a contradiction.
)
_ANTECEDENT_SENTENCES: Final = 2  # Sentences before a pronoun that may have its antecedent.
_COMPLETE_SHARE: Final = 0.85  # Of the tokens of the evidence: a longer sentence repeats all of it.

_BREAK: Final = re.compile(r"\n\s*\n|\n(?=\s*(?:[-*+\u2022|#>]|\d{1,3}[.)])\s)")


class Support(NamedTuple):
    """A source by its number, and the place of the supporting span in its text, in characters."""

    source: int
    strength: float
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Judgement:
    """The result of comparing words: the support, if any, or spans to compare by meaning."""

    support: Support | None
    candidates: Sequence[Candidate] = ()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A span of a source that may state the same in other words.

    `text` is to be compared; `share` is the share of the sentence's words in it. `start` and `end`
    are the place of the whole span.
    """

    source: int
    start: int
    end: int
    text: str
    share: float


@dataclass(frozen=True, slots=True)
class _Sentence:
    place: int
    source: int
    start: int
    end: int
    tokens: Sequence[Token]
    ranks: Sequence[int]
    places: Mapping[str, Sequence[int]]  # of each key
    forms: Mapping[str, Collection[str]]  # keys by their stems

    def has(self, token: Token) -> float:
        """Return how well a token is found here, from 0 to 1."""
        if token.key in self.places or (token.other and token.other in self.places):
            return 1.0
        if token.is_number:
            return 0.0
        similar = self.forms.get(stem(token.key), ())
        return _FORM_WEIGHT if any(alike(token.key, key) for key in similar) else 0.0

    def places_of(self, token: Token) -> Sequence[int]:
        """Return the places of a token."""
        if found := self.places.get(token.key) or self.places.get(token.other or token.key):
            return found
        if token.is_number:
            return ()
        similar = self.forms.get(stem(token.key), ())
        return [place for key in similar if alike(token.key, key) for place in self.places[key]]


class SourceSentences:
    """The sentences of the sources of one answer."""

    def __init__(self, texts: Mapping[int, str]) -> None:
        """Split the sources, given by their numbers, into sentences."""
        self._texts = texts
        self._sentences = list(islice(self._split(texts), MAX_SOURCE_SENTENCES))
        self._of_source: dict[int, list[_Sentence]] = defaultdict(list)
        counts: dict[str, int] = defaultdict(int)
        self._lower: set[str] = set()
        self._capital: set[str] = set()
        for sentence in self._sentences:
            self._of_source[sentence.source].append(sentence)
            for key in sentence.places:
                counts[key] += 1
            for token in sentence.tokens:
                if token.is_capital and not token.is_first:
                    self._capital.add(token.key)
                elif not token.is_capital:
                    self._lower.add(token.key)
        self._counts = counts
        self._nouns_are_capital = is_german(self._lower)

    def judge(self, text: str, cited: Collection[int] = ()) -> Judgement:
        """Judge a sentence given without its citations; of equal sources, prefer a `cited` one."""
        claim = _Claim(tokens(text)[:_MAX_TOKENS], self)
        if not claim.total:
            return Judgement(None)
        shares = [claim.share(sentence) for sentence in self._sentences]
        order = sorted(range(len(shares)), key=lambda n: (-shares[n], n))[:_MAX_COMPARED]
        found: list[Support] = []
        candidates: list[Candidate] = []
        for n in order:
            if shares[n] < _MIN_OPEN_SHARE:
                break
            matched = self._evidence(claim, self._sentences[n], shares)
            evidence = (
                matched if len(matched) > 1 else matched + self._antecedents(claim, matched[0])
            )
            if claim.conflicts(evidence):
                continue
            share = claim.share(*evidence)
            start, end = self._span(evidence)
            source = self._sentences[n].source
            if share >= _MIN_SHARES[len(evidence) - 1]:
                found.append(Support(source, round(share, 2), start, end))
            else:
                # Without the antecedent, which only names the subject and would change the vector.
                first, last = self._span(matched)
                text = self._texts[source][first:last]
                candidates.append(Candidate(source, start, end, text, claim.share(*matched)))
        if found:
            return Judgement(best(found, cited))
        return Judgement(None, candidates[:_MAX_CANDIDATES])

    def is_name(self, token: Token) -> bool:
        """Return whether a token is (part of) a name that a source must have, too."""
        if not token.is_capital or len(token.key) == 1 or self._nouns_are_capital:
            return False
        if token.key in self._lower or token.is_function_word:
            return False
        return not token.is_first or token.key in self._capital

    def may_be_name(self, token: Token) -> bool:
        """Return whether a token may be a name: its capital may have other reasons."""
        if not token.is_capital or len(token.key) == 1 or token.is_function_word:
            return False
        return self._nouns_are_capital or token.is_first or token.key in self._lower

    def weight(self, token: Token) -> float:
        """Return the weight of a token, greater for rarer ones."""
        if token.is_function_word:
            return _FUNCTION_WEIGHT
        return math.log1p((len(self._sentences) + 1) / (self._counts.get(token.key, 0) + 1))

    def _evidence(
        self, claim: _Claim, first: _Sentence, shares: Sequence[float]
    ) -> list[_Sentence]:
        """Return a sentence, and the one of its source that best adds what it lacks, if any.

        `shares` are those of the weight that each sentence has by itself.
        """
        share = shares[first.place]
        enough = max(_MIN_SECOND_GAIN, _MIN_SECOND_PART * (1 - share))
        # No sentence adds more than its own share: most need no closer look.
        others = [one for one in self._of_source[first.source] if shares[one.place] >= enough]
        gains = [(claim.share(first, other) - share, -other.place) for other in others]
        gain, place = max(gains, default=(0.0, 0))
        evidence = [first]
        second = self._sentences[-place]
        if gain >= enough and claim.words_in(second, first) >= _MIN_SECOND_WORDS:
            evidence.append(second)
        return evidence

    def _antecedents(self, claim: _Claim, first: _Sentence) -> list[_Sentence]:
        """Return the preceding sentence with the likely antecedent of a pronoun, if any."""
        if not any(token.key in PRONOUNS for token in first.tokens):
            return []
        before = [
            sentence
            for sentence in self._sentences[
                max(0, first.place - _ANTECEDENT_SENTENCES) : first.place
            ]
            if sentence.source == first.source and claim.has_names(first, sentence)
        ]
        share = claim.share(first)
        gains = [(claim.share(first, sentence) - share, sentence.place) for sentence in before]
        gain, place = max(gains, default=(0.0, 0))
        return [self._sentences[place]] if gain > 0 else []

    def _span(self, evidence: Sequence[_Sentence]) -> tuple[int, int]:
        """Return the place of the evidence; of sentences far apart, that of the first."""
        start = min(sentence.start for sentence in evidence)
        end = max(sentence.end for sentence in evidence)
        if end - start > _MAX_SENTENCE_CHARS:
            return evidence[0].start, evidence[0].end
        return start, end

    @staticmethod
    def _split(texts: Mapping[int, str]) -> Iterator[_Sentence]:
        place = 0
        for number, text in texts.items():
            for start, end in _places(text):
                found = tokens(text[start:end])[:_MAX_TOKENS]
                if found:
                    yield _sentence(place, number, start, end, found)
                    place += 1


class _Claim:
    """A sentence of an answer, and where its tokens are in the sentences of the sources."""

    def __init__(self, found: Sequence[Token], sources: SourceSentences) -> None:
        self._tokens = found
        self._sources = sources
        self._keys = Counter(token.key for token in found)
        self._ranks = _ranks(found)
        self._weights = [sources.weight(token) for token in found]
        self.total = sum(self._weights)
        self._names = [token for token in found if sources.is_name(token)]
        self._has: dict[int, list[float]] = {}
        self._places: dict[int, list[Sequence[int]]] = {}

    def share(self, *evidence: _Sentence) -> float:
        """Return the share of the weight that sentences have."""
        parts = zip(*map(self._parts, evidence), strict=True)
        weighed = (weight * max(has) for weight, has in zip(self._weights, parts, strict=True))
        share: float = sum(weighed) / self.total
        return share

    def has_names(self, *evidence: _Sentence) -> bool:
        """Return whether sentences have all names."""
        return all(any(sentence.has(name) for sentence in evidence) for name in self._names)

    def words_in(self, second: _Sentence, first: _Sentence) -> int:
        """Count the words, but not the names, that only the second of two sentences has."""
        found = zip(self._tokens, self._parts(second), self._parts(first), strict=True)
        return sum(
            not (token.is_function_word or token.is_number or self._sources.is_name(token))
            for token, second_has, first_has in found
            if second_has and not first_has
        )

    def conflicts(self, evidence: Sequence[_Sentence]) -> bool:
        """Return whether the evidence contradicts a number, a name or a negation, or lacks it."""
        if self._negates(evidence):
            return True
        has = list(zip(*map(self._parts, evidence), strict=True))
        checked = [
            place
            for place, token in enumerate(self._tokens)
            if token.is_number or self._sources.is_name(token)
        ]
        if not all(any(has[place]) for place in checked):
            return True
        checked += [
            place for place, token in enumerate(self._tokens) if self._sources.may_be_name(token)
        ]
        return any(self._is_other(place, evidence) for place in checked[:_MAX_CHECKED])

    def _is_other(self, place: int, evidence: Sequence[_Sentence]) -> bool:
        """Return whether the evidence has another number or name in this one's context."""
        token = self._tokens[place]
        own = max(
            (
                self._context(place, sentence, there)
                for sentence in evidence
                for there in self._found(sentence)[place]
            ),
            default=0,
        )
        rivals = [
            (sentence, there)
            for sentence in evidence
            for there, other in enumerate(sentence.tokens)
            if other.key != token.key and self._is_rival(token, other, sentence)
        ]
        is_certain = token.is_number or self._sources.is_name(token)
        lead = 1 if is_certain and not self._parts(evidence[0])[place] else _MIN_LEAD
        return any(
            self._context(place, sentence, there, strictly=True) >= own + lead
            for sentence, there in rivals[:_MAX_CHECKED]
        )

    def _is_rival(self, token: Token, other: Token, sentence: _Sentence) -> bool:
        if token.is_number:
            return other.is_number
        if not (self._sources.is_name(other) or self._sources.may_be_name(other)):
            return False
        if not token.is_first or self._sources.is_name(token):
            return True
        # The first word of a sentence may be no name: then the other name is in the sentence too.
        return self._keys[other.key] < len(sentence.places[other.key])

    def _context(
        self, place: int, sentence: _Sentence, there: int, *, strictly: bool = False
    ) -> int:
        """Count the common neighbours of a token and of a token of a source sentence.

        With `strictly`, they must be on the same side of both.
        """
        found, rank, ranks = self._found(sentence), self._ranks[place], sentence.ranks
        common = 0
        for neighbour in self._neighbours(place):
            side = 1 if self._ranks[neighbour] > rank else -1
            common += any(
                0 < abs(distance) <= _CONTEXT_DISTANCE and (not strictly or distance * side > 0)
                for distance in (ranks[at] - ranks[there] for at in found[neighbour])
            )
        return common

    def _neighbours(self, place: int) -> list[int]:
        """Return the places of the content words around a token."""
        rank = self._ranks[place]
        return [
            other
            for other in range(max(0, place - _MAX_CONTEXT_TOKENS), place + _MAX_CONTEXT_TOKENS)
            if other < len(self._tokens)
            and 0 < abs(self._ranks[other] - rank) <= _CONTEXT_WORDS
            and not self._tokens[other].is_function_word
        ]

    def _negates(self, evidence: Sequence[_Sentence]) -> bool:
        """Return whether only the sentence or only the evidence has a negation."""
        denies = any(token.key in NEGATIONS for token in self._tokens)
        denied = any(token.key in NEGATIONS for one in evidence for token in one.tokens)
        if denies or not denied:
            return denies and not denied
        # A shorter sentence may leave out the negated part.
        return len(self._tokens) >= _COMPLETE_SHARE * sum(len(one.tokens) for one in evidence)

    def _parts(self, sentence: _Sentence) -> list[float]:
        """Return how well each token is found in a sentence."""
        if sentence.place not in self._has:
            self._has[sentence.place] = [sentence.has(token) for token in self._tokens]
        return self._has[sentence.place]

    def _found(self, sentence: _Sentence) -> list[Sequence[int]]:
        """Return the places of each token in a sentence, at most `_MAX_PLACES` of each."""
        if sentence.place not in self._places:
            self._places[sentence.place] = [
                sentence.places_of(token)[:_MAX_PLACES] for token in self._tokens
            ]
        return self._places[sentence.place]


def best(found: Sequence[Support], cited: Collection[int]) -> Support:
    """Return the strongest support; of equal ones, a cited one, or else the first."""
    strongest = max(support.strength for support in found)
    ties = [one for one in found if one.strength >= strongest - _TIE]
    return min(ties, key=lambda one: (one.source not in cited, -one.strength, one.source))


def _sentence(place: int, source: int, start: int, end: int, found: Sequence[Token]) -> _Sentence:
    places: dict[str, list[int]] = defaultdict(list)
    forms: dict[str, set[str]] = defaultdict(set)
    for there, token in enumerate(found):
        places[token.key].append(there)
        if token.other:
            places[token.other].append(there)
        if not token.is_number:
            forms[stem(token.key)].add(token.key)
    return _Sentence(place, source, start, end, found, _ranks(found), dict(places), dict(forms))


def _ranks(found: Sequence[Token]) -> list[int]:
    """Count the content words up to each token; a name of several words counts as one."""
    ranks: list[int] = []
    rank = 0
    for token in found:
        rank += not (token.is_function_word or token.joins)
        ranks.append(rank)
    return ranks


def _places(text: str) -> Iterator[tuple[int, int]]:
    """Yield the places of the sentences of a source; long ones are split."""
    begin = 0
    for end in [*(match.start() for match in _BREAK.finditer(text)), len(text)]:
        for start, stop in sentences(text[begin:end]):
            for cut in range(begin + start, begin + stop, _MAX_SENTENCE_CHARS):
                piece = text[cut : min(cut + _MAX_SENTENCE_CHARS, begin + stop)]
                bare = piece.strip()
                if bare:
                    first = cut + piece.index(bare[0])
                    yield first, first + len(bare)
        begin = end
