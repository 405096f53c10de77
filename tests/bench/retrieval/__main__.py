"""`python -m tests.bench.retrieval`: retrieval of the service beside that of a naive pipeline.

The questions of a data set are asked of its documents alone, then among distractors, of the
naive pipeline in this process and of ours over HTTP. With `--rewriting`, only query rewriting is
measured.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from deployments.model_source import resolve
from serve_app.evaluation.client import connected
from serve_app.evaluation.data_sets import DataError, File, Question, load
from serve_app.evaluation.retrieval import Search, search_scores
from serve_app.evaluation.store import fill, new_store
from serve_app.service_client import CommandError
from tests.bench import command
from tests.bench.report import Section, say
from tests.bench.retrieval import rewriting
from tests.bench.retrieval.naive import THRESHOLD, Naive
from tests.bench.retrieval.report import (
    BASE,
    NAIVE,
    NAIVE_THRESHOLD,
    OURS,
    PASSAGES,
    ROOMY_CHARS,
    TIGHT_CHARS,
    Evaluation,
    Measured,
    Scores,
    section,
)
from tests.bench.systems import running_service
from tests.support.articles import DATA
from tests.support.distractors import distractors, hard_distractors
from tests.support.systems import CPU, Configuration

_OURS = (
    (PASSAGES, 750),
    (PASSAGES, TIGHT_CHARS),
    (PASSAGES, ROOMY_CHARS),
    (5, 2500),
    (10, 5000),
)
_NAIVE = ((PASSAGES, THRESHOLD), (PASSAGES, None), (5, None), (10, None))
_MOST = max(passages for passages, _ in _NAIVE)
_QUICK = {"questions": 24, "distractors": 40}
_WARM_UP = 16
_DATA = "xquad-en-dev"  # that the checks are meant for
_SEED = 7


@dataclass(frozen=True)
class Corpus:
    """Files to upload in addition to those before, and the name of all of them together."""

    name: str
    files: Sequence[File]


def main() -> int:
    """Run the bench; return its exit status."""
    options = command.parser("tests.bench.retrieval", __doc__)
    options.add_argument(
        "--data",
        type=Path,
        default=DATA,
        help="a data set of `genserve eval`",
    )
    options.add_argument("--questions", type=int, help="only so many of them")
    options.add_argument("--distractors", type=int, default=2000, help="passages")
    options.add_argument("--clients", type=int, default=4, help="requests at once")
    options.add_argument(
        "--rewriting", action="store_true", help="only whether rewriting by the model helps"
    )
    comparable, errors = DATA.stem == _DATA, (DataError, CommandError)
    return command.run(
        options, measure, comparable=comparable, incidental=("rewriting",), errors=errors
    )


def measure(options: argparse.Namespace) -> Iterator[Section]:
    """Measure the naive pipeline, then the service."""
    if options.quick:
        vars(options).update(_QUICK)
    data = load(options.data)
    if options.rewriting:
        with running_service() as service:
            count = options.questions or rewriting.QUESTIONS
            yield rewriting.section(service, data, count, options.clients)
        return
    questions = _some(data.questions, options.questions or len(data.questions))
    corpora = [
        Corpus(BASE, data.files),
        Corpus(f"with {options.distractors:,} distractors", distractors(options.distractors)),
        Corpus("and altered sentences", hard_distractors(data.files)),
    ]
    if options.quick:
        del corpora[2]
    naive = measure_naive(Configuration.read(CPU), corpora, questions)
    with running_service() as service:
        ours, missed = asyncio.run(measure_ours(service.url, corpora, questions, options.clients))
    measured = [one for corpus in corpora for one in (*ours, *naive) if one.corpus == corpus.name]
    evaluation = Evaluation(data.name, corpora[1].name, measured, missed)
    yield section(evaluation, options.clients)


def measure_naive(
    configuration: Configuration, corpora: Sequence[Corpus], questions: Sequence[Question]
) -> list[Measured]:
    """Measure the naive pipeline, while it is alone on the machine."""
    model = configuration.document["applications"][0]["args"]["embedder"]["model"]
    pipeline = Naive(resolve(model, configuration.data_dir), threads=1)
    measured = []
    for corpus in corpora:
        pipeline.add(corpus.files)
        ranked = [pipeline.search(question, _MOST) for question in questions]
        for passages, threshold in _NAIVE:
            scores = Scores.of([one.search(passages, threshold) for one in ranked], passages)
            name = NAIVE if threshold is None else NAIVE_THRESHOLD
            measured.append(_shown(Measured(corpus.name, name, passages, None, scores)))
    return measured


async def measure_ours(
    url: str, corpora: Sequence[Corpus], questions: Sequence[Question], clients: int
) -> tuple[list[Measured], list[str]]:
    """Measure the service; also return the questions missed at the tight limit."""
    measured: list[Measured] = []
    missed: list[str] = []
    async with connected(url, "", clients) as client:
        store = await new_store(client, "evaluation")

        async def search(some: Sequence[Question], passages: int, characters: int) -> list[Search]:
            return await client.each(
                lambda question: client.search(store, question, passages, characters), some
            )

        for corpus in corpora:
            await fill(client, store, corpus.files)
            await search(questions[:_WARM_UP], PASSAGES, TIGHT_CHARS)
            for passages, characters in _OURS:
                searches = await search(questions, passages, characters)
                scores = Scores.of(searches, passages)
                measured.append(_shown(Measured(corpus.name, OURS, passages, characters, scores)))
                if corpus is corpora[0] and (passages, characters) == (PASSAGES, TIGHT_CHARS):
                    missed = [
                        one.question.text
                        for one in searches
                        if not search_scores(one, passages)["MRR"]
                    ]
    return measured, missed


def _some(questions: Sequence[Question], count: int) -> Sequence[Question]:
    """Draw questions, the same ones each time; return all of them in their own order."""
    if count >= len(questions):
        return questions
    return random.Random(_SEED).sample(questions, count)  # noqa: S311


def _shown(one: Measured) -> Measured:
    limit = "" if one.characters is None else f", {one.characters} characters"
    hits = ", ".join(f"{name} {one.scores.means[name]:.4f}" for name in ("hit@1", "hit@3"))
    say(f"{one.corpus}: {one.pipeline}, {one.passages} passages{limit}: {hits}")
    return one


if __name__ == "__main__":
    sys.exit(main())
