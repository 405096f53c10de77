"""From chunks that were found to passages: pure, and the same whatever the store.

Small chunks are found most precisely and say least. So neighbours raise each other's rank, a
chunk brings its neighbours when there is room, and what touches becomes one passage.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from deployments.retriever.points import RRF_K
from deployments.types import Passage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from deployments.retriever.store import Candidate, StoredChunk

_NEIGHBOUR_WEIGHT = 0.2
_SAME = 0.97  # cosine similarity from which two chunks say the same
_MAX_PASSAGE_CHARS = 1500
_REACH = 5  # chunks on either side that a passage may be given


def raised_by_neighbours(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Add to each score a part of its neighbours': an answer seldom stands alone."""
    scores = {_place(one.stored): one.score for one in candidates}
    raised = [
        replace(one, score=one.score + _NEIGHBOUR_WEIGHT * sum(_beside(one.stored, scores)))
        for one in candidates
    ]
    return sorted(raised, key=lambda one: one.score, reverse=True)


def in_order_of(scores: NDArray[np.float32], candidates: Sequence[Candidate]) -> list[Candidate]:
    """Put the first len(scores) candidates into a reranker's order; the others stay behind."""
    order = [*np.argsort(-scores, kind="stable"), *range(len(scores), len(candidates))]
    return [
        replace(candidates[index], score=1 / (RRF_K + rank)) for rank, index in enumerate(order)
    ]


def diverse(candidates: Sequence[Candidate], diversity: float, most: int) -> list[Candidate]:
    """Choose by maximal marginal relevance, and never what was as good as said before.

    Carbonell and Goldstein, 1998. `diversity` from 0 to 1 is one minus their lambda; relevance
    is the score as a share of the best one.
    """
    chosen: list[Candidate] = []
    if not candidates:
        return chosen
    vectors = np.stack([one.dense for one in candidates])
    scores = np.array([one.score for one in candidates])
    relevance = (1 - diversity) * scores / scores.max()
    likeness = np.zeros(len(candidates))
    while len(chosen) < most:
        best = int(np.argmax(relevance - diversity * likeness))
        if not np.isfinite(relevance[best]):
            break
        chosen.append(candidates[best])
        relevance[best] = -np.inf
        likeness = np.maximum(likeness, vectors @ vectors[best])
        relevance[likeness >= _SAME] = -np.inf
    return chosen


def neighbourhood(
    best: Sequence[Candidate], known: Sequence[Candidate]
) -> list[tuple[StoredChunk, int]]:
    """Name the chunks around the best ones that are not known yet."""
    had = {_place(one.stored) for one in known}
    wanted: dict[tuple[str, int], tuple[StoredChunk, int]] = {}
    for one in best:
        number, count = one.stored.chunk.number, one.stored.document.chunks
        for near in range(max(0, number - _REACH), min(count, number + _REACH + 1)):
            place = (one.stored.document.id, near)
            if place not in had:
                wanted[place] = (one.stored, near)
    return list(wanted.values())


def passages(  # noqa: PLR0913 - what there is, and its bounds
    best: Sequence[Candidate],
    known: Sequence[Candidate],
    around: Sequence[StoredChunk],
    *,
    query: NDArray[np.float32],
    limit: int,
    max_chars: int,
) -> list[Passage]:
    """Make passages of the best chunks, in their order, and of what stands around them.

    Args:
        best: the chunks that passages grow from, best first.
        known: all candidates, whose scores say in which direction to grow.
        around: chunks that were not found themselves.
        query: float32 of shape (dimensions,), of unit length.
        limit: the most passages.
        max_chars: the most characters in all. The first may take half of them, the next half
            of what is left, and so on; the last one all. A chunk beside a passage joins it.
    """
    chunks = {_place(one): one for one in (*around, *(one.stored for one in known))}
    scores = {_place(one.stored): one.score for one in known}
    grown: list[_Stretch] = []
    for one in best:
        left = max_chars - sum(stretch.chars for stretch in grown)
        if any(stretch.holds(one.stored) for stretch in grown) or len(one.stored.chunk.text) > left:
            continue
        beside = next((stretch for stretch in grown if stretch.touches(one.stored)), None)
        if beside and beside.chars + _chars(one.stored) <= min(_MAX_PASSAGE_CHARS, left):
            beside.take(one.stored)
            continue
        if len(grown) == limit:
            break
        room = left if len(grown) == limit - 1 else max(left // 2, len(one.stored.chunk.text))
        taken = {place for stretch in grown for place in stretch.places()}
        stretch = _Stretch([one.stored])
        stretch.grow(chunks, scores, taken, min(room, _MAX_PASSAGE_CHARS))
        grown.append(stretch)
    likeness = {_place(one.stored): float(one.dense @ query) for one in known}
    return [stretch.passage(likeness) for stretch in grown]


@dataclass(slots=True)
class _Stretch:
    """Neighbouring chunks of one document, in order."""

    chunks: list[StoredChunk] = field(default_factory=list)

    @property
    def chars(self) -> int:
        return sum(_chars(one) for one in self.chunks)

    def places(self) -> list[tuple[str, int]]:
        return [_place(one) for one in self.chunks]

    def ends(self) -> tuple[tuple[str, int], tuple[str, int]]:
        """Where a chunk would touch: before and after."""
        document, first = _place(self.chunks[0])
        return (document, first - 1), (document, first + len(self.chunks))

    def holds(self, one: StoredChunk) -> bool:
        return _place(one) in self.places()

    def touches(self, one: StoredChunk) -> bool:
        return _place(one) in self.ends()

    def take(self, one: StoredChunk) -> None:
        self.chunks.append(one)
        self.chunks.sort(key=lambda chunk: chunk.chunk.number)

    def grow(
        self,
        chunks: dict[tuple[str, int], StoredChunk],
        scores: dict[tuple[str, int], float],
        taken: set[tuple[str, int]],
        room: int,
    ) -> None:
        """Take the better neighbour again and again; what follows, if neither was found."""
        while True:
            near = [
                chunks[place]
                for place in reversed(self.ends())
                if place in chunks and place not in taken
            ]
            fitting = [one for one in near if self.chars + _chars(one) <= room]
            if not fitting:
                return
            self.take(max(fitting, key=lambda one: scores.get(_place(one), 0.0)))

    def passage(self, likeness: dict[tuple[str, int], float]) -> Passage:
        first, last = self.chunks[0].chunk, self.chunks[-1].chunk
        document = self.chunks[0].document
        rest = (one.chunk.separator + one.chunk.text for one in self.chunks[1:])
        return Passage(
            document_id=document.id,
            filename=document.filename,
            title=document.title,
            section=first.section,
            first=first.number,
            last=last.number,
            text=first.text + "".join(rest),
            page_start=first.page_start,
            page_end=last.page_end,
            score=max(likeness[place] for place in self.places() if place in likeness),
        )


def _place(one: StoredChunk) -> tuple[str, int]:
    return one.document.id, one.chunk.number


def _chars(one: StoredChunk) -> int:
    return len(one.chunk.separator) + len(one.chunk.text)


def _beside(one: StoredChunk, scores: dict[tuple[str, int], float]) -> Iterator[float]:
    document, number = _place(one)
    for near in (number - 1, number + 1):
        yield scores.get((document, near), 0.0)
