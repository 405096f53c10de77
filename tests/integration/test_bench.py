"""The short version of `make bench`: its load on the running service, without its figures."""

from __future__ import annotations

import asyncio
from itertools import islice

import pytest

from tests.support.load import Target, closed_loop, connections, questions
from tests.support.service import Service

CLIENTS = 8


@pytest.mark.long
def test_every_client_of_a_closed_loop_gets_its_whole_answer(service: Service) -> None:
    target = Target(f"{service.url}/v1/chat/completions", service.model)

    async def load() -> list[str]:
        async with connections(CLIENTS, service.headers) as session:
            run = await closed_loop(session, target, islice(questions(), 2 * CLIENTS), CLIENTS)
            return run.errors

    assert asyncio.run(load()) == []
