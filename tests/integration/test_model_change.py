"""The embedding model of a real service is changed while questions are asked."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from serve_app.evaluation.data_sets import DataSet, File, Question
from tests.support import model_change
from tests.support.model_change import ChangingService, Questions, changed

pytestmark = [pytest.mark.anyio, pytest.mark.long, pytest.mark.timeout(900)]

FACTS = {
    "How many strings does a violin have?": "A violin has four strings, tuned in fifths.",
    "Which town lies on the Seine?": "Paris, the capital of France, lies on the Seine.",
    "What do whales breathe?": "Whales are mammals and breathe air at the surface.",
    "What makes dough rise?": "Yeast and bacteria make the dough of bread rise.",
}
AFTER_S = 4.0


async def test_no_question_fails_and_none_is_answered_worse(tmp_path: Path) -> None:
    files = [File.of_text(f"{n}.txt", [text]) for n, text in enumerate(FACTS.values())]
    questions = [
        Question(question, (text,), f"{n}.txt") for n, (question, text) in enumerate(FACTS.items())
    ]
    service = ChangingService(tmp_path, chat=False)
    await asyncio.to_thread(service.node.start)
    try:
        async with service.client() as http:
            data_set = DataSet("facts", tuple(files), tuple(questions))
            store = await model_change.fill(http, data_set, copies=3)
            asked = Questions(http, store, questions)
            await asyncio.to_thread(service.name_next_model)
            async with asked.asking():
                with service.catalogue() as catalogue:
                    asked.note("quiet")
                    await model_change.until_switched(catalogue)
                    asked.note("switched")
                    await asyncio.sleep(AFTER_S)
                    await catalogue.model_changes.back()
                    await asyncio.sleep(AFTER_S)
                    await catalogue.model_changes.switch()
                    await catalogue.model_changes.finish()
                    await asyncio.sleep(AFTER_S)
    finally:
        service.node.stop()  # in the main thread, as it handles signals
    after = asked.between("switched")
    assert [one.error for one in after if one.error] == []
    assert all(one.hit for one in after)
    compared, lost, _ = changed(asked.between("quiet", "switched"), after)
    assert compared > 20
    assert lost == 0
