"""The messages for the model: sources as delimited data before the question, in its window."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deployments.errors import InvalidRequest
from deployments.invisible import without_invisible

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from deployments.interfaces import TextGenerator
    from serve_app.schemas import Source
    from serve_app.settings import AnswerSettings

_MESSAGE_TOKENS = 8  # What a chat template puts around one message, at most.
_LEAST_ANSWER_TOKENS = 16
_LEAST_SOURCE_TOKENS = 48  # Below this a source says nothing.
_CUT_ROUNDS = 4
_CUT_MARGIN = 0.95

# Control tokens of the usual chat templates, and our own delimiters.
_CONTROL = re.compile(
    r"<[|\uff5c]+|[|\uff5c]+>|</?\s*source\b|<</?SYS>>"
    r"|</?(?:s|unk|pad|bos|eos|mask|think|tool_call|tool_response|tools|start_of_turn|end_of_turn)>"
    r"|\[/?(?:INST|TOOL_CALLS|TOOL_RESULTS|AVAILABLE_TOOLS|SYSTEM_PROMPT|IMG)\]",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Prompt:
    """Messages ready for the engine, the sources in them, and the room left for the answer."""

    messages: list[dict[str, Any]]
    sources: list[Source]
    answer_tokens: int
    shortened: bool


async def build(  # noqa: PLR0913 - all of them bound the prompt
    messages: Sequence[Mapping[str, Any]],
    candidates: Sequence[Source],
    *,
    extra: str,
    wanted_answer_tokens: int | None,
    llm: TextGenerator,
    window: int,
    settings: AnswerSettings,
) -> Prompt:
    """Fit question, history, answer and as much of the sources as is left into the window.

    `extra` is further text the template will add, such as tool definitions. Raises
    InvalidRequest if the messages alone leave no room for an answer.
    """
    rendered = [render(source) for source in candidates]
    system = settings.system_prompt if candidates else ""
    texts = [json.dumps(message) for message in messages]
    counts = await llm.count_tokens([*texts, extra, system, *rendered])
    count_of_message, (extra_tokens, system_tokens), source_tokens = (
        counts[: len(texts)],
        counts[len(texts) : len(texts) + 2],
        counts[len(texts) + 2 :],
    )
    asked = sum(count_of_message) + _MESSAGE_TOKENS * (len(texts) + 1) + extra_tokens
    asked += settings.prompt_margin_tokens
    answer = _answer_tokens(asked, wanted_answer_tokens, window, settings)
    budget = min(settings.max_source_tokens, window - asked - answer - system_tokens)
    shares = share(source_tokens, budget)
    kept = [(s, n) for s, n in zip(candidates, shares, strict=True) if n > 0]
    sources = [source for source, _ in kept]
    if shares != source_tokens:
        sources = await _fitted(sources, [n for _, n in kept], llm)
    sources = [source.model_copy(update={"id": n}) for n, source in enumerate(sources, 1)]
    shortened = len(sources) < len(candidates) or shares != source_tokens
    return Prompt(_with_sources(messages, sources, system), sources, answer, shortened)


def _answer_tokens(asked: int, wanted: int | None, window: int, settings: AnswerSettings) -> int:
    room = window - asked
    least = wanted if wanted is not None else _LEAST_ANSWER_TOKENS
    if room < least:
        msg = (
            f"the messages take about {asked} tokens and leave {max(room, 0)} of the model's "
            f"{window} for an answer, but {least} are needed: shorten them"
            + (" or ask for fewer tokens" if wanted is not None else "")
        )
        raise InvalidRequest(msg, code="context_length_exceeded", param="messages")
    return min(wanted if wanted is not None else settings.max_answer_tokens, room)


def share(wants: Sequence[int], budget: int) -> list[int]:
    """Divide a budget: the small get all they want, the large equal parts of the rest.

    When even equal parts would be too small to say anything, the last get nothing.
    """
    taking = len(wants)
    while taking and budget // taking < _LEAST_SOURCE_TOKENS and sum(wants[:taking]) > budget:
        taking -= 1
    granted = [0] * len(wants)
    left = budget
    for place, index in enumerate(sorted(range(taking), key=lambda i: wants[i])):
        granted[index] = min(wants[index], left // (taking - place))
        left -= granted[index]
    return granted


async def _fitted(sources: list[Source], shares: Sequence[int], llm: TextGenerator) -> list[Source]:
    """Cut texts to their shares, counting again, since density differs within a text."""
    for _ in range(_CUT_ROUNDS):
        counts = await llm.count_tokens([render(source) for source in sources])
        if all(count <= share_ for count, share_ in zip(counts, shares, strict=True)):
            return sources
        sources = [
            source if count <= share_ else _cut(source, _CUT_MARGIN * share_ / count)
            for source, count, share_ in zip(sources, counts, shares, strict=True)
        ]
    counts = await llm.count_tokens([render(source) for source in sources])
    return [s for s, count, n in zip(sources, counts, shares, strict=True) if count <= n]


def _cut(source: Source, part: float) -> Source:
    text = source.text[: int(len(source.text) * part)]
    end = max(text.rfind(". "), text.rfind("\n"))
    # Back to a sentence's end, unless that would throw away much of what fits.
    text = text[: end + 1] if end > len(text) // 2 else text.rsplit(" ", 1)[0]
    return source.model_copy(update={"text": text.rstrip()})


def _with_sources(
    messages: Sequence[Mapping[str, Any]], sources: Sequence[Source], system: str
) -> list[dict[str, Any]]:
    result = [dict(message) for message in messages]
    if not sources:
        return result
    question = next(m for m in reversed(result) if m["role"] == "user")
    data = "\n".join(render(source) for source in sources)
    question["content"] = f"{data}\n\nQuestion: {question['content']}"
    if result[0]["role"] in {"system", "developer"}:
        result[0]["content"] = f"{result[0]['content']}\n\n{system}"
    else:
        result.insert(0, {"role": "system", "content": system})
    return result


def render(source: Source) -> str:
    """One source as the model reads it."""
    title = neutral(source.title).replace('"', "'").replace("\n", " ")
    return f'<source id="{source.id}" title="{title}">\n{neutral(source.text)}\n</source>'


def neutral(text: str) -> str:
    """Text from outside that can neither end its block nor speak the chat template's language."""
    text = without_invisible(text)
    # Taking one token out may join the halves of another.
    while (cleaned := _CONTROL.sub(" ", text)) != text:
        text = cleaned
    return text
