"""Rank candidate chunks and documents, and make passages of them; independent of the store.

Small chunks are found most precisely, but hold little text. So a chunk is extended by its
neighbours as far as there is room, and adjoining chunks become one passage. Measurements for the
constants: `tests/bench/RESULTS.md`.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from deployments.types import Passage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from deployments.retriever.vector_store import Candidate, StoredChunk

DocumentKey: TypeAlias = tuple[str, str]  # collection and id
Place: TypeAlias = tuple[DocumentKey, int]  # of a chunk in its document

# The weight of meaning in a score, for passages and for documents; words have the rest.
_MEANING, _MEANING_OF_DOCUMENTS = 0.6, 0.7
# Scores of documents of a large collection are compared in standard deviations: nDCG@10 is 6 %
# above the best baseline on CISI and 2.6 % on NPL, and 3.4 % and 1.7 % with shares of the best. In
# small collections shares are better: hit@3 of XQuAD in Hindi is 0.892 with them, and 0.876.
_MEANING_IN_LARGE = 0.64
# The best similarity has the full share 1 only if it is at least this much above that of unrelated
# texts.
_FULL_RISE = 0.5
# Meaning has its full weight if words find a fifth of its candidates, too, and a quarter of it if
# they find none.
_FULL_AGREEMENT, _LEAST_WEIGHT = 0.2, 0.25
# The weight also depends on the spread: the relative drop of the scores by meaning, over the square
# of that by words. It is full from the first bound on and 0 below the second. Both rules: hit@3 of
# XQuAD is 0.980 in Chinese and 0.938 in Thai; without this one 0.971 and 0.925. The square spares
# long questions such as those of CISI, many words of which occur in many texts.
_FULL_SPREAD, _NO_SPREAD = 1.5, 0.8
_PEAK_RANK = 5  # from 0: the drop by words is measured from the first candidate to this one
# Each chunk of a document counts half as much as the one before: nDCG@10 rises by 3 % on CISI,
# whose abstracts have 2.4 chunks, and is the same on NPL, whose abstracts have one.
_FURTHER_CHUNK = 0.5
_SAME_WORDS = 0.8  # two chunks with this share of common words are near-duplicates
_MAX_PASSAGE_CHARS = 1500
# In a search for documents with at most this many characters, the best passages have all the room,
# whatever their documents; with more, a third is reserved for the best chunk of each document.
# hit@3 of XQuAD with 1,500 characters is 0.990 in English and 0.941 in German; with a quarter
# reserved it is 0.987 and 0.920.
_LITTLE_ROOM_CHARS = 3000
_REACH = 5  # chunks on either side by which a passage may be extended


def ranked(
    candidates: Sequence[Candidate],
    unrelated: float,
    limit: int,
    *,
    of_documents: bool = False,
    large: bool = False,
) -> list[Candidate]:
    """Score candidates by meaning and by words, best first.

    Both scores of all candidates are known, so they are added as shares of the best ones. Ranks
    would lose the distances (Bruch, Gai and Ingber, 2023). Scores are averaged over the queries. A
    model that does not know a language finds all texts alike, or finds other texts than words do:
    then words count more.

    Args:
        candidates: in any order.
        unrelated: the mean similarity of unrelated texts.
        limit: how many were looked up by meaning, and how many by words.
        of_documents: whether documents are ranked, not passages.
        large: whether their collection is large.
    """
    if not candidates:
        return []
    cosines = np.array([one.cosines for one in candidates], dtype=np.float64) - unrelated
    bm25 = np.array([one.bm25 for one in candidates], dtype=np.float64)
    if of_documents and large:
        weight, meaning, words = _MEANING_IN_LARGE, _standard(cosines), _standard(bm25)
    else:
        weight = _MEANING_OF_DOCUMENTS if of_documents else _MEANING
        meaning = cosines / np.maximum(cosines.max(axis=0), _FULL_RISE)
        words = bm25 / np.maximum(bm25.max(axis=0), 1e-9)
    of_meaning = weight * _weights(cosines, bm25, limit)
    scores = (of_meaning * meaning + (1 - weight) * words).mean(axis=1)
    order = np.argsort(-scores, kind="stable")
    return [replace(candidates[place], score=float(scores[place])) for place in order]


def _standard(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the standard scores of each column."""
    spread = np.maximum(scores.std(axis=0), 1e-9)
    standard: NDArray[np.float64] = (scores - scores.mean(axis=0)) / spread
    return standard


