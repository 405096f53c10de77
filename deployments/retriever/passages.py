"""Make passages of ranked chunks.

Small chunks are found most precisely, but hold little text. So a chunk is extended by its
neighbours as far as there is room, and adjoining chunks become one passage. Measurements for the
constants: `tests/bench/RESULTS.md`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import ceil
from typing import TYPE_CHECKING, TypeAlias

from deployments.retriever.ranking import DocumentKey, document_key
from deployments.types import Passage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deployments.retriever.ranking import FoundDocument
    from deployments.retriever.vector_store import Candidate, StoredChunk

Place: TypeAlias = tuple[DocumentKey, int]  # of a chunk in its document

_MAX_PASSAGE_CHARS = 1500
# In a search for documents with at most this many characters, the best passages have all the room,
# whatever their documents; with more, a third is reserved for the best chunk of each document.
# hit@3 of XQuAD with 1,500 characters is 0.990 in English and 0.941 in German; with a quarter
# reserved it is 0.987 and 0.920.
_LITTLE_ROOM_CHARS = 3000
_REACH = 5  # chunks on either side by which a passage may be extended


def neighbourhood(
    best: Sequence[Candidate], known: Sequence[Candidate], *, limit: int, max_chars: int
) -> list[tuple[StoredChunk, int]]:
    """Return the places of the chunks around the best ones that are not known yet.

    On each side, returns as many as fit into a passage if they are as long as the known ones.
    """
    had = {_place(one.stored) for one in known}
    usual = sum(_chars(one.stored) for one in known) / max(len(known), 1)
    reach = min(_REACH, ceil(_longest(limit, max_chars) / max(usual, 1)))
    wanted: dict[Place, tuple[StoredChunk, int]] = {}
    for one in best:
        key, number, count = (
            document_key(one.stored),
            one.stored.chunk.number,
            one.stored.document.chunks,
        )
        for near in range(max(0, number - reach), min(count, number + reach + 1)):
            place = (key, near)
            if place not in had:
                wanted[place] = (one.stored, near)
    return list(wanted.values())


def passages(
    best: Sequence[Candidate],
    known: Sequence[Candidate],
    around: Sequence[StoredChunk],
    *,
    limit: int,
    max_chars: int,
) -> list[Passage]:
    """Make passages of the best chunks, in their order, and of the chunks around them.

    Args:
        best: the chunks that passages grow from, best first.
        known: all candidates, whose scores say in which direction to grow.
        around: chunks that were not found themselves.
        limit: the most passages.
        max_chars: the most characters in all. The first may take half of them, the next half
            of what is left, and so on; the last one all. A chunk beside a passage joins it. A
            chunk that alone is longer is cut if it is the best one, or else left out.
    """
    chunks = {_place(one): one for one in (*around, *(one.stored for one in known))}
    scores = {_place(one.stored): one.score for one in known}
    likeness = {_place(one.stored): one.cosines[0] for one in known}
    longest = _longest(limit, max_chars)
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


def _longest(limit: int, max_chars: int) -> int:
    """Return the most characters of a passage, if there are several."""
    return max(_MAX_PASSAGE_CHARS, max_chars // limit)


def passages_of_documents(
    best: Sequence[FoundDocument],
    chosen: Sequence[Candidate],
    known: Sequence[Candidate],
    around: Sequence[StoredChunk],
    *,
    max_chars: int,
) -> list[Passage]:
    """Make passages of documents, grouped by document; see `passages`.

    A document for which there is no room is left out.

    Args:
        best: the documents, in order; at least one.
        chosen: the chunks of these that passages grow from, best first.
        known: all candidates.
        around: chunks that were not found themselves.
        max_chars: the most characters in all.
    """
    reserved = _reserved_chars(best, max_chars)
    made = passages(chosen, known, around, limit=len(best), max_chars=max_chars - reserved)
    groups: dict[DocumentKey, list[Passage]] = {
        document_key(document.candidates[0].stored): [] for document in best
    }
    for passage in made:
        groups[passage.collection, passage.document_id].append(passage)
    left = max_chars - sum(len(passage.text) for passage in made)
    for document in best:
        first = document.candidates[0]
        if not groups[document_key(first.stored)] and len(first.stored.chunk.text) <= left:
            more = passages([first], known, (), limit=1, max_chars=len(first.stored.chunk.text))
            groups[document_key(first.stored)] += more
            left -= sum(len(passage.text) for passage in more)
    return [passage for group in groups.values() for passage in group]


def _reserved_chars(best: Sequence[FoundDocument], max_chars: int) -> int:
    """Return the characters reserved for the best chunk of each document but the first."""
    reserved = 0
    if max_chars > _LITTLE_ROOM_CHARS:
        for document in best[1:]:
            chars = len(document.candidates[0].stored.chunk.text)
            if reserved + chars > max_chars // 3:
                break
            reserved += chars
    return reserved


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
        """Return the places of the chunks before and after."""
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
        """Add the better neighbour repeatedly; the following one, if neither was found."""
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
    """Truncate a chunk, at a space if there is one."""
    text = one.chunk.text[: max_chars + 1]
    return replace(one, chunk=replace(one.chunk, text=text.rpartition(" ")[0] or text[:max_chars]))


def _place(one: StoredChunk) -> Place:
    return document_key(one), one.chunk.number


def _chars(one: StoredChunk) -> int:
    return len(one.chunk.separator) + len(one.chunk.text)
