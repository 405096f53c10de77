"""Split a streaming answer into sentences, and select those that state facts."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from deployments.text.sentences import sentences
from serve_app.answering.attribution.words import tokens

MAX_SENTENCE_CHARS: Final = 2000
"""Longer text without the end of a sentence is split here."""
_MIN_WORDS: Final = 3
_MIN_WORDS_WITH_NUMBER: Final = 2

_LEADING: Final = re.compile(r"\s*(?:(?:[-*+\u2022>|]|\d{1,3}[.)])\s+)*")
_FENCE: Final = re.compile(r"\s{0,3}(?:```|~~~)")
_HEADING: Final = re.compile(r"\s{0,3}#{1,6}(?:\s|$)|\s*(\*\*|__)[^*_]{1,120}\1:?\s*$")
_MARKERS: Final = re.compile(r"\s*(?:[\[\u3010][^\[\]\u3010\u3011\n]{0,40}[\]\u3011]\s*)+")
_UNFINISHED_MARKER: Final = re.compile(
    r"\s*(?:[\[\u3010][^\[\]\u3010\u3011\n]{0,40}[\]\u3011]\s*)*(?:[\[\u3010][^\]\u3011\n]{0,40})?"
)
_QUESTION: Final = re.compile(r"[?\u061f\uff1f\u037e][\s\"'\u201d\u2019)\]*_]*\Z")
_INTRODUCTION: Final = re.compile(r"[:\uff1a][\s*_]*\Z")
_GREETING: Final = re.compile(
    r"\W*(?:(?:hello|hi|hey|yes|no|sure|certainly|of course|absolutely|thank(?:s| you)|sorry|okay)"
    r"(?: there)?\b(?:[\s,.!\u2014-]+|\Z))+",
    re.IGNORECASE,
)
_SOURCE_NOUN: Final = (
    r"(?:source|document|passage|context|text|article|report|page)s?(?:\s\d{1,3})?"
)
_SOURCE_MENTION: Final = re.compile(
    rf"\W*(?:(?:according to|based on|as (?:\w+ )?(?:in|by)|in)\s(?:the |this |these )?"
    rf"(?:(?:given|provided|numbered|above) )?{_SOURCE_NOUN}(?: provided| above)?\s*,\s*"
    rf"|(?:the |this )?{_SOURCE_NOUN}\s"
    rf"(?:says?|states?|mentions?|reports?|explains?|notes?)\sthat\s)",
    re.IGNORECASE,
)
_SOURCE_NUMBERS: Final = re.compile(
    r"\b(?:source|document|passage)s?\s\d{1,3}(?:(?:,|,? and)\s\d{1,3})*\b", re.IGNORECASE
)
# Sentences about the assistant itself, to the user, or about a missing answer.
_SMALL_TALK: Final = re.compile(
    r"\W*(?:(?:please|feel free|let me|you(?:'|\u2019)re welcome|you are welcome|i hope|as an ai"
    r"|if you (?:have|need|want|would|like|could))\b"
    r"|i(?: a|'|\u2019)m (?:sorry|unable|not (?:sure|able|aware)|afraid|an ai|happy|glad|here to)\b"
    r"|i (?:(?:do|could|can) ?not|(?:don|couldn|can)(?:'|\u2019)t|apologi[sz]e"
    r"|(?:can|will|would) (?:help|try|answer|explain|provide|be happy|be glad|need|gladly))\b"
    r"|(?:the|these|this|none of the)\s(?:(?:given|provided|numbered|above)\s)?"
    r"(?:source|document|passage|context|text)s?\s(?:do|does|did|is|are)(?:\snot|n(?:'|\u2019)t)\b)",
    re.IGNORECASE,
)


class AnswerSentence(NamedTuple):
    """A sentence and its place in the text of a choice, in characters."""

    choice: int
    start: int
    end: int
    text: str


class AnswerSentences:
    """Split the text of one choice into sentences while it streams.

    A line of Markdown is a paragraph, a list item or a table row: sentences end with it. The result
    does not depend on how the text is split into events.
    """

    def __init__(self, choice: int = 0) -> None:
        self._choice = choice
        self._at = 0  # where the pending text begins
        self._pending = ""  # of the line that is being written
        self._is_line_start = True
        self._fence = False

    def feed(self, text: str) -> list[AnswerSentence]:
        """Take more text; return the sentences that are complete now, in order."""
        found: list[AnswerSentence] = []
        *lines, last = text.split("\n")
        for line in lines:
            self._pending += line
            found += self._line()
            self._at += len(self._pending) + 1
            self._pending, self._is_line_start = "", True
        self._pending += last
        if last.strip():
            found += self._begun_line()
        return found

    def close(self) -> list[AnswerSentence]:
        """Return the last sentence, at the end of the text."""
        found = self._line()
        self._pending = ""
        return found

    def _line(self) -> list[AnswerSentence]:
        """Return the sentences of a complete line."""
        line = self._pending
        if self._is_line_start and _FENCE.match(line):
            self._fence = not self._fence
            return []
        if self._fence or (self._is_line_start and _HEADING.match(line)):
            return []
        return self._sentences(_spans(line))

    def _begun_line(self) -> list[AnswerSentence]:
        """Return the complete sentences of an incomplete line."""
        line = self._pending
        if self._fence or (self._is_line_start and line.lstrip()[:1] in {"`", "~", "#", "|"}):
            return []
        if len(line) > MAX_SENTENCE_CHARS:
            ended, cut = [(0, MAX_SENTENCE_CHARS)], MAX_SENTENCE_CHARS
        else:
            spans = _spans(line)
            # What comes next may be the citation of the sentence before it.
            if len(spans) > 1 and _UNFINISHED_MARKER.fullmatch(line, spans[-2][1]):
                return []
            ended, cut = spans[:-1], spans[-1][0]
        found = self._sentences(ended)
        if ended:
            self._at += cut
            self._pending, self._is_line_start = line[cut:], False
        return found

    def _sentences(self, spans: list[tuple[int, int]]) -> list[AnswerSentence]:
        found = []
        for begin, end in spans:
            start = begin
            if begin == 0 and self._is_line_start:
                leading = _LEADING.match(self._pending)
                start = leading.end() if leading else 0
            text = self._pending[start:end].rstrip()
            start += len(text) - len(text.lstrip())
            if is_claim(text):
                place = self._at + start
                text = text.lstrip()
                found.append(AnswerSentence(self._choice, place, place + len(text), text))
        return found


def without_source_mentions(text: str) -> str:
    """Remove phrases about the sources themselves, such as "According to source 2"."""
    if mention := _SOURCE_MENTION.match(text):
        text = text[mention.end() :]
    return _SOURCE_NUMBERS.sub(" ", text)


def is_claim(text: str) -> bool:
    """Return whether a sentence states a fact: not a question, a greeting or very short."""
    if greeting := _GREETING.match(text):
        text = text[greeting.end() :]
    if _QUESTION.search(text) or _INTRODUCTION.search(text) or _SMALL_TALK.match(text):
        return False
    words = tokens(text)
    has_number = any(word.is_number for word in words)
    return len(words) >= (_MIN_WORDS_WITH_NUMBER if has_number else _MIN_WORDS)


def _spans(line: str) -> list[tuple[int, int]]:
    """Return the places of the sentences of a line; citations belong to the sentence before."""
    spans: list[tuple[int, int]] = []
    for start, end in sentences(line):
        markers = _MARKERS.match(line, start, end) if spans else None
        begin = markers.end() if markers else start
        if markers:
            spans[-1] = (spans[-1][0], start + len(line[start:begin].rstrip()))
        if begin < end or not spans:
            spans.append((begin, end))
    return spans
