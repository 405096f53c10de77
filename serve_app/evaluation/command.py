"""The `eval` command: prepare the documents, ask the questions, report, compare."""

from __future__ import annotations

import argparse
import asyncio
import os
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from serve_app.evaluation.answers import answer_scores
from serve_app.evaluation.client import connected
from serve_app.evaluation.data_sets import DataError, load
from serve_app.evaluation.plot import plot
from serve_app.evaluation.report import report
from serve_app.evaluation.retrieval import search_scores
from serve_app.evaluation.run import METRICS, Latency, QuestionScores, Run, keys, latest, rounded
from serve_app.evaluation.store import content_digest, prepared, remove
from serve_app.launch.progress import say
from serve_app.launch.version import genserve_version
from serve_app.schemas.searches import MAX_CHARACTERS, MAX_RESULTS
from serve_app.service_client import KEY_VARIABLE, CommandError, add_address

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from serve_app.evaluation.answers import Answer
    from serve_app.evaluation.client import Client
    from serve_app.evaluation.data_sets import DataSet, Question
    from serve_app.evaluation.retrieval import Search

_PASSED, _FAILED, _NOT_MEASURED = 0, 1, 2
_SPAN_RESULTS = 10
_ANSWERS, _ANSWER_TOKENS, _CLIENTS, _MAX_CLIENTS = 50, 128, 4, 64
_WARM_UP = 8  # searches
_SEED = 7


class Bound(NamedTuple):
    """A metric, and the least mean that it must have."""

    metric: str
    least: float


def main(arguments: list[str]) -> int:
    """Evaluate; return 0, 1 if a mean is below its minimum, or 2 if it could not be measured."""
    asked = _parser().parse_args(arguments)
    try:
        if asked.remove:
            return asyncio.run(_remove(asked))
        data = load(asked.data, asked.split)
        before = _before(asked, data)
        run = asyncio.run(_run(asked, data))
        _write(asked.out, run, before)
        say(f"\n{report(run, before)}")
        return _verdict(run, asked.at_least)
    except (DataError, CommandError, OSError) as error:
        say(f"error: {error}")
        return _NOT_MEASURED
    except KeyboardInterrupt:
        say("stopped: the same command goes on with the documents that are uploaded")
        raise


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="genserve eval",
        description="Measure retrieval, answers and citations of a running service on documents "
        "with questions, and compare with the last run. The documents go into a vector store of "
        "their own, which later runs use again. Exit status: 0; 1 if a mean is below its "
        "--at-least; 2 if something could not be measured.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "data",
        metavar="DATA",
        type=Path,
        help="a SQuAD file; a BEIR folder; a folder with documents.jsonl and questions.jsonl; or "
        "a folder of documents with questions.jsonl",
    )
    add_address(parser)
    parser.add_argument("--key", metavar="KEY", help=f"the API key (default: {KEY_VARIABLE})")
    parser.add_argument(
        "--label", default="", help="a name of the tested configuration, for the report"
    )
    parser.add_argument(
        "--out",
        metavar="FOLDER",
        type=Path,
        default=Path("genserve-eval"),
        help="for the result (JSON) and the plot (SVG) of each run (default: %(default)s)",
    )
    parser.add_argument(
        "--against", metavar="FILE", type=Path, help="compare with this result, not the last one"
    )
    parser.add_argument(
        "--at-least",
        metavar="METRIC=MEAN",
        type=_bound,
        action="append",
        default=[],
        help=f"exit with 1 below this mean; may be repeated. Metrics: {', '.join(METRICS)}",
    )
    chosen = f"{_SPAN_RESULTS}, or {MAX_RESULTS} where whole documents are judged"
    numbers: dict[str, tuple[int, int | None, int | None, str]] = {
        "--results": (1, MAX_RESULTS, None, f"results of each search (default: {chosen})"),
        "--characters": (1, MAX_CHARACTERS, None, "of all results of a search together"),
        "--questions": (1, None, None, "a random sample of so many questions, with a fixed seed"),
        "--answers": (0, None, _ANSWERS, "questions to answer, too (default: %(default)s)"),
        "--clients": (1, _MAX_CLIENTS, _CLIENTS, "requests at once (default: %(default)s)"),
    }
    for name, (least, most, default, what) in numbers.items():
        kind = _count(least, most)
        parser.add_argument(name, metavar="N", type=kind, default=default, help=what)
    parser.add_argument("--split", help="of BEIR's judgements (default: test, else dev, train)")
    parser.add_argument(
        "--remove", action="store_true", help="only delete the vector stores of this data set"
    )
    return parser


