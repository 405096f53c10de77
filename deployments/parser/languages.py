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
_MIN_CONFIDENCE: Final = 0.5
# English titles are often detected as Latin. With this bound, 9 of 11,426 abstracts of one line
# were misdetected.
_SHORT_CHARS: Final = 100
_MIN_CONFIDENCE_OF_SHORT: Final = 0.9
# Languages of the detector that share the stemmer of another; "zxx" means no language, as in code.
_STEMMED_AS: Final = {"arz": "ar", "ary": "ar", "nn": "no", "wuu": "zh", "yue": "zh", "zxx": ""}


def language_of(chunks: Sequence[Chunk]) -> str:
    """Return the ISO 639 code of a document's main language; empty if the detector is not sure.

    Takes some milliseconds; the first call loads the model, which takes most of a second.
    """
    sample = chunks[:: -(-len(chunks) // _SAMPLES) or 1]
    text = "\n".join(chunk.text[:_SAMPLE_CHARS] for chunk in sample)
    language, confidence = _identifier().classify(text)
    short = len(text) < _SHORT_CHARS and text.isascii()
    least = _MIN_CONFIDENCE_OF_SHORT if short else _MIN_CONFIDENCE
    return _STEMMED_AS.get(language, language) if confidence >= least else ""


@cache
def _identifier() -> LanguageIdentifier:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
