"""Which job starts next: turns by weight and cost, places for short jobs, no starvation."""

from __future__ import annotations

import itertools
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.jobs.costs import SHORT_JOB_S, estimate_s
from deployments.jobs.turns import Places, Turns, WaitingJob
from deployments.types import ImagesSpec, IngestSpec


def job(owner: str, number: int = 0, cost_s: float = 1.0, *, short: bool = False) -> WaitingJob:
    return WaitingJob(f"{owner}{number}", owner, cost_s, short)


def run_all(turns: Turns, costs: dict[str, float] | None = None) -> list[str]:
    """Run the jobs one after the other; return their owners in order."""
    order = []
    while started := list(turns.take()):
        for one in started:
            order.append(one.owner)
            turns.charge(one.id, (costs or {}).get(one.owner, one.cost_s))
            turns.end(one.id)
    return order


def test_jobs_of_an_owner_start_in_order_and_owners_take_turns() -> None:
    turns = Turns(Places(long=1))
    for number in range(4):
        turns.add(job("many", number))
    turns.add(job("few"))
    assert [one.id for one in turns.take()] == ["many0"]
    assert list(turns.take()) == []
    turns.end("many0")
    # The first was refunded: it took less than estimated. The second owner is next all the same.
    assert run_all(turns)[:2] in (["many", "few"], ["few", "many"])


def test_an_owner_leaves_places_free_for_other_owners() -> None:
    turns = Turns(Places(long=4, per_owner=2))
    for number in range(3):
        turns.add(job("many", number))
    assert [one.id for one in turns.take()] == ["many0", "many1"]
    turns.add(job("few"))
    assert [one.id for one in turns.take()] == ["few0"]
    turns.end("many0")
    assert [one.id for one in turns.take()] == ["many2"]


def test_a_turn_is_worth_cpu_seconds_and_not_a_job() -> None:
    turns = Turns(Places(long=1))
    for number in range(100):
        turns.add(job("small", number, cost_s=0.1))
        turns.add(job("large", number, cost_s=10.0))
    first = Counter(run_all(turns)[:102])
    assert first == {"small": 100, "large": 2}


def test_estimates_that_were_too_high_earn_nothing() -> None:
    turns = Turns(Places(long=4))
    for number in range(4):
        turns.add(job("first", number, cost_s=120.0))
    for one in list(turns.take()):
        turns.charge(one.id, 0.1)
        turns.add(job("first", 4 + int(one.id[-1])))
        turns.end(one.id)
    for number in range(4):
        turns.add(job("second", number))
    assert Counter(run_all(turns)[:4])["second"] >= 2


def test_what_was_measured_corrects_what_was_estimated() -> None:
    turns = Turns(Places(long=1))
    for number in range(100):
        turns.add(job("honest", number, cost_s=1.0))
        turns.add(job("liar", number, cost_s=1.0))
    order = run_all(turns, {"honest": 1.0, "liar": 20.0})
    assert Counter(order[:63])["liar"] <= 4


def test_weights_are_shares() -> None:
    turns = Turns(Places(long=1), {"gold": 3.0})
    for number in range(100):
        turns.add(job("gold", number))
        turns.add(job("iron", number))
    assert Counter(run_all(turns)[:80]) == {"gold": 60, "iron": 20}


def test_long_jobs_leave_the_places_of_short_ones_free() -> None:
    turns = Turns(Places(long=2, short=2))
    for number in range(9):
        turns.add(job("long", number, cost_s=100.0))
    assert len(list(turns.take())) == 2
    turns.add(job("long", 10, short=True))
    assert [one.id for one in turns.take()] == ["long10"]


def test_idleness_earns_nothing_and_debts_stay() -> None:
    turns = Turns(Places(long=1))
    for number in range(50):
        turns.add(job("busy", number))
    for _ in range(20):
        (one,) = turns.take()
        turns.charge(one.id, 1.0)
        turns.end(one.id)
    for number in range(50):
        turns.add(job("late", number))
    assert Counter(run_all(turns)[:20])["late"] in range(9, 12)


