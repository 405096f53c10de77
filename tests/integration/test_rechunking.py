"""The chunker of a real service is changed while questions are asked, and Jobs is killed."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from deployments.catalogue.catalogue import Catalogue
from deployments.catalogue.clock import now_ms
from deployments.catalogue.entries import ChangeState
from deployments.parser.chunking.chunker import chunker_name
from serve_app.evaluation.data_sets import DataSet, File, Question
from tests.support import model_change
from tests.support.model_change import ChangingService, Questions, until

pytestmark = [pytest.mark.anyio, pytest.mark.long, pytest.mark.timeout(900)]

PLACES = ["Lisbon", "Oslo", "Vienna", "Dublin", "Prague", "Athens", "Warsaw", "Zagreb"]
SENTENCES = 60
AFTER_S = 4.0
TOKENS = 150
CHUNKER = chunker_name(TOKENS)


def text_about(number: int, place: str) -> str:
    """Return a text that fills several chunks, with one fact in it."""
    lines = [
        f"The report {number} of the harbour lists crate {line} with {line * 7 + number} lamps."
        for line in range(SENTENCES)
    ]
    lines.insert(SENTENCES // 2, f"The mayor of {place} keeps {number + 20} green parrots.")
    return " ".join(lines)


async def test_no_question_fails_and_every_answer_is_found(tmp_path: Path) -> None:
    texts = [text_about(number, place) for number, place in enumerate(PLACES)]
    data_set = DataSet(
        "parrots",
        tuple(File.of_text(f"{number}.txt", [text]) for number, text in enumerate(texts)),
        tuple(
            Question(
                f"How many parrots does the mayor of {place} keep?",
                (f"{number + 20} green parrots",),
                f"{number}.txt",
            )
            for number, place in enumerate(PLACES)
        ),
    )
    service = ChangingService(tmp_path, chat=False)
    service.node.start()  # in the main thread, as it handles signals
    try:
        async with service.client() as http:
            store = await model_change.fill(http, data_set, copies=3)
        service.node.stop()
        with service.catalogue() as catalogue:
            await catalogue.chunker_changes.begin(CHUNKER, now_ms())
            await catalogue.chunker_changes.pause()
            service.start_with_chunks_of(TOKENS)
            async with service.client() as http:
                asked = Questions(http, store, data_set.questions)
                async with asked.asking():
                    asked.note("began")
                    await catalogue.chunker_changes.resume()
                    await until_done(catalogue, 1)
                    await asyncio.to_thread(service.node.strike, "Jobs", random.Random(16))  # noqa: S311
                    await until_done(catalogue, 3 * len(PLACES))
                    await asyncio.sleep(AFTER_S)
            progress = await catalogue.chunker_changes.progress(CHUNKER)
            before = await catalogue.chunker_changes.progress(chunker_name(90))
    finally:
        service.node.stop()
    after = asked.between("began")
    assert len(after) > 20
    assert [one.error for one in after if one.error] == []
    assert [one.question for one in after if not one.hit] == []
    assert progress.done_documents == progress.documents == 3 * len(PLACES)
    assert before.done_documents == 0


async def until_done(catalogue: Catalogue, documents: int) -> None:
    """Wait until so many documents are cut anew; if that is all of them, until the change ends."""

    async def done() -> bool:
        change = await catalogue.chunker_changes.latest()
        assert change is not None
        progress = await catalogue.chunker_changes.progress(change.chunker)
        if progress.done_documents < documents:
            return False
        return documents < progress.documents or change.state is ChangeState.FINISHED

    await until(done)
