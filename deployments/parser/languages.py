"""The language of a document, detected in its chunks, without a network."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from py3langid.langid import LanguageIdentifier

    from deployments.types import Chunk

_SAMPLES: Final = 8
_SAMPLE_CHARS: Final = 500
_LEAST_CONFIDENCE: Final = 0.5
# Titles in English pass for Latin: of 11,426 abstracts of one line, 9 were misdetected.
_SHORT_CHARS: Final = 100
_LEAST_CONFIDENCE_OF_SHORT: Final = 0.9
# What the model tells apart and is written by the same rules; "zxx" is no language, such as code.
_WRITTEN_AS: Final = {"arz": "ar", "ary": "ar", "nn": "no", "wuu": "zh", "yue": "zh", "zxx": ""}


def language_of(chunks: Sequence[Chunk]) -> str:
    """Return the language of most of a document, an ISO 639 code; empty if it is not clear.

    Takes some milliseconds, but most of a second the first time, to load the model.
    """
    some = chunks[:: -(-len(chunks) // _SAMPLES) or 1]
    text = "\n".join(chunk.text[:_SAMPLE_CHARS] for chunk in some)
    language, confidence = _identifier().classify(text)
    short = len(text) < _SHORT_CHARS and text.isascii()
    least = _LEAST_CONFIDENCE_OF_SHORT if short else _LEAST_CONFIDENCE
    return _WRITTEN_AS.get(language, language) if confidence >= least else ""


@cache
def _identifier() -> LanguageIdentifier:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
