"""The evaluation's own parts: metrics, data sets, slices, distractors, and what is written."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web

from tests.bench.report import plain
from tests.bench.retrieval.__main__ import Corpus, measure_ours
from tests.bench.retrieval.answers import (
    Answer,
    AnswerScores,
    citations,
    exact_match,
    mentions,
    token_f1,
    without_citations,
)
from tests.bench.retrieval.client import Client, RequestError
from tests.bench.retrieval.metrics import Found, Scores, Search, is_hit
from tests.bench.retrieval.naive import Ranked, slices
from tests.bench.retrieval.report import BASE, OURS, Evaluation, Measured, checks, section
from tests.bench.retrieval.rewriting import follow_ups
from tests.support.articles import Article
from tests.support.data_sets import DataError, DataSet, File, Question, load
from tests.support.distractors import PASSAGE_CHARS, distractors, hard_distractors

QUESTION = Question("Who led?", ("Richard I", "Richard"), "Normans.txt")
RIGHT = Found("Normans.txt", "led by Richard\n I of Normandy")
WRONG = Found("Normans.txt", "led by nobody")
ELSEWHERE = Found("Other.txt", "Richard I")


def search(*found: Found, seconds: float = 0.01) -> Search:
    return Search(QUESTION, found, seconds)


def test_a_hit_is_of_the_right_document_with_any_white_space_but_the_same_case() -> None:
    assert is_hit(QUESTION, RIGHT)
    assert not is_hit(QUESTION, ELSEWHERE)
    assert not is_hit(QUESTION, replace(RIGHT, text="led by RICHARD"))
    assert is_hit(replace(QUESTION, answers=("Richard  I of",)), RIGHT)


def test_scores_count_the_first_hit_by_its_rank() -> None:
    searches = [
        search(RIGHT, RIGHT),
        search(ELSEWHERE, RIGHT),
        search(WRONG, WRONG, WRONG, RIGHT),
        search(WRONG, seconds=0.05),
        search(),
    ]
    scores = Scores.of(searches, passages=10)
    assert (scores.hit_1, scores.hit_3, scores.hit_5) == (0.2, 0.4, 0.6)
    assert scores.mrr == pytest.approx((1 + 1 / 2 + 1 / 4) / 5)
    # Further hits behind the first one earn nothing: there is one answer.
    expected = (1 + 1 / math.log2(3) + 1 / math.log2(5)) / 5
    assert scores.ndcg_10 == pytest.approx(expected)
    longest = 3 * len(WRONG.text) + len(RIGHT.text)
    assert scores.longest_chars == longest
    assert scores.p50_ms == pytest.approx(10)
    few = Scores.of(searches, passages=3)
    assert (few.hit_5, few.ndcg_10) == (None, None)


@pytest.mark.parametrize(
    ("text", "numbers", "plain"),
    [
        ("Paris [1].", [1], "Paris."),
        ("A [2] and B [1, 3][2].", [2, 1, 3], "A and B."),
        ("In [sic] 1066 (2).", [], "In [sic] 1066 (2)."),
        ("[10]", [10], ""),
    ],
)
def test_citations_are_read_and_taken_out(text: str, numbers: list[int], plain: str) -> None:
    assert citations(text) == numbers
    assert without_citations(text) == plain


def test_answers_are_compared_as_squad_does() -> None:
    answers = ("the Battle of Hastings", "1066")
    assert exact_match("Battle of Hastings.", answers)
    assert not exact_match("It was the Battle of Hastings", answers)
    assert token_f1("It was the Battle of Hastings", answers) == pytest.approx(2 * 3 / (5 + 3))
    assert token_f1("nothing", answers) == 0
    assert token_f1("", answers) == 0
    assert mentions("It was the battle of Hastings, in short.", answers)
    assert not mentions("in 10666", answers)


def test_answers_are_scored_with_what_they_cite() -> None:
    answers = [
        Answer(QUESTION, "Richard I [1].", {1: RIGHT, 2: WRONG}, 1.0),
        Answer(QUESTION, "It was Richard [2] [7].", {1: RIGHT, 2: ELSEWHERE}, 3.0),
        Answer(QUESTION, "Nobody knows.", {1: WRONG}, 2.0),
        Answer(QUESTION, "", {}, 2.0),
    ]
    scores = AnswerScores.of(answers)
    assert (scores.exact, scores.holds_span, scores.source_holds) == (0.25, 0.5, 0.5)
    assert (scores.citing, scores.cited, scores.cited_right, scores.cited_unknown) == (0.5, 2, 1, 1)
    assert scores.f1 == pytest.approx((1 + 2 / 4) / 4)
    assert scores.p50_s == 2


def test_slices_are_of_512_characters_wherever_that_is() -> None:
    text = "x" * 512 + "y" * 512 + "z"
    assert [len(one) for one in slices(text)] == [512, 512, 1]
    assert "".join(slices(text)) == text


def test_a_threshold_takes_from_what_is_nearest() -> None:
    ranked = Ranked(QUESTION, [RIGHT, WRONG, ELSEWHERE], [0.8, 0.7, 0.2], 0.0)
    assert ranked.search(3, None).found == [RIGHT, WRONG, ELSEWHERE]
    assert ranked.search(2, None).found == [RIGHT, WRONG]
    assert ranked.search(3, 0.7).found == [RIGHT, WRONG]
    assert ranked.search(1, 0.9).rank is None


@pytest.fixture(scope="module")
def thousand() -> list[File]:
    return distractors(1000)


def passages_of(files: list[File]) -> list[str]:
    return [passage for file in files for passage in file.text().split("\n\n")]


def test_distractors_are_as_many_as_wanted_and_the_same_each_time(thousand: list[File]) -> None:
    passages = passages_of(thousand)
    assert len(passages) == len(set(passages)) == 1000
    lengths = sorted(map(len, passages))
    assert 350 < lengths[len(lengths) // 2] <= PASSAGE_CHARS
    assert len({file.name for file in thousand}) == len(thousand)
    assert distractors(1000) == thousand
    assert len(passages_of(distractors(7))) == 7
    assert distractors(0) == []


def test_distractors_are_prose(thousand: list[File]) -> None:
    prose = passages_of([file for file in thousand if file.name.startswith("Python")])
    assert len(prose) > 300
    assert not any("::=" in text or "\n" in text or "****" in text for text in prose)


def test_altered_sentences_hold_other_names_and_numbers_of_the_data_set() -> None:
    files = [
        File.of_text("One.txt", ["The fleet left Rouen in 1066. It was cold. Then came Odo."]),
        File.of_text("Two.txt", ["In short, Alan Smith paid 3,500 marks to Fresno."]),
    ]
    altered = hard_distractors(files)
    assert altered == hard_distractors(files)
    assert {file.name for file in altered} <= {"Notes on One.txt", "Notes on Two.txt"}
    assert altered
    originals = " ".join(file.text() for file in files)
    text = " ".join(file.text() for file in altered)
    assert "It was cold." not in text
    sentences = [s for file in altered for s in file.text().split(". ")]
    assert all(sentence.rstrip(".") not in originals for sentence in sentences)
    words = {word.strip(".,") for word in originals.split()}
    assert {word.strip(".,") for word in text.split()} <= words


def squad(tmp_path: Path, **changes: Any) -> Path:
    asked = {"question": "Who led?", "answers": [{"text": "Odo"}, {"text": "Odo"}]} | changes
    article = {
        "title": "Battle_of_A/B",
        "paragraphs": [{"context": "Odo led.", "qas": [asked]}, {"context": "So.", "qas": []}],
    }
    path = tmp_path / "small.json"
    path.write_text(json.dumps({"data": [article]}), encoding="utf-8")
    return path


def test_a_squad_file_becomes_a_document_an_article(tmp_path: Path) -> None:
    data = load(squad(tmp_path))
    assert [(file.name, file.text()) for file in data.files] == [
        ("Battle of A-B.txt", "Odo led.\n\nSo.")
    ]
    assert data.questions == (Question("Who led?", ("Odo",), "Battle of A-B.txt"),)


def test_documents_can_be_pdfs() -> None:
    file = File("a.pdf", Article("a.pdf", ["Odo led."]).pdf())
    assert file.data.startswith(b"%PDF-")
    assert "Odo led." in file.text()


def test_a_folder_is_a_data_set(tmp_path: Path) -> None:
    (tmp_path / "b.md").write_text("# B\n\nOdo led.", encoding="utf-8")
    (tmp_path / "a.txt").write_text("nothing", encoding="utf-8")
    line = {"question": "Who led?", "answers": ["Odo"], "document": "b.md"}
    questions = tmp_path / "questions.jsonl"
    questions.write_text(json.dumps(line) + "\n\n", encoding="utf-8")
    data = load(tmp_path)
    assert [file.name for file in data.files] == ["a.txt", "b.md"]
    assert data.questions == (Question("Who led?", ("Odo",), "b.md"),)
    questions.write_text(json.dumps(line | {"document": "c.md"}), encoding="utf-8")
    with pytest.raises(DataError, match="a document of the data set"):
        load(tmp_path)


def test_what_is_no_data_set_is_said_without_its_path(tmp_path: Path) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text("{}", encoding="utf-8")
    for path in (broken, tmp_path / "missing.json", tmp_path):
        with pytest.raises(DataError) as error:
            load(path)
        assert str(tmp_path.parent) not in str(error.value)
    with pytest.raises(DataError, match="no questions"):
        load(squad(tmp_path, answers=[]))


def scores(hit_1: float, hit_3: float, longest: int = 1400) -> Scores:
    return Scores(612, hit_1, hit_3, None, 0.9, None, 1300.0, longest, 20.0, 40.0)


def evaluation(**changes: Any) -> Evaluation:
    among = "with 2,000 distractors"
    measured = [
        Measured(BASE, OURS, 3, 1500, scores(0.90, 0.985)),
        Measured(BASE, OURS, 3, 3000, scores(0.90, 0.995)),
        Measured(among, OURS, 3, 1500, scores(0.90, 0.975)),
        Measured(among, OURS, 3, 3000, scores(0.90, 0.985)),
    ]
    answers = AnswerScores(60, 0.1, 0.2, 0.5, 0.9, 0.6, 40, 30, 0, 2.0, 4.0)
    return replace(Evaluation("small", among, measured, [], answers), **changes)


def failed(one: Evaluation) -> list[str]:
    return [check.what for check in checks(one) if not check.holds]


def test_every_bound_is_checked_and_the_last_point_still_holds() -> None:
    good = evaluation()
    assert failed(good) == []
    worse = [scores(0.899, 0.984), scores(0.9, 0.994), scores(0.9, 0.9), scores(0.9, 0.98, 3001)]
    measured = [replace(one, scores=found) for one, found in zip(good.measured, worse, strict=True)]
    assert good.answers is not None
    answers = replace(good.answers, cited_unknown=1)
    assert len(failed(evaluation(measured=measured, answers=answers))) == 7
    assert len(checks(evaluation(answers=None))) == 6


def test_the_section_and_the_figures_tell_what_was_found() -> None:
    found = section(evaluation(), clients=4)
    text = found.markdown
    assert "| hit@3, 1500 characters | 0.9850 | at least 0.9850 | yes |" in text
    assert "| with 2,000 distractors | ours | 3 | 1500 | 0.900 | 0.975 | - |" in text
    assert "30 of 40" in text
    assert b"with 2,000 distractors" in found.pictures["retrieval.svg"]
    raw = plain(found.raw)
    assert raw["measured"][0]["scores"]["hit_3"] == 0.985


class Stub:
    """The service's routes; a search finds its own words in the document uploaded last."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.uploads = 0
        self.busy = 0
        self.bounds: list[tuple[int, int]] = []
        self.app = web.Application()
        self.app.router.add_post("/upload", self.upload)
        self.app.router.add_get("/v1/jobs/j", self.job)
        self.app.router.add_post("/v1/vector_stores/evaluation/search", self.search)
        self.app.router.add_post("/generate/text", self.answer)

    async def upload(self, request: web.Request) -> web.Response:
        form = await request.post()
        self.uploads += 1
        if self.uploads == 1:
            return web.Response(status=429, headers={"Retry-After": "0"})
        file = form["file"]
        assert isinstance(file, web.FileField)
        assert form["collection"] == "evaluation"
        self.names.append(file.filename)
        ids = {"document_id": f"doc_{len(self.names)}", "job_id": "j"}
        return web.json_response(ids, status=202)

    async def job(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "succeeded", "error": None})

    async def search(self, request: web.Request) -> web.Response:
        self.busy += 1
        assert self.busy <= 2
        body = await request.json()
        await asyncio.sleep(0)
        self.busy -= 1
        if body["query"] == "bad":
            return web.json_response({"error": {"message": "no such thing"}}, status=404)
        self.bounds.append((body["max_num_results"], body["max_characters"]))
        content = [{"type": "text", "text": body["query"]}]
        found = {"file_id": f"doc_{len(self.names)}", "content": content}
        return web.json_response({"data": [found]})

    async def answer(self, _request: web.Request) -> web.Response:
        uri = f"/v1/documents/doc_{len(self.names)}?collection=evaluation"
        source = {"id": 1, "uri": uri, "text": "Odo"}
        return web.json_response({"content": "Odo [1]", "sources": [source]})


