"""The messages for the model: sources as delimited data before the question, in its window."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deployments.errors import CONTEXT_LENGTH_EXCEEDED, InvalidRequest
from deployments.text.invisible import without_invisible
from serve_app.answering import history
from serve_app.answering.citations import Citations
from serve_app.answering.excerpts import cut_at_top, share
from serve_app.settings.tree import PROMPT_MARGIN_TOKENS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from deployments.interfaces import TextGenerator
    from serve_app.schemas.answers import Source
    from serve_app.settings import AnswerSettings

# What chat templates put around one message is 4 to 6 tokens; the rest is for the seams, where
# two texts may make a token or two more together than apart.
_MESSAGE_TOKENS = 8
_SOURCE_SEAM_TOKENS = 2
_TOOLS_TOKENS = 256  # How templates explain the use of tools: 60 to 200.
_LEAST_ANSWER_TOKENS = 16
_LEAST_SOURCE_TOKENS = 48  # Below this a source says nothing.
_SOURCE_FLOOR_PART = 4  # Sources have a quarter of the room before history has any.
_CUT_ROUNDS = 4
_CUT_MARGIN = 0.95
_TITLE_CHARS = 200
_BEFORE_QUESTION = "\n\nQuestion: "

# What opens or closes our own delimiters and the control tokens of chat templates: bracket and
# bar (ChatML, Llama 3, Phi, DeepSeek, GLM, EXAONE), any name in angles with an underscore or
# colon (Gemma, Qwen, SmolLM), and names in brackets (Llama 2, Mistral, GLM). Every part is
# bounded, so that no text takes longer than its length.
_CONTROL = re.compile(
    r"[<\[][|\uff5c]|[|\uff5c][>\]]"
    r"|<(?=\s{0,9}/?\s{0,9}source)"
    r"|<(?=/?[^\W_]{0,40}[_:=]\w{0,40}>)"
    r"|<(?=/?(?:s|unk|pad|bos|eos|cls|sep|mask|sop|eop|think|tools|escape|image|video|audio|img"
    r"|filename|reponame|unused\d{1,4}|SYS>)>)"
    r"|\[(?=/?(?:INST|TOOL_CALLS|TOOL_RESULTS|TOOL_CONTENT|AVAILABLE_TOOLS|SYSTEM_PROMPT"
    r"|MODEL_SETTINGS|ARGS|CALL_ID|THINK|IMG|IMG_BREAK|IMG_END|AUDIO|BEGIN_AUDIO|TRANSCRIBE"
    r"|PREFIX|MIDDLE|SUFFIX|[gs]?MASK|BOS|EOS|EOT|PAD|UNK|CLS|SEP)\])",
    re.IGNORECASE,
)
# It is in no control token, so what it replaces cannot be made again by what stood around it.
_INSTEAD_OF_CONTROL = "\u00b7"


@dataclass(frozen=True, slots=True)
class Prompt:
    """Messages ready for the engine, the sources in them, and the room left for the answer.

    `shortened` says that sources were cut or left out, `forgotten` how many messages of the
    history were left out.
    """

    messages: list[dict[str, Any]]
    sources: list[Source]
    answer_tokens: int
    shortened: bool
    forgotten: int = 0


async def build(  # noqa: PLR0913 - all of them bound the prompt
    messages: Sequence[Mapping[str, Any]],
    candidates: Sequence[Source],
    *,
    extra: str,
    wanted_answer_tokens: int | None,
    fill_window: bool = False,
    llm: TextGenerator,
    window: int,
    settings: AnswerSettings,
) -> Prompt:
    """Fit question, answer, history and sources into the window of the model.

    First comes the question: opening instructions, the last user message and what follows it.
    Then, in what it leaves, a floor for the sources: what they want, up to a quarter. Then the
    answer, by default or as long as wanted, up to half of the room if that is more: many clients
    ask for all they could ever want. Then the latest turns of the history, whole. The sources
    have the rest, up to `max_source_tokens`, and what they leave is the answer's again: up to its
    wish, or with `fill_window` and without a wish all of it.

    `candidates` come best first, `extra` is further text the template will add, such as tool
    definitions. Counts are sums over parts of the prompt, with some tokens for each seam, and
    so err on the high side. Raises InvalidRequest if the question alone leaves no room for an
    answer.
    """
    messages = [_uncited(message) for message in messages]
    system = settings.system_prompt if candidates else ""
    counts = await llm.count_tokens(
        [
            *(_counted(message) for message in messages),
            extra,
            system + _BEFORE_QUESTION,
            *(render(source) for source in candidates),
        ]
    )
    count, (extra_tokens, system_tokens) = len(messages), counts[len(messages) : len(messages) + 2]
    tokens = [n + _MESSAGE_TOKENS for n in counts[:count]]
    source_tokens = [n + _SOURCE_SEAM_TOKENS for n in counts[count + 2 :]]
    system_tokens += _MESSAGE_TOKENS

    starts = history.starts(messages)
    opening, question = starts[0], starts[-1]
    asked = sum(tokens[:opening]) + sum(tokens[question:]) + PROMPT_MARGIN_TOKENS
    asked += _MESSAGE_TOKENS + (extra_tokens + _TOOLS_TOKENS if extra else 0)
    room = window - asked
    if room < _LEAST_ANSWER_TOKENS:
        raise _too_long(asked, window)
    wish = min(sum(source_tokens), settings.max_source_tokens) + system_tokens
    floor = min(wish, room // _SOURCE_FLOOR_PART) if candidates else 0
    wanted = wanted_answer_tokens or settings.max_answer_tokens
    answer = min(
        wanted,
        max(settings.max_answer_tokens, room // 2),
        max(room - floor, _LEAST_ANSWER_TOKENS),
    )
    room -= answer
    first = history.first_kept(starts, tokens, room - floor)
    room -= sum(tokens[first:question]) + system_tokens
    budget = max(min(settings.max_source_tokens, room), 0)
    sources, shortened = await _fitted(candidates, source_tokens, budget, llm)
    if fill_window and wanted_answer_tokens is None:
        wanted = window
    answer = min(wanted, answer + max(room - min(sum(source_tokens), budget), 0))
    kept = [*messages[:opening], *messages[first:]]
    return Prompt(_with_sources(kept, sources, system), sources, answer, shortened, first - opening)


def _uncited(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """Take the citations out of an earlier answer: its sources had other numbers."""
    if message["role"] != "assistant" or not message["content"]:
        return message
    citations = Citations(known=0)
    return {**message, "content": citations.feed(message["content"]) + citations.close()}


def _counted(message: Mapping[str, Any]) -> str:
    """Everything of a message that a template may write out."""
    rest = {name: value for name, value in message.items() if name not in {"role", "content"}}
    return f"{message['content']}{json.dumps(rest) if rest else ''}"


def _too_long(asked: int, window: int) -> InvalidRequest:
    msg = (
        f"This model's maximum context length is {window} tokens: the question alone takes about "
        f"{asked}, and an answer needs at least {_LEAST_ANSWER_TOKENS}; "
        "shorten it, or the system message or tools that come with it"
    )
    return InvalidRequest(msg, code=CONTEXT_LENGTH_EXCEEDED, param="messages")


async def _fitted(
    candidates: Sequence[Source], tokens: Sequence[int], budget: int, llm: TextGenerator
) -> tuple[list[Source], bool]:
    """Choose and cut the sources to a budget; number them; say whether any had to give way.

    Each page, which the person named, and all passages of documents together have equal
    parts, as far as they want them. Passages are short and ranked: those go in that fit, whole
    and best first, and only the first is cut if need be. What they leave of their part is the
    pages', which are cut.
    """
    pages = [n for n, source in enumerate(candidates) if source.kind == "page"]
    passages = [n for n, source in enumerate(candidates) if source.kind != "page"]
    wants = [sum(tokens[n] for n in passages), *(tokens[n] for n in pages)]
    # Named first, the passages have their part however many pages there are.
    left = granted = share(wants, budget, _LEAST_SOURCE_TOKENS)[0]
    limits = [0] * len(candidates)
    for n in passages:
        if tokens[n] <= left or n == passages[0]:
            limits[n] = min(tokens[n], left)
            left -= limits[n]
    for_pages = budget - (granted - left)
    for n, limit in zip(pages, share(wants[1:], for_pages, _LEAST_SOURCE_TOKENS), strict=True):
        limits[n] = limit
    kept = [n for n, limit in enumerate(limits) if limit > 0]
    sources = await _cut(
        [candidates[n] for n in kept], [tokens[n] for n in kept], [limits[n] for n in kept], llm
    )
    return _numbered(sources), limits != list(tokens)


async def _cut(
    sources: list[Source], tokens: list[int], limits: Sequence[int], llm: TextGenerator
) -> list[Source]:
    """Cut texts to their limits, counting again, since density differs within a text."""
    for _ in range(_CUT_ROUNDS):
        if all(count <= limit for count, limit in zip(tokens, limits, strict=True)):
            break
        sources = [
            source if count <= limit else _shorter(source, _CUT_MARGIN * limit / count)
            for source, count, limit in zip(sources, tokens, limits, strict=True)
        ]
        counts = await llm.count_tokens([render(source) for source in sources])
        tokens = [count + _SOURCE_SEAM_TOKENS for count in counts]
    return [
        source
        for source, count, limit in zip(sources, tokens, limits, strict=True)
        if count <= limit and source.text
    ]


def _shorter(source: Source, part: float) -> Source:
    text = cut_at_top(source.text, int(len(source.text) * part))
    return source.model_copy(update={"text": text})


def _numbered(sources: Sequence[Source]) -> list[Source]:
    return [source.model_copy(update={"id": n}) for n, source in enumerate(sources, 1)]


def _with_sources(
    messages: Sequence[Mapping[str, Any]], sources: Sequence[Source], system: str
) -> list[dict[str, Any]]:
    result = [dict(message) for message in messages]
    if not sources:
        return result
    question = next(m for m in reversed(result) if m["role"] == "user")
    data = "\n".join(render(source) for source in sources)
    question["content"] = f"{data}{_BEFORE_QUESTION}{question['content']}"
    if result[0]["role"] in {"system", "developer"}:
        result[0]["content"] = f"{result[0]['content']}\n\n{system}"
    else:
        result.insert(0, {"role": "system", "content": system})
    return result


def render(source: Source) -> str:
    """One source as the model reads it."""
    title = " ".join(neutral(source.name[:_TITLE_CHARS]).replace('"', "'").split())
    return f'<source id="{source.id}" title="{title}">\n{neutral(source.text)}\n</source>'


def neutral(text: str) -> str:
    """Text from outside that can neither end its block nor speak the chat template's language."""
    return _CONTROL.sub(_INSTEAD_OF_CONTROL, without_invisible(text))
