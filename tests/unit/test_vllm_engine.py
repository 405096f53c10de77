"""The engine over vLLM's serving layer, which a stand-in plays: vLLM itself loads a model first."""

from __future__ import annotations

import sys
import types
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from deployments.errors import Unavailable
from deployments.llm.outside_text import OutsideText
from deployments.llm.vllm_engine import VllmEngine, _Surface

pytestmark = pytest.mark.anyio
NOTHING = OutsideText.of(object(), "")


@pytest.fixture
def imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """The classes of vLLM that the engine tells apart; importing the real ones takes seconds."""
    names = {
        "vllm.entrypoints.serve.engine.protocol": ["ErrorResponse"],
        "vllm.exceptions": ["GracefulHTTPError", "VLLMClientError"],
        "vllm.v1.engine.exceptions": ["EngineDeadError"],
    }
    for module, classes in names.items():
        stand_in = types.ModuleType(module)
        for name in classes:
            setattr(stand_in, name, type(name, (Exception,), {}))
        monkeypatch.setitem(sys.modules, module, stand_in)


def engine(*blocks: str) -> VllmEngine:
    async def events() -> AsyncGenerator[str, None]:
        for block in blocks:
            yield block

    async def answer(_request: Any, _raw: None) -> AsyncGenerator[str, None]:
        return events()

    loaded = types.SimpleNamespace(model_config=types.SimpleNamespace(max_model_len=64))
    surface = _Surface(dict, answer)
    return VllmEngine(loaded, surface, surface, NOTHING, "ours")


@pytest.mark.parametrize("blocks", [(), ("data: [DONE]\n\n",)])
async def test_a_stream_that_ends_before_its_first_chunk_is_unavailable(
    blocks: tuple[str, ...], imported: None
) -> None:
    for stream in (engine(*blocks).stream_chat({}), engine(*blocks).stream_complete({})):
        with pytest.raises(Unavailable, match="before it began"):
            await anext(stream)


async def test_events_pass_through_untouched(imported: None) -> None:
    blocks = ['data: {"choices": []}\n\n', "data: [DONE]\n\n"]
    assert [event async for event in engine(*blocks).stream_chat({})] == blocks


async def test_each_owner_has_a_salt_that_only_this_engine_can_make(imported: None) -> None:
    seen: list[dict[str, Any]] = []

    async def answer(request: dict[str, Any], _raw: None) -> Any:
        seen.append(request)
        return types.SimpleNamespace(model_dump=lambda **_: {})

    loaded = types.SimpleNamespace(model_config=types.SimpleNamespace(max_model_len=64))
    surface = _Surface(dict, answer)
    for _ in range(2):
        engine = VllmEngine(loaded, surface, surface, NOTHING, "ours")
        for owner in ("alice", "alice", "bob"):
            await engine.chat({"cache_salt": owner})
        await engine.complete({"cache_salt": "bob"})
        await engine.complete({})
    first, again, bobs, completed = (body["cache_salt"] for body in seen[:4])
    assert first == again != bobs == completed
    assert "cache_salt" not in seen[4]
    assert len({body.get("cache_salt") for body in seen}) == 5  # another engine, another secret
    assert not {"alice", "bob"} & {body.get("cache_salt") for body in seen}
