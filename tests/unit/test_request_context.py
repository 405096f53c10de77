"""Work that outlives its request keeps the request's id and leaves what would end it."""

from __future__ import annotations

import asyncio

from ray.serve.context import _get_serve_request_context, _set_request_context

from deployments.serving.request_context import detached, under_id


async def ids() -> tuple[str, str]:
    context = _get_serve_request_context()
    return context.request_id, context._internal_request_id


def test_detached_work_keeps_the_id_and_not_what_serve_cancels_by() -> None:
    async def request() -> tuple[tuple[str, str], tuple[str, str]]:
        _set_request_context(request_id="theirs", _internal_request_id="serves-own")
        return await detached(ids()), await ids()

    assert asyncio.run(request()) == (("theirs", ""), ("theirs", "serves-own"))


def test_an_id_is_lent_for_as_long_as_it_is_asked_for() -> None:
    async def job() -> list[str]:
        _set_request_context(request_id="before")
        with under_id("job_1"):
            inside = (await asyncio.create_task(ids()))[0]
        return [inside, (await ids())[0]]

    assert asyncio.run(job()) == ["job_1", "before"]
