"""Archives of collections, whole or spoiled, built by the standard library's `tarfile`."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np

from deployments.archives.tape import PART_BYTES
from serve_app.testing.documents import FAKE_INDEX

TIME = 1_795_546_410.0


@dataclass
class BuiltDocument:
    """A document of an archive; `record` overrides fields of its document.json."""

    number: int = 1
    chunks: list[dict[str, Any]] = field(
        default_factory=lambda: [
            {"number": 0, "text": "Snow is white.", "tokens": 4},
            {"number": 1, "text": "Grass is green.", "tokens": 4},
        ]
    )
    vectors: bytes | None = None
    content: bytes | None = b"Snow is white.\n\nGrass is green."
    record: dict[str, Any] = field(default_factory=dict)
    lines: bytes | None = None

    @property
    def id(self) -> str:
        return f"doc_{self.number:032x}"

    def members(self) -> list[tuple[str, bytes]]:
        lines = self.lines
        if lines is None:
            lines = b"".join(json.dumps(chunk).encode() + b"\n" for chunk in self.chunks)
        record: dict[str, Any] = {
            "id": self.id,
            "name": f"file-{self.number}.txt",
            "title": "A title",
            "media_type": "text/plain",
            "size_bytes": 31 if self.content is None else len(self.content),
            "created": TIME,
            "version": 1,
            "attributes": {"year": 2026},
            "chunks": part(lines) | {"count": len(self.chunks)},
        }
        files = [("chunks.jsonl", lines)]
        if self.vectors is not None:
            dimensions = len(self.vectors) // 4 // max(1, len(self.chunks))
            record["vectors"] = part(self.vectors) | {"dimensions": dimensions}
            files.append(("vectors.f32", self.vectors))
        if self.content is not None:
            record["content"] = part(self.content)
            files.append(("content", self.content))
        record |= self.record
        folder = f"documents/{self.id}"
        return [
            (f"{folder}/document.json", json.dumps(record).encode()),
            *((f"{folder}/{name}", data) for name, data in files),
        ]


def part(data: bytes) -> dict[str, Any]:
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def unit_vectors(rows: int = 2) -> bytes:
    """Return vectors of the fake embedding model, which have one dimension."""
    return np.ones((rows, 1), dtype="<f4").tobytes()


def members_of(
    documents: Sequence[BuiltDocument], *, vectors: bool = False, **manifest: Any
) -> list[tuple[str, bytes]]:
    """Return the members of an archive in order; `manifest` overrides fields."""
    fields = {
        "format": "genserve-collection",
        "version": "1.0",
        "created": TIME,
        "name": "reports",
        "metadata": {"team": "north"},
        "embedding": {"model": "fake-embedder", "fingerprint": FAKE_INDEX},
        "vectors": vectors,
    }
    return [
        ("manifest.json", json.dumps(fields | manifest).encode()),
        *(member for document in documents for member in document.members()),
        ("end.json", json.dumps({"documents": len(documents)}).encode()),
    ]


def archive(
    members: Sequence[tuple[str, bytes]],
    change: Callable[[tarfile.TarInfo], object] | None = None,
    tar_format: int = tarfile.USTAR_FORMAT,
) -> bytes:
    """Return a tar file; `change` is called with each header."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tar_format) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            if change is not None:
                change(info)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


async def sent(http: httpx.AsyncClient, import_id: str, data: bytes) -> httpx.Response | None:
    """Send an archive in parts; return the answer that refuses one."""
    for number, start in enumerate(range(0, len(data), PART_BYTES)):
        answer = await http.put(
            f"/v1/imports/{import_id}/parts/{number}", content=data[start : start + PART_BYTES]
        )
        if answer.status_code != 200:
            return answer
    return None


async def begun(
    http: httpx.AsyncClient, data: bytes, import_id: str = "imp_" + "a" * 32, **more: Any
) -> httpx.Response:
    """Send an archive and begin its import; return the answer, or the one that refuses a part."""
    refused = await sent(http, import_id, data)
    if refused is not None:
        return refused
    body = {"import_id": import_id, "size_bytes": len(data)} | more
    return await http.post("/v1/imports", json=body)