def _count(least: int, most: int | None) -> Callable[[str], int]:
    def number(value: str) -> int:
        found = int(value)
        if found < least or (most is not None and found > most):
            msg = f"{value} is not {least} to {most}" if most else f"{value} is below {least}"
            raise argparse.ArgumentTypeError(msg)
        return found

    return number


def _bound(value: str) -> Bound:
    name, _, least = value.partition("=")
    known = {metric.casefold(): metric for metric in METRICS}
    try:
        return Bound(known[name.strip().casefold()], float(least))
    except (KeyError, ValueError):
        msg = f"{value}: not like hit@3=0.95, with one of {', '.join(METRICS)}"
        raise argparse.ArgumentTypeError(msg) from None


async def _remove(asked: argparse.Namespace) -> int:
    async with connected(asked.url, _key(asked), asked.clients) as client:
        name = asked.data.resolve().name.removesuffix(".json")
        say(f"{await remove(client, name)} vector stores of {name} deleted")
    return _PASSED


def _before(asked: argparse.Namespace, data: DataSet) -> Run | None:
    path = asked.against or latest(asked.out, data.name)
    return None if path is None else Run.read(path)


async def _run(asked: argparse.Namespace, data: DataSet) -> Run:
    for note in data.notes:
        say(note)
    digest = content_digest(data.files)
    results = asked.results or (MAX_RESULTS if data.judges_documents else _SPAN_RESULTS)
    characters = asked.characters or (MAX_CHARACTERS if data.judges_documents else None)
    named = list(zip(keys(one.text for one in data.questions), data.questions, strict=True))
    chosen = _sampled(named, asked.questions)
    async with connected(asked.url, _key(asked), asked.clients) as client:
        store, filled = await prepared(client, data, digest)
        questions = [question for _, question in chosen]

        async def search(question: Question) -> Search:
            return await client.search(store, question, results, characters)

        await client.each(search, questions[:_WARM_UP])
        searches = await client.each(search, questions, progress="searched")
        scores = {
            key: search_scores(one, results) for (key, _), one in zip(chosen, searches, strict=True)
        }
        answers, error = await _answers(client, store, _sampled(chosen, asked.answers), scores)
        return Run(
            name=data.name,
            content=digest,
            at=datetime.now(UTC),
            label=asked.label,
            version=genserve_version(),
            models=client.models,
            settings={"results": results, "characters": characters, "clients": asked.clients},
            documents=filled.documents,
            unread=filled.unread,
            questions=[QuestionScores(key=key, scores=rounded(one)) for key, one in scores.items()],
            search=Latency.of([one.seconds for one in searches]),
            characters=sum(one.characters for one in searches) / len(searches),
            answers=len(answers),
            answer=Latency.of([one.seconds for one in answers]) if answers else None,
            answers_error=error,
        )


async def _answers(
    client: Client,
    store: str,
    chosen: Sequence[tuple[str, Question]],
    scores: dict[str, dict[str, float]],
) -> tuple[list[Answer], str | None]:
    """Add the scores of answers; return the answers, and the error if they cannot be made."""
    if not chosen:
        return [], None

    async def answer(question: Question) -> Answer:
        return await client.answer(store, question, _ANSWER_TOKENS)

    try:
        questions = [question for _, question in chosen]
        answers = await client.each(answer, questions, progress="answered")
    except CommandError as error:
        return [], str(error)
    for (key, _), one in zip(chosen, answers, strict=True):
        scores[key] |= answer_scores(one)
    return answers, None


def _sampled(
    chosen: Sequence[tuple[str, Question]], count: int | None
) -> Sequence[tuple[str, Question]]:
    """Return a random sample of questions, with a fixed seed; without a count, all of them."""
    if count is None or count >= len(chosen):
        return chosen
    return random.Random(_SEED).sample(chosen, count)  # noqa: S311 - not for secrets


def _key(asked: argparse.Namespace) -> str:
    return str(asked.key or os.environ.get(KEY_VARIABLE, ""))


def _write(folder: Path, run: Run, before: Run | None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    result = folder / f"{run.name}-{run.at:%Y%m%dT%H%M%SZ}.json"
    picture = result.with_suffix(".svg")
    picture.write_text(plot(run, before), encoding="utf-8")
    run.write(result)
    say(f"{result} and {picture} written")


def _verdict(run: Run, bounds: Sequence[Bound]) -> int:
    means, missing = run.means(), False
    below = False
    for bound in bounds:
        mean = means.get(bound.metric)
        if mean is None:
            say(f"{bound.metric} was not measured; measured were {', '.join(means)}")
            missing = True
        elif mean < bound.least:
            say(f"{bound.metric} is {mean:.4f}, below {bound.least:g}")
            below = True
    if missing or run.answers_error:
        return _NOT_MEASURED
    return _FAILED if below else _PASSED
