"""`python -m tests.bench.understanding`: whether the model's help in searching pays.

Questions of a data set are searched for as they are and in further phrasings by the service's own
model; and, with the name of what they are about replaced by "it", as follow-ups: as asked, and
rewritten by the model to stand alone.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import aiohttp

from deployments.interfaces import TextGenerator
from serve_app.answering.query_rewriting import Understanding
from serve_app.settings import AnswerSettings
from tests.bench import machine
from tests.bench.figures import percentile
from tests.bench.report import HEADING, with_section
from tests.bench.retrieval.data import DataError, DataSet, load
from tests.bench.retrieval.metrics import Question, Scores
from tests.bench.retrieval.report import PASSAGES, TIGHT_CHARS
from tests.bench.retrieval.service import RequestError, Service
from tests.bench.systems import Configuration, ours
from tests.support.articles import DATA
from tests.support.processes import ROOT, StartError, started

HERE = Path(__file__).parent
_QUESTIONS, _CLIENTS, _PHRASINGS = 100, 4, 3
_TIMEOUT_S = 200.0  # The time is measured, so none may be cut off.
_SEED = 5

Conversation = list[Mapping[str, Any]]


@dataclass(frozen=True)
class FollowUp:
    """A question about what was spoken of before; `whole` is what it means."""

    whole: Question
    conversation: Conversation

    @property
    def asked(self) -> str:
        """What is said last."""
        return str(self.conversation[-1]["content"])


@dataclass(frozen=True)
class Row:
    """One way to search; `skipped` is the share in which the model was of no help."""

    what: str
    scores: Scores
    skipped: float | None = None
    p50_s: float | None = None


def follow_ups(data: DataSet) -> list[FollowUp]:
    """Make a follow-up of each question that names the title of its document."""
    beginnings = {file.name: _first_sentence(file.text()) for file in data.files}
    found = []
    for question in data.questions:
        title = question.document.rpartition(".")[0]
        asked, count = re.subn(
            rf"\b(?:the )?{re.escape(title)}(?:s?'s?|s)?\b",
            "it",
            question.text,
            flags=re.IGNORECASE,
        )
        if count:
            conversation: Conversation = [
                {"role": "user", "content": f"What is {title}?"},
                {"role": "assistant", "content": beginnings[question.document]},
                {"role": "user", "content": asked},
            ]
            found.append(FollowUp(question, conversation))
    return found


def main() -> int:
    """Measure and write the section."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.understanding", description=__doc__
    )
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--questions", type=int, default=_QUESTIONS)
    parser.add_argument("--clients", type=int, default=_CLIENTS)
    options = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        data = load(options.data)
        configuration = Configuration.read(ROOT / "configs" / "cpu.yaml")
        with tempfile.TemporaryDirectory(prefix="genserve-understanding-") as folder:
            system = ours(configuration, Path(folder))
            url = system.command.ready_url.removesuffix("/readyz")
            with started(system.command, Path(folder) / "log"):
                rows = asyncio.run(measured(url, data, options, configuration.llm["served_name"]))
    except KeyboardInterrupt:
        return 130
    except (
        DataError,
        RequestError,
        StartError,
        TimeoutError,
        aiohttp.ClientError,
        subprocess.CalledProcessError,
    ) as error:
        sys.stdout.write(f"error: {error}\n")
        return 1
    text = section(rows, configuration.llm["served_name"])
    if vars(options) == vars(parser.parse_args([])) and options.data.stem == "xquad-en-dev":
        results = HERE / "RESULTS.md"
        before = results.read_text(encoding="utf-8") if results.exists() else HEADING
        results.write_text(with_section(before, "understanding", text), encoding="utf-8")
    sys.stdout.write(text + "\n")
    return 0


async def measured(url: str, data: DataSet, options: argparse.Namespace, model: str) -> list[Row]:
    """Upload the documents and search for every question in every way."""
    async with Service.session(url) as http:
        service = Service(http, options.clients)
        await service.upload(data.files)
        bench = _Bench(service, model)
        draw = random.Random(_SEED)  # noqa: S311 - reproducible on purpose
        some = draw.sample(data.questions, min(options.questions, len(data.questions)))
        alone: list[Conversation] = [[{"role": "user", "content": one.text}] for one in some]
        later = follow_ups(data)[: options.questions]
        whole = [one.whole for one in later]
        return [
            await bench.as_asked("questions, as asked", some, [one.text for one in some]),
            await bench.helped(
                f"questions, and {_PHRASINGS} phrasings by the model",
                some,
                alone,
                AnswerSettings(phrasings=_PHRASINGS, context_timeout_s=_TIMEOUT_S),
            ),
            await bench.as_asked("follow-ups, as asked", whole, [one.asked for one in later]),
            await bench.helped(
                "follow-ups, rewritten by the model",
                whole,
                [one.conversation for one in later],
                AnswerSettings(rewrite_followups=True, context_timeout_s=_TIMEOUT_S),
            ),
            await bench.as_asked("follow-ups, as they were meant", whole, [q.text for q in whole]),
        ]


class _Bench:
    """Searches with and without the help of a model."""

    def __init__(self, service: Service, model: str) -> None:
        self._service = service
        self._model = model

    async def as_asked(self, what: str, questions: Sequence[Question], texts: Sequence[str]) -> Row:
        return Row(what, await self._scores(questions, [[text] for text in texts]))

    async def helped(
        self,
        what: str,
        questions: Sequence[Question],
        conversations: Sequence[Conversation],
        settings: AnswerSettings,
    ) -> Row:
        understanding = Understanding(cast("TextGenerator", self._service), settings, self._model)

        async def one(conversation: Conversation) -> tuple[list[str], bool, float]:
            began = time.perf_counter()
            asked = str(conversation[-1]["content"])
            queries, warnings = await understanding.queries(conversation, asked)
            return queries, bool(warnings), time.perf_counter() - began

        told = await self._service.each(one, conversations)
        return Row(
            what,
            await self._scores(questions, [queries for queries, _, _ in told]),
            sum(skipped for _, skipped, _ in told) / len(told),
            percentile([seconds for *_, seconds in told], 50),
        )

    async def _scores(
        self, questions: Sequence[Question], queries: Sequence[Sequence[str]]
    ) -> Scores:
        found = await self._service.search(questions, PASSAGES, TIGHT_CHARS, queries)
        return Scores.of(found, PASSAGES)


def section(rows: Sequence[Row], model: str) -> str:
    """Write everything down, as Markdown."""
    about = ", ".join(f"{name} {value}" for name, value in machine.description().items())
    lines = "\n".join(
        f"| {row.what} | {row.scores.questions} | {row.scores.hit_1:.3f} | {row.scores.hit_3:.3f} "
        f"| {_or_dash(row.skipped, '.0%')} | {_or_dash(row.p50_s, '.1f')} |"
        for row in rows
    )
    return f"""\
## What the model's help in searching is worth

`make bench-understanding`: `{model}`, by the service's own `answer.phrasings` and
`answer.rewrite_followups`, {PASSAGES} passages of {TIGHT_CHARS} characters. A follow-up is a
question in which the title of its article is replaced by "it", after a turn about that article.

| searched for | questions | hit@1 | hit@3 | model of no help | its time at the median, s |
|---|---|---|---|---|---|
{lines}

Machine: {about}."""


def _or_dash(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _first_sentence(text: str) -> str:
    return re.split(r"(?<=[.!?])\s", text.strip(), maxsplit=1)[0]


if __name__ == "__main__":
    sys.exit(main())
