"""Measure whether rewriting queries by the model improves retrieval.

Questions of a data set are searched for as they are, and with further phrasings by the service's
own model; and as follow-ups, with the name of their topic replaced by "it": as asked, and rewritten
by the model to stand alone.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from deployments.interfaces import TextGenerator
from serve_app.answering.query_rewriting import Understanding
from serve_app.evaluation.client import Client, connected
from serve_app.evaluation.data_sets import DataSet, Question
from serve_app.evaluation.retrieval import Search
from serve_app.evaluation.store import fill, new_store
from serve_app.settings import AnswerSettings
from tests.bench.report import Section, percentile, table
from tests.bench.retrieval.report import PASSAGES, TIGHT_CHARS, Scores
from tests.bench.systems import Service
from tests.support.articles import text_of

QUESTIONS = 100
_PHRASINGS = 3
_TIMEOUT_S = 200.0  # as the time is measured, none may be cut off
_SEED = 5

Conversation = list[Mapping[str, Any]]


@dataclass(frozen=True)
class FollowUp:
    """A question about the topic of the turn before; `whole` is what it means."""

    whole: Question
    conversation: Conversation

    @property
    def asked(self) -> str:
        """The last message."""
        return str(self.conversation[-1]["content"])


class _Model:
    """The model of the service, as far as rewriting needs it."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def chat(self, body: Mapping[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = await self._client.json("POST", "/v1/chat/completions", body)
        return answer


def section(service: Service, data: DataSet, questions: int, clients: int) -> Section:
    """Upload the documents, search for every question in every way, and report."""
    rows = asyncio.run(_rows(service, data, questions, clients))
    headings = (
        *("searched for", "questions", "hit@1", "hit@3"),
        *("model of no help", "its time at the median, s"),
    )
    body = f"""\
## What the model's help in searching is worth

`make bench-query-rewriting`: `{service.model}`, by the service's own `answer.phrasings` and
`answer.rewrite_followups`, {PASSAGES} passages of {TIGHT_CHARS} characters. A follow-up is a
question in which the title of its article is replaced by "it", after a turn about that article.

{table(headings, rows)}"""
    return Section("query-rewriting", body)


def follow_ups(data: DataSet) -> list[FollowUp]:
    """Make a follow-up of each question that names the title of its document."""
    texts = {file.name: text_of(file).strip() for file in data.files}
    found = []
    for question in data.questions:
        title = (question.document or "").rpartition(".")[0]
        name = rf"\b(?:the )?{re.escape(title)}(?:s?'s?|s)?\b"
        asked, count = re.subn(name, "it", question.text, flags=re.IGNORECASE)
        if title and count:
            beginning = re.split(r"(?<=[.!?])\s", texts[question.document or ""], maxsplit=1)[0]
            conversation: Conversation = [
                {"role": "user", "content": f"What is {title}?"},
                {"role": "assistant", "content": beginning},
                {"role": "user", "content": asked},
            ]
            found.append(FollowUp(question, conversation))
    return found


async def _rows(
    service: Service, data: DataSet, count: int, clients: int
) -> list[tuple[object, ...]]:
    async with connected(service.url, "", clients) as client:
        store = await new_store(client, "evaluation")
        await fill(client, store, data.files)

        async def search(
            what: str,
            questions: Sequence[Question],
            queries: Sequence[Sequence[str]],
            model: tuple[str, str] = ("-", "-"),
        ) -> tuple[object, ...]:
            async def one(both: tuple[Question, Sequence[str]]) -> Search:
                return await client.search(store, both[0], PASSAGES, TIGHT_CHARS, both[1])

            both = list(zip(questions, queries, strict=True))
            means = Scores.of(await client.each(one, both), PASSAGES).means
            return (what, len(queries), f"{means['hit@1']:.3f}", f"{means['hit@3']:.3f}", *model)

        async def with_model(
            what: str,
            questions: Sequence[Question],
            conversations: Sequence[Conversation],
            **settings: Any,
        ) -> tuple[object, ...]:
            answer = AnswerSettings(context_timeout_s=_TIMEOUT_S, **settings)
            model = cast("TextGenerator", _Model(client))
            rewriting = Understanding(model, answer, service.model)

            async def one(conversation: Conversation) -> tuple[list[str], bool, float]:
                began = time.perf_counter()
                asked = str(conversation[-1]["content"])
                queries, warnings = await rewriting.queries(conversation, asked)
                return queries, bool(warnings), time.perf_counter() - began

            rewritten = await client.each(one, conversations)
            skipped = sum(warned for _, warned, _ in rewritten) / len(rewritten)
            p50_s = percentile([seconds for *_, seconds in rewritten], 50)
            queries = [queries for queries, _, _ in rewritten]
            return await search(what, questions, queries, (f"{skipped:.0%}", f"{p50_s:.1f}"))

        draw = random.Random(_SEED)  # noqa: S311
        some = draw.sample(data.questions, min(count, len(data.questions)))
        alone: list[Conversation] = [[{"role": "user", "content": one.text}] for one in some]
        later = follow_ups(data)[:count]
        whole = [one.whole for one in later]
        phrased = f"questions, and {_PHRASINGS} phrasings by the model"
        rewritten = "follow-ups, rewritten by the model"
        conversations = [one.conversation for one in later]
        return [
            await search("questions, as asked", some, [[one.text] for one in some]),
            await with_model(phrased, some, alone, phrasings=_PHRASINGS),
            await search("follow-ups, as asked", whole, [[one.asked] for one in later]),
            await with_model(rewritten, whole, conversations, rewrite_followups=True),
            await search("follow-ups, as they were meant", whole, [[q.text] for q in whole]),
        ]