def _weights(
    cosines: NDArray[np.float64], bm25: NDArray[np.float64], limit: int
) -> NDArray[np.float64]:
    """Return the weight of meaning for each query, from 0 to 1.

    It depends on the agreement of meaning and words, and on the spread of the scores by meaning:
    scores that hardly differ carry little information, in particular if only a few candidates have
    the words.
    """
    both = _found(cosines, limit) & _found(bm25, limit) & (bm25 > 0)
    agreement = both.sum(axis=0) / min(limit, len(cosines)) / _FULL_AGREEMENT
    weights = _LEAST_WEIGHT + (1 - _LEAST_WEIGHT) * np.minimum(agreement, 1)
    spread = _fall(cosines, limit - 1) / np.maximum(_fall(bm25, _PEAK_RANK) ** 2, 1e-9)
    shares = np.clip((spread - _NO_SPREAD) / (_FULL_SPREAD - _NO_SPREAD), 0, 1)
    weighted: NDArray[np.float64] = weights * shares
    return weighted


def _fall(scores: NDArray[np.float64], rank: int) -> NDArray[np.float64]:
    """Return the relative drop from the best score to that at a rank, by each column."""
    best_first = -np.sort(-scores, axis=0)
    best, later = best_first[0], best_first[min(rank, len(scores) - 1)]
    fall: NDArray[np.float64] = np.where(best > 0, (best - later) / np.maximum(best, 1e-9), 0.0)
    return fall


def _found(scores: NDArray[np.float64], limit: int) -> NDArray[np.bool_]:
    """Return which candidates are among the best `limit` by each column."""
    places = np.argsort(np.argsort(-scores, axis=0, kind="stable"), axis=0)
    found: NDArray[np.bool_] = places < limit
    return found


def in_order_of(scores: NDArray[np.float32], candidates: Sequence[Candidate]) -> list[Candidate]:
    """Put the first len(scores) candidates into a reranker's order; the others stay behind."""
    order = [*np.argsort(-scores, kind="stable"), *range(len(scores), len(candidates))]
    return [replace(candidates[place], score=1 / (1 + rank)) for rank, place in enumerate(order)]


@dataclass(frozen=True, slots=True)
class FoundDocument:
    """A document with its candidates, best first; `evidence` is its score by all of them."""

    candidates: Sequence[Candidate]
    evidence: float


def documents(candidates: Sequence[Candidate], limit: int) -> list[FoundDocument]:
    """Group ranked candidates by their documents, those with the best evidence first.

    The evidence is a decaying sum of the scores of its chunks above that of the `limit`-th best
    candidate, so that a long document gains nothing by chunks that match every question.
    """
    if not candidates:
        return []
    least = candidates[min(limit, len(candidates) - 1)].score
    groups: defaultdict[DocumentKey, list[Candidate]] = defaultdict(list)
    for one in candidates:
        groups[document_key(one.stored)].append(one)
    found = [FoundDocument(group, _evidence(group, least)) for group in groups.values()]
    return sorted(found, key=lambda one: one.evidence, reverse=True)


def _evidence(group: Sequence[Candidate], least: float) -> float:
    above = (max(one.score - least, 0.0) for one in group)
    return sum(score * _FURTHER_CHUNK**place for place, score in enumerate(above))


def diverse(candidates: Sequence[Candidate], diversity: float, most: int) -> list[Candidate]:
    """Choose by maximal marginal relevance, without near-duplicates.

    Carbonell and Goldstein, 1998, with the share of common words as the similarity of two texts.
    `diversity` from 0 to 1 is one minus their lambda; relevance is the score as a share of the
    best one.
    """
    chosen: list[Candidate] = []
    if not candidates:
        return chosen
    scores = np.array([one.score for one in candidates])
    relevance = (1 - diversity) * scores / max(scores.max(), 1e-9)
    likeness = np.zeros(len(candidates))
    while len(chosen) < most:
        best = int(np.argmax(relevance - diversity * likeness))
        if not np.isfinite(relevance[best]):
            break
        relevance[best] = -np.inf
        one = candidates[best]
        if any(_common_words(one, other) >= _SAME_WORDS for other in chosen):
            continue
        chosen.append(one)
        if diversity:
            likeness = np.maximum(likeness, [_common_words(one, each) for each in candidates])
    return chosen


def _common_words(one: Candidate, other: Candidate) -> float:
    """Return the share of common words of two texts, in any order."""
    words, others = (set(each.stored.chunk.text.casefold().split()) for each in (one, other))
    return len(words & others) / max(len(words | others), 1)


def neighbourhood(
    best: Sequence[Candidate], known: Sequence[Candidate]
) -> list[tuple[StoredChunk, int]]:
    """Return the places of the chunks around the best ones that are not known yet."""
    had = {_place(one.stored) for one in known}
    wanted: dict[Place, tuple[StoredChunk, int]] = {}
    for one in best:
        number, count = one.stored.chunk.number, one.stored.document.chunks
        for near in range(max(0, number - _REACH), min(count, number + _REACH + 1)):
            place = (document_key(one.stored), near)
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


def document_key(one: StoredChunk) -> DocumentKey:
    """Return the collection and the id of the document of a chunk."""
    return one.document.collection, one.document.id


def _place(one: StoredChunk) -> Place:
    return document_key(one), one.chunk.number


def _chars(one: StoredChunk) -> int:
    return len(one.chunk.separator) + len(one.chunk.text)
