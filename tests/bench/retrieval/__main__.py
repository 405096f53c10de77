"""`python -m tests.bench.retrieval`: how good retrieval and answers are, through the service.

The questions of a data set are asked of its documents alone, then among distractors, of the
naive pipeline in this process and of ours over HTTP; some of them are answered in full.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from deployments.model_source import resolve
from tests.bench import machine
from tests.bench.report import HEADING, with_section
from tests.bench.retrieval.answers import AnswerScores
from tests.bench.retrieval.data import DataError, DataSet, File, load
from tests.bench.retrieval.distractors import distractors, hard_distractors
from tests.bench.retrieval.metrics import Question, Scores
from tests.bench.retrieval.naive import THRESHOLD, Naive
from tests.bench.retrieval.plot import draw
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
    as_json,
    bounds,
    section,
)
from tests.bench.retrieval.service import RequestError, Service
from tests.bench.systems import Configuration, ours
from tests.support.articles import DATA
from tests.support.processes import ROOT, StartError, started

BENCH = Path(__file__).parents[1]
_OURS = (
    (PASSAGES, 750),
    (PASSAGES, TIGHT_CHARS),
    (PASSAGES, ROOMY_CHARS),
    (5, 2500),
    (10, 5000),
)
_NAIVE = ((PASSAGES, THRESHOLD), (PASSAGES, None), (5, None), (10, None))
_MOST = max(passages for passages, _ in _NAIVE)
_DISTRACTORS, _ANSWERS, _CLIENTS = 2000, 60, 4
_ANSWER_TOKENS = 128
_WARM_UP = 16
_DATA = "xquad-en-dev"  # what the bounds are meant for
_SEED = 7
_FAILURES = (
    DataError,
    RequestError,
    StartError,
    TimeoutError,
    aiohttp.ClientError,
    subprocess.CalledProcessError,
)


@dataclass(frozen=True)
class Corpus:
    """What is added to the documents that are there, and what all of them are then called."""

    name: str
    files: Sequence[File]


def main() -> int:
    """Measure, write the section; 0 if everything is as it has to be."""
    parser = _parser()
    options = parser.parse_args()
    whole = vars(options) == vars(parser.parse_args([])) and options.data.stem == _DATA
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        data = load(options.data, options.format)
        questions = _some(data.questions, options.questions or len(data.questions))
        evaluation = _evaluated(data, questions, options)
    except KeyboardInterrupt:
        return 130
    except _FAILURES as error:
        sys.stdout.write(f"error: {error}\n")
        return 1
    about = machine.description()
    text = section(evaluation, about, options.clients)
    sys.stdout.write(text + "\n")
    if whole:
        results = BENCH / "RESULTS.md"
        before = results.read_text(encoding="utf-8") if results.exists() else HEADING
        results.write_text(with_section(before, "retrieval", text), encoding="utf-8")
    if folder := BENCH / "results" if whole else options.out:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "retrieval.json").write_text(as_json(evaluation, about), encoding="utf-8")
        draw(evaluation.measured, folder / "retrieval.svg")
    return 0 if all(bound.held for bound in bounds(evaluation)) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.retrieval", description=__doc__)
    parser.add_argument(
        "--data",
        type=Path,
        default=DATA,
        help="a file in the form of SQuAD, or a folder of documents with questions.jsonl, each "
        'line {"question": ..., "answers": [...], "document": FILE NAME}',
    )
    parser.add_argument(
        "--format", choices=("text", "pdf"), default="text", help="of SQuAD's articles"
    )
    parser.add_argument("--answers", type=int, default=_ANSWERS, help="questions asked in full")
    parser.add_argument("--questions", type=int, help="only so many of them: a smoke run")
    parser.add_argument("--distractors", type=int, default=_DISTRACTORS, help="passages")
    parser.add_argument("--clients", type=int, default=_CLIENTS, help="requests under way at once")
    parser.add_argument(
        "--out", type=Path, help="the folder for figures and plot of a run with other settings"
    )
    return parser


def _evaluated(
    data: DataSet, questions: Sequence[Question], options: argparse.Namespace
) -> Evaluation:
    corpora = [
        Corpus(BASE, data.files),
        Corpus(f"with {options.distractors:,} distractors", distractors(options.distractors)),
        Corpus("and altered sentences", hard_distractors(data.files)),
    ]
    configuration = Configuration.read(ROOT / "configs" / "cpu.yaml")
    measured = _naive(configuration, corpora, questions)
    with tempfile.TemporaryDirectory(prefix="genserve-retrieval-") as folder:
        system = ours(configuration, Path(folder))
        url = system.command.ready_url.removesuffix("/readyz")
        with started(system.command, Path(folder) / "log"):
            own, missed, answers = asyncio.run(_ours(url, corpora, questions, options))
    by_corpus = [
        one for corpus in corpora for one in (*own, *measured) if one.corpus == corpus.name
    ]
    return Evaluation(data.name, corpora[1].name, by_corpus, missed, answers)


def _naive(
    configuration: Configuration, corpora: Sequence[Corpus], questions: Sequence[Question]
) -> list[Measured]:
    """Measure the naive pipeline, before the service takes its part of the machine."""
    settings: dict[str, Any] = configuration.document["applications"][0]["args"]["embedder"]
    folder = resolve(settings["model"], configuration.data_dir)
    pipeline = Naive(folder, threads=1)
    measured = []
    for corpus in corpora:
        pipeline.add(corpus.files)
        ranked = [pipeline.search(question, _MOST) for question in questions]
        for passages, threshold in _NAIVE:
            scores = Scores.of([one.search(passages, threshold) for one in ranked], passages)
            name = NAIVE if threshold is None else NAIVE_THRESHOLD
            measured.append(_told(Measured(corpus.name, name, passages, None, scores)))
    return measured


async def _ours(
    url: str, corpora: Sequence[Corpus], questions: Sequence[Question], options: argparse.Namespace
) -> tuple[list[Measured], list[str], AnswerScores | None]:
    """Measure the service; also the questions missed at the tight bound, and the answers."""
    measured: list[Measured] = []
    missed: list[str] = []
    answers = None
    async with Service.session(url) as http:
        service = Service(http, options.clients)
        for corpus in corpora:
            await service.upload(corpus.files)
            await service.search(questions[:_WARM_UP], PASSAGES, TIGHT_CHARS)
            for passages, characters in _OURS:
                searches = await service.search(questions, passages, characters)
                scores = Scores.of(searches, passages)
                measured.append(_told(Measured(corpus.name, OURS, passages, characters, scores)))
                if corpus is corpora[0] and (passages, characters) == (PASSAGES, TIGHT_CHARS):
                    missed = [one.question.text for one in searches if one.rank is None]
            if corpus is corpora[0] and options.answers:
                some = _some(questions, options.answers)
                answers = AnswerScores.of(await service.ask(some, _ANSWER_TOKENS))
                sys.stdout.write(f"{len(some)} answers\n")
    return measured, missed, answers


def _some(questions: Sequence[Question], count: int) -> Sequence[Question]:
    """Draw so many, the same ones each time; all of them in their own order."""
    if count >= len(questions):
        return questions
    return random.Random(_SEED).sample(questions, count)  # noqa: S311


def _told(one: Measured) -> Measured:
    """Show that something was measured: it all takes a while."""
    bound = "" if one.characters is None else f", {one.characters} characters"
    sys.stdout.write(
        f"{one.corpus}: {one.pipeline}, {one.passages} passages{bound}: "
        f"hit@1 {one.scores.hit_1:.4f}, hit@3 {one.scores.hit_3:.4f}\n"
    )
    sys.stdout.flush()
    return one


if __name__ == "__main__":
    sys.exit(main())
