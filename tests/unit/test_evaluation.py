"""`genserve eval`: forms of data sets, metrics beside values computed by hand, comparisons."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from serve_app.evaluation.answers import (
    Answer,
    answer_scores,
    exact_match,
    mentions,
    token_f1,
    without_citations,
)
from serve_app.evaluation.client import cited_sources
from serve_app.evaluation.comparison import differences, p_value
from serve_app.evaluation.data_sets import DataError, Question, load
from serve_app.evaluation.plot import plot
from serve_app.evaluation.report import report
from serve_app.evaluation.retrieval import Found, Search, holds_answer, search_scores
from serve_app.evaluation.run import Latency, QuestionScores, Run, keys, latest
from serve_app.service_client import CommandError

SPAN = Question("Who led?", ("Richard I", "Richard"), "Normans.txt")
RIGHT = Found("Normans.txt", ["led by Richard\n I of Normandy"])
WRONG = Found("Normans.txt", ["led by nobody"])
ELSEWHERE = Found("Other.txt", ["Richard I"])


def lines(path: Path, *rows: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + "\n", encoding="utf-8")


def squad(path: Path, **changes: Any) -> Path:
    asked = {"question": "Who led?", "answers": [{"text": "Odo"}, {"text": "Odo"}]} | changes
    article = {
        "title": "Battle_of_A/B",
        "paragraphs": [{"context": "Odo led.", "qas": [asked]}, {"context": "So.", "qas": []}],
    }
    path.write_text(json.dumps({"data": [article]}), encoding="utf-8")
    return path


def test_each_squad_article_becomes_a_document(tmp_path: Path) -> None:
    data = load(squad(tmp_path / "small.json"))
    assert data.name == "small"
    assert [(file.name, file.data) for file in data.files] == [
        ("Battle of A-B.txt", b"Odo led.\n\nSo.")
    ]
    assert data.questions == (Question("Who led?", ("Odo",), "Battle of A-B.txt"),)


def test_a_beir_folder_has_grades_and_unjudged_queries_are_left_out(tmp_path: Path) -> None:
    corpus = [{"_id": "a/1", "title": "Rice", "text": "It grows."}, {"_id": "b", "text": "Corn."}]
    lines(tmp_path / "corpus.jsonl", *corpus)
    lines(tmp_path / "queries.jsonl", *({"_id": str(n), "text": f"q{n}"} for n in range(4)))
    (tmp_path / "qrels").mkdir()
    table = "query-id\tcorpus-id\tscore\n1\ta/1\t2\n1\tb\t0\n2\tgone\t1\n2\tb\t1\n3\tb\t0\n"
    (tmp_path / "qrels" / "test.tsv").write_text(table)
    (tmp_path / "qrels" / "dev.tsv").write_text("0\tb\t1\n")
    data = load(tmp_path)
    assert [(file.name, file.data) for file in data.files] == [
        ("a%2F1.txt", b"Rice\n\nIt grows."),
        ("b.txt", b"Corn."),
    ]
    relevant = {one.text: one.relevant for one in data.questions}
    assert relevant == {"q1": {"a%2F1.txt": 2.0}, "q2": {"(missing) gone": 1.0, "b.txt": 1.0}}
    assert any("1 judgements name documents" in note for note in data.notes)
    assert [one.text for one in load(tmp_path, "dev").questions] == ["q0"]
    with pytest.raises(DataError, match="no judgements of the split train: it has dev, test"):
        load(tmp_path, "train")


def test_json_lines_and_folders_of_documents(tmp_path: Path) -> None:
    flat, folder = tmp_path / "flat", tmp_path / "folder"
    lines(flat / "documents.jsonl", {"id": 1, "title": "", "text": "One."}, {"id": 2, "text": "2"})
    lines(flat / "questions.jsonl", {"id": 9, "question": "q", "relevant": [1, 2]})
    data = load(flat)
    assert [(file.name, file.data) for file in data.files] == [("1.txt", b"One."), ("2.txt", b"2")]
    assert data.questions[0].relevant == {"1.txt": 1.0, "2.txt": 1.0}

    spans = {"question": "Who led?", "answers": ["Odo"], "document": "sub/b.md"}
    whole = {"question": "Where?", "relevant": {"a.pdf": 3}}
    lines(folder / "questions.jsonl", spans, whole, {"question": "unjudged"})
    (folder / "sub").mkdir()
    (folder / "sub" / "b.md").write_text("# B\n\nOdo led.")
    (folder / "a.pdf").write_bytes(b"%PDF-")
    (folder / ".hidden").write_text("x")
    data = load(folder)
    assert [(file.name, file.data) for file in data.files] == [
        ("a.pdf", b"%PDF-"),
        ("sub - b.md", b"# B\n\nOdo led."),
    ]
    assert data.questions == (
        Question("Who led?", ("Odo",), "sub - b.md"),
        Question("Where?", relevant={"a.pdf": 3.0}),
    )
    assert data.notes == ("1 questions without a judgement are left out",)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"question": "q", "answers": ["x"], "document": "c.md"}], "names c.md, which is no"),
        ([{"question": "q", "relevant": ["c.md"]}], "no document relevant to 'q'"),
        ([{"question": "q"}], "no judged questions: a line of questions.jsonl needs"),
        ([{"question": "q", "document": "a.md"}, {"q": 1}], "line 2: question: Field required"),
        ([], "no judged questions"),
    ],
)
def test_an_invalid_line_is_reported_with_its_number(
    rows: list[dict[str, Any]], said: str, tmp_path: Path
) -> None:
    (tmp_path / "a.md").write_text("a")
    lines(tmp_path / "questions.jsonl", *rows)
    with pytest.raises(DataError, match=said):
        load(tmp_path)


def test_errors_of_data_sets_do_not_contain_their_path(tmp_path: Path) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text("{}")
    binary = tmp_path / "binary.json"
    binary.write_bytes(b"\xff\xfe")
    for path in (broken, binary, tmp_path / "missing.json", tmp_path):
        with pytest.raises(DataError) as error:
            load(path)
        assert str(tmp_path.parent) not in str(error.value)
    with pytest.raises(DataError, match="no judged questions: none has an answer"):
        load(squad(tmp_path / "small.json", answers=[]))


def test_a_hit_is_of_the_right_document_with_any_white_space_but_the_same_case() -> None:
    assert holds_answer(SPAN, RIGHT)
    assert not holds_answer(SPAN, ELSEWHERE)
    assert not holds_answer(SPAN, Found("Normans.txt", ["led by RICHARD"]))
    assert holds_answer(Question("Who?", ("Caf\u00e9",)), Found("any.txt", ["the Cafe\u0301."]))


def test_spans_count_at_the_first_result_that_holds_one() -> None:
    found = [WRONG, ELSEWHERE, WRONG, RIGHT, RIGHT]
    scores = search_scores(Search(SPAN, found, 0.0), results=10)
    assert scores == {
        "hit@1": 0.0,
        "hit@3": 0.0,
        "hit@5": 1.0,
        "hit@10": 1.0,
        "MRR": 0.25,
        "nDCG@10": pytest.approx(1 / math.log2(5)),
    }
    assert set(search_scores(Search(SPAN, [], 0.0), results=3)) == {"hit@1", "hit@3", "MRR"}
    # A result may have several passages.
    several = Search(SPAN, [WRONG, Found("Normans.txt", ["It was", *RIGHT.passages])], 0.0)
    assert search_scores(several, results=3)["MRR"] == 0.5
    assert several.characters == sum(map(len, ["led by nobody", "It was", RIGHT.text]))


def test_judged_documents_count_once_by_their_grades() -> None:
    question = Question("q", relevant={"a": 2.0, "b": 1.0, "c": 1.0})
    # The ranking of documents is x, b, a: several results of one, or one result, are the same.
    found = [Found(name, [""]) for name in ("x", "b", "b", "x", "a", "b")]
    scores = search_scores(Search(question, found, 0.0), results=50)
    gain = 1 / math.log2(3) + 2 / math.log2(4)
    ideal = 2 / math.log2(2) + 1 / math.log2(3) + 1 / math.log2(4)
    assert scores["nDCG@10"] == pytest.approx(gain / ideal)
    assert (scores["hit@1"], scores["hit@3"], scores["MRR"]) == (0.0, 1.0, 0.5)
    assert scores["recall@10"] == scores["recall@50"] == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("Paris [1].", "Paris."),
        ("A [2] and B [1, 3][2].", "A and B."),
        ("In [sic] 1066 (2).", "In [sic] 1066 (2)."),
    ],
)
def test_citations_are_removed(text: str, plain: str) -> None:
    assert without_citations(text) == plain


def test_answers_are_compared_as_squad_does() -> None:
    answers = ("the Battle of Hastings", "1066")
    assert exact_match("Battle of Hastings.", answers)
    assert not exact_match("It was the Battle of Hastings", answers)
    assert token_f1("It was the Battle of Hastings", answers) == pytest.approx(2 * 3 / (5 + 3))
    assert token_f1("nothing", answers) == token_f1("", answers) == 0
    assert mentions("It was the battle of Hastings, in short.", answers)
    assert not mentions("in 10666", answers)
    # Scripts without spaces: by characters.
    assert mentions("答案是北京。", ("北京",))
    assert token_f1("是北京。", ("北京",)) == pytest.approx(2 * 2 / (3 + 2))


def test_answers_are_scored_with_what_they_cite() -> None:
    two = {1: RIGHT, 2: WRONG}
    scores = answer_scores(Answer(SPAN, "Richard I [1] [2].", two, [1, 2], 1.0))
    assert scores == {
        "exact": 1.0,
        "F1": 1.0,
        "contains": 1.0,
        "grounded": 1.0,
        "cites": 1.0,
        "cited_right": 0.5,
    }
    scores = answer_scores(Answer(SPAN, "Nobody knows.", {1: WRONG}, [], 1.0))
    assert (scores["contains"], scores["grounded"], scores["cites"]) == (0.0, 0.0, 0.0)
    assert "cited_right" not in scores
    whole = Question("q", relevant={"Normans.txt": 1.0})
    scores = answer_scores(Answer(whole, "Nobody [2].", two, [2], 1.0))
    assert scores == {"grounded": 1.0, "cites": 1.0, "cited_right": 1.0}


def test_annotations_name_the_cited_sources_before_numbers_do() -> None:
    sources = [{"id": 1, "cited": True}, {"id": 2, "cited": False}]
    message: dict[str, Any] = {"content": "Odo [1]."}
    completion: dict[str, Any] = {"choices": [{"message": message}], "sources": sources}
    assert cited_sources(completion) == [1]
    completion["attributions"] = [{"source": None}]  # it is wrong
    assert cited_sources(completion) == []
    citation = {"type": "url_citation", "url_citation": {"source": 2, "url": "/v1/documents/2"}}
    message["annotations"] = [citation, citation]
    assert cited_sources(completion) == [2]


def run(scores: list[dict[str, float]], **changes: Any) -> Run:
    questions = [
        QuestionScores(key=key, scores=one)
        for key, one in zip(keys(["who?"] * len(scores)), scores, strict=True)
    ]
    about: dict[str, Any] = {
        "name": "small",
        "content": "c" * 64,
        "at": datetime(2026, 11, 30, 12, tzinfo=UTC),
        "label": "",
        "version": "1",
        "models": {"embedding": "MiniLM"},
        "documents": 3,
        "settings": {"results": 10, "characters": None},
        "unread": 0,
        "questions": questions,
        "search": Latency.of([0.010, 0.020, 0.030]),
        "characters": 900.0,
    }
    return Run(**about | changes)


def hits(*values: float) -> list[dict[str, float]]:
    return [{"hit@3": value} for value in values]


def test_a_change_is_clear_only_if_it_is_hardly_chance() -> None:
    # By 0 and 1 it is the sign test: 5 wins of 5 by chance, in 2 of 32 cases.
    assert p_value([1] * 5 + [0] * 100) == pytest.approx(2 / 32, abs=0.01)
    assert p_value([1] * 12) < 0.01
    assert p_value([1, -1, 0.5, -0.5]) == 1.0
    assert p_value([0, 0]) == p_value([]) == 1.0


def test_questions_are_compared_one_by_one() -> None:
    before = run(hits(*[0.0] * 12, 1.0, 1.0))
    now = run([*hits(*[1.0] * 12, 0.0), {"hit@3": 1.0, "F1": 0.5}, *hits(1.0)])
    (change,) = differences(before, now)
    assert (change.metric, change.questions, change.clear) == ("hit@3", 14, True)
    assert (len(change.won), change.lost) == (12, ["who? (13)"])
    assert change.before == pytest.approx(2 / 14)
    assert change.now == pytest.approx(13 / 14)


def test_the_report_lists_improvements_and_other_differences() -> None:
    before = run(hits(*[0.0] * 12, 1.0), label="MiniLM", at=datetime(2026, 11, 29, tzinfo=UTC))
    now = run(hits(*[1.0] * 12, 0.0), models={"embedding": "bge-m3"})
    text = report(now, before)
    assert "hit@3" in text
    assert "0.923    0.145   0.077   +0.846" in text
    assert "other embedding: MiniLM -> bge-m3" in text
    assert "* hit@3 is better" in text
    assert "lost by hit@3: who? (13)" in text
    assert "and 7 more won" in text
    assert "search   p50 20.0 ms, p99 29.8 ms" in text
    assert "no clear change" in report(now, now)
    assert "before" not in report(now, None)


def test_a_run_is_written_whole_and_found_as_the_last_one(tmp_path: Path) -> None:
    now = run(hits(1.0, 0.0), name="a<b")
    now.write(tmp_path / "a<b-20261130T120000Z.json")
    now.write(tmp_path / "a<b-20261129T120000Z.json")
    path = latest(tmp_path, "a<b")
    assert path == tmp_path / "a<b-20261130T120000Z.json"
    assert Run.read(path) == now
    assert json.loads(path.read_text())["summary"] == {"hit@3": 0.5}
    assert latest(tmp_path, "a") is None
    path.write_text('{"format": 2}')
    with pytest.raises(CommandError, match="no result of `genserve eval`"):
        Run.read(path)
    drawn = ET.fromstring(plot(now, now))  # noqa: S314 - our own
    texts = [one.text for one in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert "a<b, 2 questions" in texts
    assert "hit@3" in texts
