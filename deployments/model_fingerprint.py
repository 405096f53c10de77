"""Fingerprints of embedding models: equal for equal files, wherever these were loaded from."""

from __future__ import annotations

import re
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from deployments.model_source import is_package, locate, resolve, revision_of

if TYPE_CHECKING:
    from collections.abc import Iterable

_BLOCK_BYTES = 1 << 20
_MODULE = re.compile(r"\d+_\w+")  # a folder of sentence-transformers, such as 1_Pooling
_DESCRIPTIONS = ("modules.json", "sentence_bert_config.json", "tokenizer.json", "vocab.txt")


def fingerprint_of(source: str, data_dir: Path) -> str:
    """Return a hash of the files of a model source, as it is installed or cached here.

    Hashed are the weights, the tokenizer and the configuration of the pooling. If a package holds
    the model as one file, which is converted before use, that file is hashed: another release may
    convert it differently. If no weights are found, name and revision are hashed.
    """
    if is_package(source) and (found := locate(source)).is_file():
        return _hash_of([found])
    model, revision = resolve(source, data_dir), revision_of(source)
    folder = Path(model)
    files = _files(folder if folder.is_dir() else _cached(model, revision))
    return _hash_of(files) if files else sha256(source.encode()).hexdigest()


def _cached(model: str, revision: str | None) -> Path | None:
    """Return the folder in which the library has cached a model of the hub."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(model, revision=revision, local_files_only=True))
    except LocalEntryNotFoundError:
        return None


def _files(folder: Path | None) -> list[Path]:
    """Return the files that make the vectors what they are; none if there are no weights.

    A folder may have others, such as the same weights in other formats, or checkpoints.
    """
    if folder is None:
        return []
    folders = [folder, *(each for each in sorted(folder.iterdir()) if _MODULE.match(each.name))]
    weights = [file for each in folders for file in sorted(each.glob("*.safetensors"))]
    weights = weights or sorted(folder.glob("pytorch_model*.bin"))
    if not weights:
        return []
    described = [folder / name for name in _DESCRIPTIONS]
    described += [each / "config.json" for each in folders[1:]]
    return weights + [file for file in described if file.is_file()]


def _hash_of(files: Iterable[Path]) -> str:
    digest = sha256()
    for path in files:
        with path.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
    return digest.hexdigest()
