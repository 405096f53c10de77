"""What to search for: a follow-up made to stand alone, and further phrasings of a question."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

from deployments.errors import ServiceError
from serve_app.answering.prompts import neutral
from serve_app.schemas.answers import Warning_

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from deployments.interfaces import TextGenerator
    from serve_app.settings import AnswerSettings

QUESTION_CHARS = 2000  # More than an embedder reads.
QUERY_CHARS = 500  # Of what the model writes; longer is no question but an essay.
HISTORY_MESSAGES = 6
MESSAGE_CHARS = 400  # What is being talked about is said at the beginning.

_TIME_SHARE = 0.3  # Of the time for the context, for each of the two steps.
_MAX_TOKENS = 256  # What the model may write in each.

_REWRITE = (
    "You rewrite the last question of a conversation so that it can be understood without the "
    'conversation. Replace words like "it", "they" or "there" by what they stand for. Keep '
    "names, figures and the language of the question. A question that needs nothing from the "
    "conversation stays as it is. Do not answer the question. Write the rewritten question "
    "only, on one line."
)
_PHRASE = (
    "You help to search documents. Write {count} other ways to ask the question, one on each "
    "line, in words that a document with the answer might use. Keep the meaning, the names, the "
    "figures and the language. Do not answer the question, and write nothing else."
)

_MARKER = re.compile(r"^(?:[-+*\u2022\u2013]|[*_(]*\d{1,2}[.)][*_]*)\s+")
_LABEL = re.compile(
    r"^[*_]*(?:(?:standalone|rewritten|search) )?(?:question|query|phrasing)(?: ?\d{1,2})?[*_]*:",
    re.IGNORECASE,
)
_AROUND = " *`\"'\u201c\u201d\u201e\u2018\u2019\u00ab\u00bb"


class _Skipped(Exception):
    """A step is left out; `answered` tells whether the model said anything at all."""

    def __init__(self, reason: str, *, answered: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.answered = answered


class Understanding:
    """Turns a question into search queries with the help of the language model.

    Both steps are off by default, and each has its own time limit. The phrasings are of the
    rewritten question, since only what stands alone can be said in other words: so the two run
    one after the other.
    """

    def __init__(self, llm: TextGenerator, settings: AnswerSettings, model: str) -> None:
        self._llm = llm
        self._settings = settings
        self._model = model

    async def queries(
        self, messages: Sequence[Mapping[str, Any]], question: str
    ) -> tuple[list[str], list[Warning_]]:
        """Return different search queries, the one to ask first, and what had to be skipped.

        `messages` are in OpenAI's form with strings for content, `question` is the text of the
        last user's, of which `QUESTION_CHARS` are used. A rewritten question is followed by
        its phrasings and by the question as it was asked, in case the model lost a word that
        matters: at most `phrasings` + 2 in all. A blank question gives none. A step that takes
        too long, fails or yields nothing of use is reported as `rewrite_skipped` or
        `phrasings_skipped`; no ServiceError is raised.
        """
        question = question[:QUESTION_CHARS].strip()
        if not question:
            return [], []
        asked, phrasings, warnings = question, list[str](), list[Warning_]()
        silent: _Skipped | None = None
        history = _history(messages) if self._settings.rewrite_followups else []
        if history:
            try:
                asked = await self._standalone(history, question)
            except _Skipped as skipped:
                warnings.append(_rewrite_skipped(skipped))
                silent = None if skipped.answered else skipped
        if self._settings.phrasings and silent:
            # The answer is not to wait twice for a model that does not come back.
            warnings.append(_phrasings_skipped(silent))
        elif self._settings.phrasings:
            try:
                phrasings = await self._phrasings(asked)
            except _Skipped as skipped:
                warnings.append(_phrasings_skipped(skipped))
        return _distinct([asked, *phrasings, question]), warnings

    async def _standalone(self, history: Sequence[str], question: str) -> str:
        conversation = "\n".join(history)
        lines = await self._lines(
            _REWRITE,
            f"Conversation:\n{conversation}\n\nLast question: {_one_line(question)}\n\n"
            "Rewritten question:",
        )
        # Of several lines none can be told to be the question.
        if len(lines) != 1 or len(lines[0]) > QUERY_CHARS:
            reason = "the language model did not write one question"
            raise _Skipped(reason, answered=True)
        return lines[0]

    async def _phrasings(self, question: str) -> list[str]:
        count = self._settings.phrasings
        lines = await self._lines(
            _PHRASE.format(count=count), f"Question: {_one_line(question)}\n\nOther ways to ask it:"
        )
        short = [line for line in lines if len(line) <= QUERY_CHARS]
        phrasings = _distinct([question, *short])[1 : count + 1]
        if not phrasings:
            reason = "the language model wrote no other"
            raise _Skipped(reason, answered=True)
        return phrasings

    async def _lines(self, instruction: str, text: str) -> list[str]:
        """Ask the model and return what it wrote, line by line, without ornaments."""
        timeout_s = self._settings.context_timeout_s * _TIME_SHARE
        body = {
            "model": self._model,
            "messages": [
                {"role": "system", "content": instruction},
                {"role": "user", "content": text},
            ],
            "temperature": 0,
            "max_tokens": _MAX_TOKENS,
        }
        try:
            async with asyncio.timeout(timeout_s):
                completion = await self._llm.chat(body)
        except TimeoutError:
            reason = f"the language model took longer than {timeout_s:g} s"
            raise _Skipped(reason, answered=False) from None
        except ServiceError as error:
            reason = "the language model did not answer"
            raise _Skipped(reason, answered=False) from error
        return _lines_of(completion)


def _rewrite_skipped(why: _Skipped) -> Warning_:
    message = f"the question was searched for as it was asked: {why.reason}"
    return Warning_(code="rewrite_skipped", message=message)


def _phrasings_skipped(why: _Skipped) -> Warning_:
    message = f"the question was searched for in one phrasing only: {why.reason}"
    return Warning_(code="phrasings_skipped", message=message)


def _history(messages: Sequence[Mapping[str, Any]]) -> list[str]:
    """The last of what was said before the last question, each on one line."""
    asked_at = max((n for n, m in enumerate(messages) if m["role"] == "user"), default=0)
    said = [
        (str(message["role"]).capitalize(), str(message["content"])[:MESSAGE_CHARS])
        for message in messages[:asked_at]
        if message["role"] in {"user", "assistant"} and message.get("content")
    ]
    lines = ((who, _one_line(text)) for who, text in said[-HISTORY_MESSAGES:])
    return [f"{who}: {line}" for who, line in lines if line]


def _one_line(text: str) -> str:
    # Text that cannot begin a line cannot pass for another speaker's either.
    return " ".join(neutral(text).split())


def _lines_of(completion: Mapping[str, Any]) -> list[str]:
    choice = (completion.get("choices") or [{}])[0]
    text = (choice.get("message") or {}).get("content") or ""
    # A model that thinks aloud; the opening tag may be the template's, the closing one missing.
    text = text.rpartition("</think>")[2].partition("<think>")[0]
    lines = neutral(text).splitlines()
    if choice.get("finish_reason") == "length":
        lines = lines[:-1]  # Cut off in the middle.
    cleaned = (_plain(line) for line in lines)
    # "Here are two other ways to ask it:" is about the questions.
    return [line for line in cleaned if any(map(str.isalnum, line)) and line[-1] not in ":\uff1a"]


def _plain(line: str) -> str:
    """The line without its bullet or number, its label and its quotation marks."""
    line = _LABEL.sub("", _MARKER.sub("", line.strip(), count=1), count=1)
    return " ".join(line.strip(_AROUND).split())


def _distinct(texts: Iterable[str]) -> list[str]:
    """Each text once, whatever its capitals; the first of them counts."""
    kept: dict[str, str] = {}
    for text in texts:
        kept.setdefault(text.strip().casefold(), text)
    return list(kept.values())
