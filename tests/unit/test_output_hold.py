"""Outputs of vLLM that are held back between two messages."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from deployments.llm.output_hold import OutputHold, Part, Spacing, parts_of

pytestmark = pytest.mark.anyio


class Collector:
    """As vLLM's: it merges what was not taken."""

    def __init__(self) -> None:
        self.output: Any = None

    def put(self, output: Any) -> None:
        if self.output is None or isinstance(output, Exception):
            self.output = output
        elif not isinstance(self.output, Exception):
            self.output.outputs[0].text += output.outputs[0].text
            self.output.outputs[0].token_ids += output.outputs[0].token_ids
            self.output.finished = output.finished

    def take(self) -> Any:
        taken, self.output = self.output, None
        return taken


class Every(Spacing):
    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._always = seconds

    @property
    def seconds(self) -> float:
        return self._always


def output(text: str, *, finished: bool = False) -> Any:
    ids = [ord(character) for character in text]
    return SimpleNamespace(outputs=[SimpleNamespace(text=text, token_ids=ids)], finished=finished)


def parts(text: str) -> list[Part]:
    return [Part(character, [ord(character)]) for character in text]


async def test_what_comes_during_a_hold_is_one_output_with_its_parts() -> None:
    collector = Collector()
    hold = OutputHold(collector)
    collector.put(output("a"))
    assert parts_of(collector.take()) == parts("a")
    hold.begin(Every(0.02))
    for text in "bcd":
        collector.put(output(text))
    assert collector.take() is None
    await asyncio.sleep(0.05)
    merged = collector.take()
    assert (merged.outputs[0].text, parts_of(merged)) == ("bcd", parts("bcd"))
    collector.put(output("e"))  # after a pause, at once
    assert parts_of(collector.take()) == parts("e")


async def test_the_end_is_not_held_back() -> None:
    collector = Collector()
    hold = OutputHold(collector)
    hold.begin(Every(60))
    collector.put(output("a"))
    collector.put(output("b", finished=True))
    merged = collector.take()
    assert merged.finished
    assert parts_of(merged) == parts("ab")


async def test_an_error_is_not_held_back() -> None:
    collector = Collector()
    hold = OutputHold(collector)
    hold.begin(Every(60))
    error = ValueError("broken")
    collector.put(error)
    assert collector.take() is error


async def test_the_parts_of_what_a_slow_reader_has_not_taken_are_kept() -> None:
    collector = Collector()
    collector.put(output("a"))  # before the hold
    OutputHold(collector)
    collector.put(output("b"))
    collector.put(output("c"))
    assert parts_of(collector.take()) == parts("abc")


def test_messages_are_farther_apart_the_more_streams_have_begun() -> None:
    spacing = Spacing()
    with spacing.stream():
        alone = spacing.seconds
        with spacing.stream():
            assert spacing.seconds > alone
        assert spacing.seconds == alone


def test_messages_are_farther_apart_while_the_event_loop_is_late() -> None:
    spacing = Spacing()
    with spacing.stream():
        alone = spacing.seconds
        for tenths in range(50):
            spacing.note(0.02, 1000 + tenths / 10)
        assert spacing.seconds == pytest.approx(alone + 8 * 0.02, rel=0.05)
        spacing.note(10, 1005.1)  # once
        assert spacing.seconds < 0.4
        for tenths in range(50):
            spacing.note(0, 1005.2 + tenths / 10)
        assert spacing.seconds == pytest.approx(alone, rel=0.2)


def test_a_pause_ends_the_lateness() -> None:
    spacing = Spacing()
    with spacing.stream():
        alone = spacing.seconds
        spacing.note(0.05, 1000)
        assert spacing.seconds > 2 * alone
    with spacing.stream():
        assert spacing.seconds == alone
