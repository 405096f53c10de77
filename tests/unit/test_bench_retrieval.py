"""The parts of the retrieval bench: slices, distractors, follow-ups, and its section."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from serve_app.evaluation.data_sets import DataSet, File, Question
from serve_app.evaluation.retrieval import Found, Search
from tests.bench.report import plain
from tests.bench.retrieval.naive import Ranked, slices
from tests.bench.retrieval.report import BASE, OURS, Evaluation, Measured, Scores, checks, section
from tests.bench.retrieval.rewriting import follow_ups
from tests.support.articles import text_of
from tests.support.distractors import PASSAGE_CHARS, distractors, hard_distractors

QUESTION = Question("Who led?", ("Richard I", "Richard"), "Normans.txt")
RIGHT = Found("Normans.txt", ["led by Richard\n I of Normandy"])
WRONG = Found("Normans.txt", ["led by nobody"])
ELSEWHERE = Found("Other.txt", ["Richard I"])


def test_slices_are_of_512_characters_wherever_that_is() -> None:
    text = "x" * 512 + "y" * 512 + "z"
    assert [len(one) for one in slices(text)] == [512, 512, 1]
    assert "".join(slices(text)) == text


def test_a_threshold_takes_from_what_is_nearest() -> None:
    ranked = Ranked(QUESTION, [RIGHT, WRONG, ELSEWHERE], [0.8, 0.7, 0.2], 0.0)
    assert ranked.search(3, None).found == [RIGHT, WRONG, ELSEWHERE]
    assert ranked.search(2, None).found == [RIGHT, WRONG]
    assert ranked.search(3, 0.7).found == [RIGHT, WRONG]
    assert ranked.search(1, 0.9).found == []


def test_scores_are_means_over_the_questions() -> None:
    found = [Search(QUESTION, [RIGHT], 0.01), Search(QUESTION, [WRONG, RIGHT], 0.03)]
    scores = Scores.of(found, passages=3)
    assert (scores.questions, scores.means["hit@1"], scores.means["hit@3"]) == (2, 0.5, 1.0)
    assert scores.longest_chars == len(WRONG.text) + len(RIGHT.text)
    assert scores.p50_ms == pytest.approx(20)


@pytest.fixture(scope="module")
def thousand() -> list[File]:
    return distractors(1000)


def passages_of(files: list[File]) -> list[str]:
    return [passage for file in files for passage in text_of(file).split("\n\n")]


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
    originals = " ".join(text_of(file) for file in files)
    text = " ".join(text_of(file) for file in altered)
    assert "It was cold." not in text
    sentences = [s for file in altered for s in text_of(file).split(". ")]
    assert all(sentence.rstrip(".") not in originals for sentence in sentences)
    words = {word.strip(".,") for word in originals.split()}
    assert {word.strip(".,") for word in text.split()} <= words


def scores(hit_1: float, hit_3: float, longest: int = 1400) -> Scores:
    means = {"hit@1": hit_1, "hit@3": hit_3, "MRR": 0.9}
    return Scores(612, means, 1300.0, longest, 20.0, 40.0)


def evaluation(**changes: Any) -> Evaluation:
    among = "with 2,000 distractors"
    measured = [
        Measured(BASE, OURS, 3, 1500, scores(0.90, 0.985)),
        Measured(BASE, OURS, 3, 3000, scores(0.90, 0.995)),
        Measured(among, OURS, 3, 1500, scores(0.90, 0.975)),
        Measured(among, OURS, 3, 3000, scores(0.90, 0.985)),
    ]
    return replace(Evaluation("small", among, measured, []), **changes)


def failed(one: Evaluation) -> list[str]:
    return [check.what for check in checks(one) if not check.holds]


def test_every_bound_is_checked_and_the_last_point_still_holds() -> None:
    good = evaluation()
    assert failed(good) == []
    worse = [scores(0.899, 0.984), scores(0.9, 0.994), scores(0.9, 0.9), scores(0.9, 0.98, 3001)]
    measured = [replace(one, scores=found) for one, found in zip(good.measured, worse, strict=True)]
    assert len(failed(evaluation(measured=measured))) == 6


def test_the_section_and_the_figures_tell_what_was_found() -> None:
    found = section(evaluation(), clients=4)
    text = found.markdown
    assert "| hit@3, 1500 characters | 0.9850 | at least 0.9850 | yes |" in text
    assert "| with 2,000 distractors | ours | 3 | 1500 | 0.900 | 0.975 | - |" in text
    assert b"with 2,000 distractors" in found.pictures["retrieval.svg"]
    raw = plain(found.raw)
    assert raw["measured"][0]["scores"]["means"]["hit@3"] == 0.985


def test_a_follow_up_names_its_topic_in_the_turn_before_only() -> None:
    files = (File("Normans.txt", b"The Normans came. They stayed."),)
    asked = [Question(text, ("x",), "Normans.txt") for text in ("Who led the Normans?", "When?")]
    (one,) = follow_ups(DataSet("small", files, tuple(asked)))
    assert (one.whole, one.asked) == (asked[0], "Who led it?")
    said = [message["content"] for message in one.conversation]
    assert said == ["What is Normans?", "The Normans came.", "Who led it?"]
