"""Cost of a job in CPU seconds: the estimate before it starts, and its measured parts."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING

from deployments.media_types import IMAGES, SUFFIXES, Format
from deployments.types import ImportSpec, IngestSpec, ResponseSpec, ZipSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deployments.types import Chunk, JobSpec

SHORT_JOB_S = 2.0
"""A job that is estimated to take longer is a long one."""
SHORT_JOB_CHUNKS = 300
"""A document of more chunks is a long one."""

_CHUNK_S = 0.008  # to embed and store it, by the small model on one core
_CHUNK_TOKENS = 90  # of such a chunk; longer ones cost in proportion
_FILE_S = 0.03
# CPU seconds to parse and embed a byte; a wrong guess costs a short file a second start.
_TEXT_BYTE_S = 20e-6
_PACKAGE_BYTE_S = _TEXT_BYTE_S / 5
_FORMAT_BYTE_S = {
    Format.PDF: 10e-6,
    Format.HTML: 10e-6,
    **dict.fromkeys((Format.DOCX, Format.PPTX, Format.XLSX, Format.XLSB), _PACKAGE_BYTE_S),
    **dict.fromkeys((Format.ODT, Format.ODS, Format.ODP), _PACKAGE_BYTE_S),
    **dict.fromkeys((Format.EPUB, Format.ZIP), _PACKAGE_BYTE_S),
}
_BYTE_S = {
    suffix: byte_s for kind, byte_s in _FORMAT_BYTE_S.items() for suffix in SUFFIXES[kind].split()
}
_IMAGES = frozenset(suffix for kind in IMAGES for suffix in SUFFIXES[kind].split())
_IMAGE_S = 5.0  # OCR is never short
_ARCHIVE_BYTE_S = 2e-6  # with vectors; steps that embed are charged for it
_UNPACKED_BYTE_S = 0.2e-6  # the jobs of its files are charged for the rest
_RESPONSE_S = 5.0  # of the language model, whose own queue shares it among owners
_MOST_S = 120.0  # estimated: large files are mostly pictures
_PIXEL_STEP_S = 2e-6  # by the small model of this repository


def chunks_s(chunks: Sequence[Chunk]) -> float:
    """Return what it costs to embed and store chunks."""
    return sum(max(1.0, chunk.tokens / _CHUNK_TOKENS) for chunk in chunks) * _CHUNK_S


def estimate_s(spec: JobSpec) -> float:
    """Estimate what a job costs, from the size and kind of its file or its pictures."""
    if isinstance(spec, IngestSpec):
        suffix = PurePath(spec.filename).suffix.lower()
        byte_s = _BYTE_S.get(suffix, _TEXT_BYTE_S)
        least_s = _IMAGE_S if suffix in _IMAGES else _FILE_S
        return least_s + min(spec.size_bytes * byte_s, _MOST_S)
    if isinstance(spec, ImportSpec):
        return _FILE_S + min(spec.size_bytes * _ARCHIVE_BYTE_S, _MOST_S)
    if isinstance(spec, ZipSpec):
        return _FILE_S + spec.size_bytes * _UNPACKED_BYTE_S
    if isinstance(spec, ResponseSpec):
        return _RESPONSE_S
    return spec.count * spec.steps * spec.width * spec.height * _PIXEL_STEP_S