def test_no_owner_holds_all_places_while_another_waits() -> None:
    turns = Turns(Places(long=3), {"heavy": 1000.0})
    for number in range(9):
        turns.add(job("heavy", number))
        turns.add(job("light", number))
    for _ in range(5):
        started = list(turns.take())
        assert {one.owner for one in started} | {turns_of(i) for i in turns.running} == {
            "heavy",
            "light",
        }
        turns.end(started[0].id)


def turns_of(job_id: str) -> str:
    return job_id.rstrip("0123456789")


def test_a_job_that_could_not_start_stays_first_and_a_removed_one_is_gone() -> None:
    turns = Turns(Places(long=1))
    for number in range(3):
        turns.add(job("one", number))
    (first,) = turns.take()
    turns.put_back(first)
    turns.remove("one1")
    assert [one.id for one in turns.take()] == ["one0"]
    turns.end("one0")
    assert [one.id for one in turns.take()] == ["one2"]
    turns.end("one2")
    assert not turns.waiting
    assert not turns.running


@given(st.integers(0, 10_000))
def test_whatever_comes_no_job_and_no_place_is_lost(seed: int) -> None:
    draw = random.Random(seed)  # noqa: S311
    places = Places(long=draw.randint(1, 4), short=draw.randint(0, 3))
    turns = Turns(places, {"a": draw.uniform(0.1, 10)})
    added, ended = set[str](), set[str]()
    for number in range(60):
        one = job(draw.choice("abc"), number, draw.uniform(0, 50), short=draw.random() < 0.5)
        turns.add(one)
        added.add(one.id)
        if draw.random() < 0.1:
            turns.remove(one.id)
            added.discard(one.id)
        list(turns.take())
        assert len(turns.running) <= places.long + places.short
        for running in draw.sample(sorted(turns.running), min(1, len(turns.running))):
            turns.charge(running, draw.uniform(0, 100))
            turns.end(running)
            ended.add(running)
    for _ in range(200):
        list(turns.take())
        for running in list(turns.running):
            turns.end(running)
            ended.add(running)
    assert ended == added
    assert not turns.waiting


@settings(max_examples=30)
@given(st.integers(0, 10_000))
def test_a_waiting_job_starts_however_much_other_owners_add(seed: int) -> None:
    draw, numbers = random.Random(seed), itertools.count()  # noqa: S311
    turns = Turns(Places(draw.randint(1, 3), draw.randint(0, 2)), {"a": draw.uniform(0.5, 2)})
    waits_from = draw.randint(0, 20)
    for turn in range(waits_from + 100):
        for owner, short in itertools.product("ab", (True, False)):
            turns.add(job(owner, next(numbers), draw.uniform(1, 10), short=short))
        if turn == waits_from:
            turns.add(job("late", 0, draw.uniform(1, 100), short=draw.random() < 0.5))
        if "late0" in {one.id for one in turns.take()}:
            return
        for running in list(turns.running):
            turns.charge(running, draw.uniform(1, 10))
            turns.end(running)
    pytest.fail("the job never starts")


def test_estimates_tell_short_jobs_from_long_ones() -> None:
    def upload(name: str, size: int) -> float:
        return estimate_s(IngestSpec("doc_1", "default", name, size, "uploads/a"))

    assert upload("a.txt", 30) < 0.1
    for name in ("a.DOCX", "a.xlsm", "a.ott", "a.epub", "a.zip"):
        assert upload(name, 400_000) < SHORT_JOB_S < upload(name, 1_000_000)
    for name in ("a.png", "a.JPEG", "a.tif"):
        assert upload(name, 100) > SHORT_JOB_S
    assert upload("a.pdf", 40_000) < SHORT_JOB_S < upload("a.pdf", 1_000_000)
    assert upload("a.txt", 50_000) < SHORT_JOB_S < upload("a.md", 1_000_000)
    assert estimate_s(ImagesSpec("p", 1, 128, 128, 20, 1)) < SHORT_JOB_S
    assert estimate_s(ImagesSpec("p", 100, 256, 256, 50, 1)) > SHORT_JOB_S
