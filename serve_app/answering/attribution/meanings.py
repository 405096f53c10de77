"""Compare sentences by their meaning: by vectors, and by the cross-encoder if there is one."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

import numpy as np

from serve_app.answering.attribution.support import Candidate, Support

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from deployments.interfaces import Embedder

_MIN_STRENGTH: Final = 0.6
_WORDS_WEIGHT: Final = 0.35  # of the share of common words in a strength
_CACHED_TEXTS: Final = 256  # 0.4 MB with vectors of 384 numbers

# Their similarities are the model's similarity of unrelated sentences.
_UNRELATED: Final = (
    "The bakery on the corner opens before dawn.",
    "Sound travels faster in water than in air.",
    "She signed the contract after a long negotiation.",
    "Glaciers carved the valley thousands of years ago.",
    "The second violin entered two bars too late.",
)


class Meanings:
    """Decides where words do not; caches vectors, as answers share sources."""

    def __init__(self, embedder: Embedder, *, reranks: bool) -> None:
        self._embedder = embedder
        self._reranks = reranks
        self._vectors: OrderedDict[tuple[str, str], NDArray[np.float32]] = OrderedDict()

    async def supports(
        self, claims: Sequence[tuple[str, Sequence[Candidate]]]
    ) -> list[list[Support]]:
        """Return, for each sentence, the candidates that support it.

        All of them are embedded by one call. Raises a ServiceError if that fails.
        """
        texts = [
            text for claim, candidates in claims for text in (claim, *(c.text for c in candidates))
        ]
        vectors = await self._embedded([*_UNRELATED, *texts])
        unrelated = np.stack([vectors[text] for text in _UNRELATED])
        pairs = unrelated @ unrelated.T
        baseline = float(pairs[np.triu_indices(len(pairs), 1)].mean())
        found = []
        for claim, candidates in claims:
            alike = [float(vectors[claim] @ vectors[one.text]) for one in candidates]
            scores = [_scaled(score, baseline, 1.0) for score in alike]
            if self._reranks:
                ranked = await self._reranked(claim, candidates)
                scores = [(a + b) / 2 for a, b in zip(scores, ranked, strict=True)]
            found.append(_supporting(candidates, scores))
        return found

    async def _reranked(self, claim: str, candidates: Sequence[Candidate]) -> list[float]:
        """Score by the cross-encoder, from 0, an unrelated sentence, to 1, the claim itself."""
        texts = [*(one.text for one in candidates), _UNRELATED[0], claim]
        *scores, low, high = (await self._embedder.rerank(claim, texts)).tolist()
        return [_scaled(score, low, high) for score in scores]

    async def _embedded(self, texts: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        fingerprint = (await self._embedder.model()).fingerprint
        known = {
            text: vector
            for text in dict.fromkeys(texts)
            if (vector := self._vectors.get((fingerprint, text))) is not None
        }
        new = [text for text in dict.fromkeys(texts) if text not in known]
        if new:
            vectors = await self._embedder.embed(new, "passage", fingerprint)
            known |= zip(new, vectors, strict=True)
        for text, vector in known.items():
            self._vectors[fingerprint, text] = vector
            self._vectors.move_to_end((fingerprint, text))
        while len(self._vectors) > _CACHED_TEXTS:
            self._vectors.popitem(last=False)
        return known


def _supporting(candidates: Sequence[Candidate], scores: Sequence[float]) -> list[Support]:
    strengths = (
        _WORDS_WEIGHT * one.share + (1 - _WORDS_WEIGHT) * score
        for one, score in zip(candidates, scores, strict=True)
    )
    return [
        Support(one.source, round(strength, 2), one.start, one.end)
        for one, strength in zip(candidates, strengths, strict=True)
        if strength >= _MIN_STRENGTH
    ]


def _scaled(value: float, low: float, high: float) -> float:
    return min(1.0, max(0.0, (value - low) / (high - low))) if high > low else 0.0
