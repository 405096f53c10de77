"""Fingerprints of models: equal for equal weights, wherever these were loaded from."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from deployments.model_source import is_package, locate, resolve, revision_of

if TYPE_CHECKING:
    from collections.abc import Iterable

_BLOCK_BYTES = 1 << 20


def fingerprint_of(source: str, data_dir: Path) -> str:
    """Return a hash of the weights of a model source, as it is installed or cached here.

    That of the file in a package if it is converted, as another release may convert it to other
    bytes. A model of which no weights are found is known by its name and revision.
    """
    if is_package(source) and (found := locate(source)).is_file():
        return _hash_of([found])
    model, revision = resolve(source, data_dir), revision_of(source)
    folder = Path(model)
    weights = _weights(folder if folder.is_dir() else _cached(model, revision))
    return _hash_of(weights) if weights else sha256(source.encode()).hexdigest()


def _cached(model: str, revision: str | None) -> Path | None:
    """Return the folder in which the library has cached a model of the hub."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(model, revision=revision, local_files_only=True))
    except LocalEntryNotFoundError:
        return None


def _weights(folder: Path | None) -> list[Path]:
    if folder is None:
        return []
    return sorted(folder.rglob("*.safetensors")) or sorted(folder.rglob("*.bin"))


def _hash_of(files: Iterable[Path]) -> str:
    digest = sha256()
    for path in files:
        with path.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
    return digest.hexdigest()
