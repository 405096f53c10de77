"""From candidates to passages, on documents made up so that the outcome can be told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from deployments.retriever.passages import neighbourhood, passages, passages_of_documents
from deployments.retriever.ranking import (
    FoundDocument,
    diverse,
    documents,
    in_order_of,
    ranked,
)
from deployments.retriever.vector_store import Candidate, StoredChunk
from deployments.types import Chunk, Document


def stored(
    number: int, document: str = "a", chars: int = 10, of: int = 20, text: str = ""
) -> StoredChunk:
    text = text or f"{document}{number}.".ljust(chars, "x")
    entry = Document(document, "default", f"{document}.txt", "T", "text/plain", 1, None, of, 0.0)
    return StoredChunk(entry, "2.20", Chunk(number, text, 3, separator=" "))


def candidate(
    number: int, score: float, document: str = "a", *, chars: int = 10, of: int = 20
) -> Candidate:
    return Candidate(stored(number, document, chars, of), (score,), (0.0,), score)


def found(
    best: list[Candidate], around: list[StoredChunk], limit: int, max_chars: int
) -> list[tuple[str, int, int]]:
    made = passages(best, best, around, limit=limit, max_chars=max_chars)
    assert sum(len(passage.text) for passage in made) <= max_chars
    return [(passage.document_id, passage.first, passage.last) for passage in made]


def numbers(candidates: list[Candidate]) -> list[int]:
    return [one.stored.chunk.number for one in candidates]


def test_meaning_and_words_are_added_as_shares_of_the_best() -> None:
    both = Candidate(stored(1), (0.5,), (9.0,))
    by_words = Candidate(stored(2), (0.1,), (10.0,))
    by_meaning = Candidate(stored(3), (0.6,), (5.0,))
    assert numbers(ranked([by_words, by_meaning, both], 0.0, [1.0])) == [1, 3, 2]
    # Where nothing resembles the question, its words decide.
    unlike = [replace(one, cosines=(one.cosines[0] / 6,)) for one in (by_meaning, by_words)]
    assert numbers(ranked(unlike, 0.0, [1.0])) == [2, 3]
    # So they do in a script that the model does not know; without common words, meaning does.
    assert numbers(ranked([by_words, by_meaning], 0.0, [1.0])) == [3, 2]
    assert numbers(ranked([by_words, by_meaning], 0.0, [0.0])) == [2, 3]
    wordless = [replace(one, bm25=(0.0,)) for one in (by_words, by_meaning)]
    assert numbers(ranked(wordless, 0.0, [0.0])) == [3, 2]
    # A model whose unrelated texts are alike ranks as one whose are not.
    alike = [replace(one, cosines=(0.7 + 0.3 * one.cosines[0],)) for one in (both, by_meaning)]
    assert numbers(ranked(alike, 0.7, [1.0])) == [1, 3]
    assert ranked([], 0.0, [1.0]) == []


def test_documents_are_ordered_by_the_evidence_of_all_their_chunks() -> None:
    chunks = [candidate(0, 0.9, "stray"), *(candidate(n, 0.8, "full") for n in range(3))]
    weak = [candidate(n, 0.3, "long") for n in range(9)]  # found with any question
    found = documents([*chunks, *weak], limit=5)
    assert [one.candidates[0].stored.document.id for one in found] == ["full", "stray", "long"]
    assert [len(one.candidates) for one in found] == [3, 1, 9]
    assert found[2].evidence == 0


def test_long_results_reserve_characters_for_each_document(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployments.retriever.passages._LITTLE_ROOM_CHARS", 100)
    best = [
        FoundDocument([candidate(3, 0.9), candidate(12, 0.8)], 0.6),
        FoundDocument([candidate(5, 0.5, "b")], 0.2),
        FoundDocument([candidate(7, 0.4, "c", chars=60)], 0.0),
    ]
    known = [one for document in best for one in document.candidates]
    around = [stored(n, name) for name in "ab" for n in range(20)]

    def chars(max_chars: int) -> list[int]:
        made = passages_of_documents(best, known, known, around, max_chars=max_chars)
        order = [passage.document_id for passage in made]
        assert order == sorted(order)
        return [sum(len(each.text) for each in made if each.document_id == name) for name in "abc"]

    of_a, of_b, of_c = chars(240)
    assert of_a > of_b >= 10
    assert of_c == 60
    assert of_a + of_b + of_c <= 240
    assert chars(40)[2] == 0  # little room goes to what was found best
    assert chars(40)[0] > 0


def test_near_duplicates_are_dropped_and_order_kept() -> None:
    again = "So it is said, and so it is said again."
    same = [
        replace(candidate(1, 0.9), stored=stored(1, text=again)),
        replace(candidate(7, 0.8), stored=stored(7, text=again.upper())),
        candidate(2, 0.7),
        candidate(3, 0.6),
    ]
    assert numbers(diverse(same, 0.0, 10)) == [1, 2, 3]
    assert numbers(diverse(same, 0.0, 2)) == [1, 2]
    assert diverse([], 0.0, 3) == []


def test_lines_that_are_only_alike_are_no_duplicates() -> None:
    lines = ["Monday: nine to five", "Tuesday: nine to six"]
    alike = [
        replace(candidate(n, 0.9 - n / 10), stored=stored(n, text=line))
        for n, line in enumerate(lines)
    ]
    assert numbers(diverse(alike, 0.0, 10)) == [0, 1]


def test_diversity_prefers_the_unlike() -> None:
    texts = ["the ferry leaves at noon", "the ferry leaves at ten from here", "tickets are cheap"]
    alike = [
        replace(candidate(n, 0.9 - n / 50), stored=stored(n, text=text))
        for n, text in enumerate(texts)
    ]
    assert numbers(diverse(alike, 0.0, 2)) == [0, 1]
    assert numbers(diverse(alike, 0.3, 2)) == [0, 2]


def test_a_reranker_orders_what_it_has_read_before_the_rest() -> None:
    ranked = [candidate(n, 0.5 - n / 100) for n in range(4)]
    ordered = in_order_of(np.array([0.1, 9.0, -3.0], dtype=np.float32), ranked)
    assert numbers(ordered) == [1, 0, 2, 3]
    assert [one.score for one in ordered] == sorted((one.score for one in ordered), reverse=True)


def test_the_neighbourhood_is_what_is_not_known_within_the_document() -> None:
    def around(best: list[Candidate], known: list[Candidate]) -> list[int]:
        near = neighbourhood(best, known, limit=3, max_chars=1500)
        return [number for _, number in near]

    known = [candidate(1, 0.9), candidate(2, 0.5)]
    assert around(known[:1], known) == [0, 3, 4, 5, 6]
    assert around([], known) == []
    last = [candidate(19, 0.5)]
    assert around(last, last) == [14, 15, 16, 17, 18]
    # No more than a passage has room for.
    middle = candidate(9, 0.5)
    chunk = replace(middle.stored.chunk, text="x" * 700)
    long = [replace(middle, stored=replace(middle.stored, chunk=chunk))]
    assert around(long, long) == [6, 7, 8, 10, 11, 12]


def test_the_best_takes_half_of_the_room_and_the_last_what_is_left() -> None:
    best = [candidate(3, 0.9), candidate(12, 0.5, "b"), candidate(5, 0.4, "c")]
    around = [stored(n, name) for name in "abc" for n in range(20)]
    made = found(best, around, limit=3, max_chars=160)
    assert [last - first + 1 for _, first, last in made] == [7, 3, 4]
    assert [name for name, *_ in made] == ["a", "b", "c"]
    assert all(
        first <= seed <= last for (_, first, last), seed in zip(made, (3, 12, 5), strict=True)
    )


def test_it_grows_towards_what_was_found_as_well() -> None:
    best = [candidate(3, 0.9), candidate(1, 0.2), candidate(2, 0.3)]
    assert found(best[:1] + best[1:], [stored(4), stored(5)], 1, 33) == [("a", 1, 3)]


def test_what_touches_joins_and_leaves_the_place_to_another() -> None:
    best = [candidate(3, 0.9), candidate(4, 0.8), candidate(9, 0.7), candidate(1, 0.6, "b")]
    assert found(best, [], limit=3, max_chars=1000) == [("a", 3, 4), ("a", 9, 9), ("b", 1, 1)]


def test_the_text_of_a_passage_reads_as_in_the_document() -> None:
    (made,) = passages(
        [candidate(1, 0.5)], [candidate(1, 0.5)], [stored(0), stored(2)],
        limit=1, max_chars=100,
    )  # fmt: skip
    assert made.text == f"{stored(0).chunk.text} {stored(1).chunk.text} {stored(2).chunk.text}"


def test_a_best_chunk_over_the_bound_is_cut_and_not_lost() -> None:
    long = replace(candidate(1, 0.9), stored=stored(1, text="nine words " * 9))
    (made,) = passages([long], [long], [], limit=3, max_chars=25)
    assert made.text == "nine words nine words"
    assert found([candidate(1, 0.9, chars=50)], [], 3, 20) == [("a", 1, 1)]


def test_a_chunk_beside_a_passage_joins_it_as_long_as_both_have_room() -> None:
    best = [candidate(3, 0.9, chars=700), candidate(4, 0.8, chars=400)]
    assert found(best, [], limit=3, max_chars=1500) == [("a", 3, 4)]


@pytest.mark.parametrize("max_chars", [0, 5, 9, 50, 1500, 100_000])
def test_nothing_is_longer_than_allowed(max_chars: int) -> None:
    best = [candidate(n, 0.9 - n / 100, chars=10 + 7 * n) for n in range(12)]
    made = found(best, [stored(n, chars=40) for n in range(12, 20)], 4, max_chars)
    assert len(made) <= 4
    assert bool(made) == bool(max_chars)