def test_a_follow_up_names_its_topic_in_the_turn_before_only() -> None:
    files = (File("Normans.txt", b"The Normans came. They stayed."),)
    asked = [Question(text, ("x",), "Normans.txt") for text in ("Who led the Normans?", "When?")]
    (one,) = follow_ups(DataSet("small", files, tuple(asked)))
    assert (one.whole, one.asked) == (asked[0], "Who led it?")
    said = [message["content"] for message in one.conversation]
    assert said == ["What is Normans?", "The Normans came.", "Who led it?"]


@contextlib.asynccontextmanager
async def serving(stub: Stub) -> AsyncIterator[str]:
    runner = web.AppRunner(stub.app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.mark.anyio
async def test_the_service_is_asked_in_order_and_its_refusals_are_shown() -> None:
    stub = Stub()
    questions = [Question(str(n), (str(n),), "Ä b.txt") for n in range(9)]
    async with serving(stub) as url, ClientSession(url) as http:
        await Client(http, clients=1).upload([File("a.txt", b"a")])
        client = Client(http, clients=2)
        await client.upload([File("Ä b.txt", b"b")])
        searches = await client.search(questions, 3, 1500)
        (answer,) = await client.ask(questions[:1], 8)
        with pytest.raises(RequestError, match=r"404.*no such thing"):
            await client.search([Question("bad", ("x",), "Ä b.txt")], 3, 1500)
    assert (stub.uploads, stub.names) == (3, ["a.txt", "Ä b.txt"])
    assert [one.found[0].text for one in searches] == [question.text for question in questions]
    assert [one.rank for one in searches] == [1] * 9
    assert answer.sources == {1: Found("Ä b.txt", "Odo")}


@pytest.mark.anyio
async def test_our_pipeline_is_measured_on_every_corpus_at_every_bound() -> None:
    stub = Stub()
    questions = [Question("Odo", ("Odo",), "a.txt"), Question("Who?", ("Odo",), "a.txt")]
    corpora = [
        Corpus(BASE, [File("a.txt", b"Odo")]),
        Corpus("with 1 distractors", [File("b.txt", b"x")]),
    ]
    options = argparse.Namespace(clients=2, answers=2)
    async with serving(stub) as url:
        measured, missed, answers = await measure_ours(
            partial(ClientSession, url), corpora, questions, options
        )
    assert missed == ["Who?"]
    assert answers is not None
    assert (answers.questions, answers.cited_right) == (2, 2)
    assert {(3, 1500), (3, 3000)} <= set(stub.bounds)
    one = Evaluation("small", corpora[1].name, measured, missed, answers)
    base, among = (one.ours(corpus.name, 1500) for corpus in corpora)
    assert (base.hit_1, among.hit_1) == (0.5, 0.0)
    assert len(failed(one)) == 5
