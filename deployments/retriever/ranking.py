"""From chunks that were found to passages: pure, and the same whatever the store.

Small chunks are found most precisely and say least. So their surroundings raise their rank, a
chunk brings its neighbours when there is room, and what touches becomes one passage.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from heapq import nlargest
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from deployments.retriever.points import RRF_K
from deployments.types import Passage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from deployments.retriever.vector_store import Candidate, StoredChunk

DocumentKey: TypeAlias = tuple[str, str]  # collection and id
Place: TypeAlias = tuple[DocumentKey, int]  # of a chunk in its document

_NEIGHBOUR_WEIGHT = 0.1
_DOCUMENT_WEIGHT, _DOCUMENT_BEST = 0.1, 5
_SAME = 0.97  # cosine similarity from which two chunks may say the same,
_SAME_WORDS = 0.8  # and the share of all their words that both then have
_MAX_PASSAGE_CHARS = 1500
_REACH = 5  # chunks on either side that a passage may be given


def raised_by_company(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Add to each score a part of its neighbours' and of the best of its document.

    An answer seldom stands alone: its surroundings are about the same thing, and so is its
    document, of which only a few are counted, so that long ones have no advantage.
    """
    scores = {_place(one.stored): one.score for one in candidates}
    documents = defaultdict[DocumentKey, list[float]](list)
    for one in candidates:
        documents[document_key(one.stored)].append(one.score)
    best = {name: sum(nlargest(_DOCUMENT_BEST, some)) for name, some in documents.items()}
    raised = [
        replace(
            one,
            score=one.score
            + _NEIGHBOUR_WEIGHT * sum(_beside(one.stored, scores))
            + _DOCUMENT_WEIGHT * best[document_key(one.stored)],
        )
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
        to_best = vectors @ vectors[best]
        likeness = np.maximum(likeness, to_best)
        for near in np.flatnonzero((to_best >= _SAME) & np.isfinite(relevance)):
            if _same_words(candidates[best], candidates[near]):
                relevance[near] = -np.inf
    return chosen


def _same_words(one: Candidate, other: Candidate) -> bool:
    """Tell whether two texts share most of their words, in whatever order.

    Their vectors alone do not say: those of the lines of a timetable are nearly the same too.
    """
    words, others = (set(each.stored.chunk.text.casefold().split()) for each in (one, other))
    return len(words & others) >= _SAME_WORDS * len(words | others)


def neighbourhood(
    best: Sequence[Candidate], known: Sequence[Candidate]
) -> list[tuple[StoredChunk, int]]:
    """Name the chunks around the best ones that are not known yet."""
    had = {_place(one.stored) for one in known}
    wanted: dict[Place, tuple[StoredChunk, int]] = {}
    for one in best:
        number, count = one.stored.chunk.number, one.stored.document.chunks
        for near in range(max(0, number - _REACH), min(count, number + _REACH + 1)):
            place = (document_key(one.stored), near)
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
            of what is left, and so on; the last one all. A chunk beside a passage joins it. A
            chunk that alone is longer is cut if it is the best one, or else left out.
    """
    chunks = {_place(one): one for one in (*around, *(one.stored for one in known))}
    scores = {_place(one.stored): one.score for one in known}
    likeness = {_place(one.stored): float(one.dense @ query) for one in known}
    longest = max(_MAX_PASSAGE_CHARS, max_chars // limit)
    grown: list[_Stretch] = []
    for one in best:
        left = max_chars - sum(stretch.chars for stretch in grown)
        if not grown and len(one.stored.chunk.text) > left > 0:
            return [_Stretch([_cut(one.stored, left)]).passage(likeness)]
        if any(stretch.holds(one.stored) for stretch in grown) or len(one.stored.chunk.text) > left:
            continue
        beside = next((stretch for stretch in grown if stretch.touches(one.stored)), None)
        if beside and _chars(one.stored) <= min(left, longest - beside.chars):
            beside.take(one.stored)
            continue
        if len(grown) == limit:
            break
        room = left if len(grown) == limit - 1 else max(left // 2, len(one.stored.chunk.text))
        taken = {place for stretch in grown for place in stretch.places()}
        stretch = _Stretch([one.stored])
        stretch.grow(chunks, scores, taken, min(room, longest))
        grown.append(stretch)
    return [stretch.passage(likeness) for stretch in grown]


@dataclass(slots=True)
class _Stretch:
    """Neighbouring chunks of one document, in order."""

    chunks: list[StoredChunk] = field(default_factory=list)

    @property
    def chars(self) -> int:
        return sum(_chars(one) for one in self.chunks)

    def places(self) -> list[Place]:
        return [_place(one) for one in self.chunks]

    def ends(self) -> tuple[Place, Place]:
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
        chunks: dict[Place, StoredChunk],
        scores: dict[Place, float],
        taken: set[Place],
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

    def passage(self, likeness: dict[Place, float]) -> Passage:
        first, last = self.chunks[0].chunk, self.chunks[-1].chunk
        document = self.chunks[0].document
        rest = (
            one.chunk.separator + one.chunk.text[one.chunk.overlap_chars :]
            for one in self.chunks[1:]
        )
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
            collection=document.collection,
            attributes=document.attributes,
            ocr=any(one.chunk.ocr for one in self.chunks),
            version=document.version,
            media_type=document.media_type,
        )


def _cut(one: StoredChunk, max_chars: int) -> StoredChunk:
    """Keep the beginning, up to the last space that fits if there is one."""
    text = one.chunk.text[: max_chars + 1]
    return replace(one, chunk=replace(one.chunk, text=text.rpartition(" ")[0] or text[:max_chars]))


def document_key(one: StoredChunk) -> DocumentKey:
    """Return what tells the document of a chunk from others, also of other collections."""
    return one.document.collection, one.document.id


def _place(one: StoredChunk) -> Place:
    return document_key(one), one.chunk.number


def _chars(one: StoredChunk) -> int:
    return len(one.chunk.separator) + len(one.chunk.text)


def _beside(one: StoredChunk, scores: dict[Place, float]) -> Iterator[float]:
    document, number = _place(one)
    for near in (number - 1, number + 1):
        yield scores.get((document, near), 0.0)
