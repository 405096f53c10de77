"""Search: look up a question in collections, rank what is found and make passages of it."""

from __future__ import annotations

import asyncio
import itertools
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import PureWindowsPath
from typing import TYPE_CHECKING

from loguru import logger

from deployments.collection_names import check_collection_name
from deployments.errors import NotFound, ServiceError
from deployments.filters import matches
from deployments.observability.tracing import span
from deployments.retriever import passages, ranking
from deployments.retriever.bm25 import LexicalEncoder, normal
from deployments.retriever.embedding import LoadedModel, index_of, read_as
from deployments.retriever.merging import fused, with_common_rarity
from deployments.retriever.relevance import Relevance
from deployments.retriever.vector_store import Candidate, HybridQuery, StoredChunk
from deployments.retriever.words import ngrams
from deployments.text.scripts import known_share

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from deployments.catalogue.entries import CollectionIndex, CurrentVersion
    from deployments.filters import Filter
    from deployments.retriever.bm25 import SparseVector
    from deployments.retriever.claims import Claims
    from deployments.retriever.embedding import Embedders
    from deployments.retriever.relevance import Scale
    from deployments.retriever.vector_store import VectorIndex, VectorStore
    from deployments.settings import RetrieverSettings
    from deployments.types import Document, Passage

    CurrentVersions = Callable[[str, Sequence[str]], Awaitable[Mapping[str, CurrentVersion]]]

_RERANK_TIMEOUT_S = 3.0  # after which passages stay in the order they were found in
_VERSION_ATTEMPTS = 8
_LARGE_COLLECTION_DOCUMENTS = 1000  # from which documents are ranked as in a large collection
_LARGE_CANDIDATES_FACTOR = 2  # times `candidates`, to rank documents of a large collection
_CHUNKS_PER_RESULT = 3  # some chunks adjoin a better one and become part of its passage
_CHECKED_CANDIDATES = 5  # the best ones, which decide whether a question gets sources


@dataclass(frozen=True, slots=True)
class _Wanted:
    queries: Sequence[str]
    limit: int
    max_chars: int
    filters: Filter | None
    languages: Sequence[str]  # of the documents of all collections
    by_document: bool
    large: bool  # all collections together


class Search:
    """Searches a store.

    `versions` returns the current versions of documents: chunks of others are not found. Without,
    all are.
    """

    def __init__(
        self,
        store: VectorStore,
        embedders: Embedders,
        claims: Claims,
        settings: RetrieverSettings,
        *,
        versions: CurrentVersions | None,
    ) -> None:
        self._store = store
        self._embedders = embedders
        self._claims = claims
        self._settings = settings
        self._versions = versions
        self._lexical = LexicalEncoder()
        self._relevance = Relevance()

    async def passages(  # noqa: PLR0913 - a question and its bounds
        self,
        queries: Sequence[str],
        collections: str | Sequence[str],
        limit: int,
        max_chars: int,
        filters: Filter | None = None,
        *,
        by_document: bool = False,
    ) -> list[Passage]:
        """Find at most `limit` passages, best first; see `deployments.interfaces.Retriever`."""
        names = [collections] if isinstance(collections, str) else list(dict.fromkeys(collections))
        populated = await self._populated(names)
        groups: defaultdict[str | None, list[str]] = defaultdict(list)  # by their indexes
        models: dict[str | None, LoadedModel] = {}
        for collection, claimed in populated.items():
            group = None if claimed is None else claimed.name
            models[group] = models.get(group) or await self._model_of(collection, claimed)
            groups[group].append(collection)
        # Without any, the embedder is not asked, which may be busy or away.
        languages = sorted({each for one in populated.values() if one for each in one.languages})
        documents = sum(one.completed for one in populated.values() if one)
        wanted = _Wanted(
            [*map(normal, queries)],
            limit,
            max_chars,
            filters,
            languages,
            by_document,
            large=documents >= _LARGE_COLLECTION_DOCUMENTS,
        )
        found = await asyncio.gather(
            *(self._passages(wanted, group, models[index]) for index, group in groups.items())
        )
        return found[0] if len(found) == 1 else fused(found, limit, max_chars)

    async def _model_of(self, collection: str, claimed: CollectionIndex | None) -> LoadedModel:
        """Return the model of the index of a collection; raise Unavailable if it is not loaded."""
        if claimed is None:
            return LoadedModel(self._embedders.first, await self._embedders.first.model())
        found = None if claimed.name is None else await self._embedders.of(claimed.name)
        if found is None:
            raise await self._claims.not_served(collection, claimed)
        return found

    async def _passages(
        self, wanted: _Wanted, collections: Sequence[str], loaded: LoadedModel
    ) -> list[Passage]:
        """Find passages in collections of one index."""
        queries, limit = wanted.queries, wanted.limit
        with span("embed"):
            model, dense = await loaded.embedder.embed(queries, "query")
        index = index_of(model)
        if index != loaded.index:  # it was replaced meanwhile
            for collection in collections:
                claimed = await self._claims.of(collection)
                if claimed is not None and claimed.name != index.name:
                    raise await self._claims.not_served(collection, claimed)
        sparse = [self._lexical.query(query, wanted.languages) for query in queries]
        of_large = wanted.by_document and wanted.large
        factor = _LARGE_CANDIDATES_FACTOR if of_large else 1
        candidates = max(self._settings.candidates * factor, limit)
        query = HybridQuery(dense, sparse, candidates, filters=wanted.filters)
        with span("query"):
            each = await asyncio.gather(
                *(self._current(index, collection, query) for collection in collections)
            )
        found = each[0] if len(each) == 1 else await self._together(each, query)
        scale = await self._relevance.scale(LoadedModel(loaded.embedder, model))
        known = [known_share(query, model.scripts) for query in queries]
        found = ranking.ranked(found, scale.unrelated, known, of_large=of_large)
        if not wanted.by_document and not self._is_relevant(found, queries[0], dense[0], scale):
            return []
        found = await self._reranked(found, queries[0])
        if wanted.by_document:
            return await self._of_documents(index, found, wanted, candidates)
        best = ranking.diverse(found, self._settings.diversity, limit * _CHUNKS_PER_RESULT)
        around = await self._around(index, best[:limit], found, limit, wanted.max_chars)
        return passages.passages(best, found, around, limit=limit, max_chars=wanted.max_chars)

    async def _of_documents(
        self, index: VectorIndex, found: Sequence[Candidate], wanted: _Wanted, candidates: int
    ) -> list[Passage]:
        """Make passages of the documents with the best evidence, one after another."""
        best = ranking.documents(found, candidates)[: wanted.limit]
        if not best:
            return []
        keys = {ranking.document_key(document.candidates[0].stored) for document in best}
        inside = [one for one in found if ranking.document_key(one.stored) in keys]
        chosen = ranking.diverse(
            inside, self._settings.diversity, wanted.limit * _CHUNKS_PER_RESULT
        )
        nearest = chosen[: wanted.limit]
        around = await self._around(index, nearest, found, len(best), wanted.max_chars)
        return passages.passages_of_documents(
            best, chosen, found, around, max_chars=wanted.max_chars
        )

    async def _populated(self, collections: Sequence[str]) -> dict[str, CollectionIndex | None]:
        """Return the collections that have documents, with their indexes.

        Raises NotFound for an unknown one. Of several, the caller has checked that they exist.
        """

        async def populated(collection: str) -> tuple[bool, CollectionIndex | None]:
            check_collection_name(collection)
            try:
                claimed = await self._claims.of(collection)
            except NotFound:
                if len(collections) == 1:
                    raise
                return False, None
            return claimed is None or claimed.completed > 0, claimed

        found = await asyncio.gather(*map(populated, collections))
        return {
            name: claimed
            for name, (has_any, claimed) in zip(collections, found, strict=True)
            if has_any
        }

    async def _together(
        self, each: Sequence[Sequence[Candidate]], query: HybridQuery
    ) -> list[Candidate]:
        """Score the candidates of several collections by words together."""
        found = list(itertools.chain.from_iterable(each))

        def scored() -> list[Candidate]:
            words = [*map(self._words_of, found)]
            return with_common_rarity(found, words, query)

        return await asyncio.to_thread(scored)

    async def _around(
        self,
        index: VectorIndex,
        best: Sequence[Candidate],
        found: Sequence[Candidate],
        limit: int,
        max_chars: int,
    ) -> list[StoredChunk]:
        """Fetch the chunks around the best ones, with their documents as the catalogue has them."""
        wanted: defaultdict[str, list[tuple[StoredChunk, int]]] = defaultdict(list)
        for near, number in passages.neighbourhood(best, found, limit=limit, max_chars=max_chars):
            wanted[near.document.collection].append((near, number))
        fetched = await asyncio.gather(
            *(self._store.chunks(index, collection, some) for collection, some in wanted.items())
        )
        documents = {ranking.document_key(one.stored): one.stored.document for one in found}
        return [
            StoredChunk(documents[ranking.document_key(one)], one.edition, one.chunk)
            for one in itertools.chain.from_iterable(fetched)
        ]

    async def _current(
        self, index: VectorIndex, collection: str, query: HybridQuery
    ) -> list[Candidate]:
        """Find chunks of current versions only, under the names that their documents have.

        The catalogue may switch to another version between the two look-ups. It does so once that
        one is stored, so a second search finds it. That search leaves out what is not current now,
        which would take up places.
        """
        current: list[Candidate] = []
        seen: dict[tuple[str, str], int] = {}  # versions, by document and edition
        for _ in range(_VERSION_ATTEMPTS):
            found = await self._store.candidates(index, collection, query)
            if self._versions is None or not (found or seen):
                return found
            seen |= {
                (one.stored.document.id, one.stored.edition): one.stored.document.version
                for one in found
            }
            versions = await self._versions(collection, sorted({id_ for id_, _ in seen}))
            present = {
                _edition(one): _present(
                    one.stored.document, versions.get(one.stored.document.id), query.filters
                )
                for one in {_edition(one): one for one in found}.values()
            }
            current = [
                Candidate(
                    StoredChunk(document, one.stored.edition, one.stored.chunk),
                    one.cosines,
                    one.bm25,
                )
                for one in found
                if (document := present[_edition(one)])
            ]
            stale = {
                (document_id, edition)
                for (document_id, edition), number in seen.items()
                if not _is_found(versions.get(document_id), number, query.filters)
            }
            if len({document_id for document_id, _ in seen}) < len(seen):
                stale |= _other_editions(current, seen)
                current = [one for one in current if _edition(one) not in stale]
            if len(current) == len(found) and stale >= query.excluded:
                break
            query = replace(query, excluded=frozenset(stale))
        return current

    def _is_relevant(
        self,
        found: Sequence[Candidate],
        question: str,
        query: NDArray[np.float32],
        scale: Scale,
    ) -> bool:
        """Return whether a candidate is relevant to the question; for small talk, none is."""
        least = self._settings.min_relevance
        if least is None or not scale.applies_to(query):
            return True
        first = found[:_CHECKED_CANDIDATES]
        if any(scale.rating(max(one.cosines)) >= least for one in first):
            return True  # as for most questions; their words need not be compared
        shares = [self._share_of_words(question, one) for one in first]
        return scale.has_relevant(first, shares, least, ngrams=bool(ngrams(question)))

    def _words_of(self, one: Candidate) -> SparseVector:
        return self._lexical.passage(_text_of(one), one.stored.document.language)

    def _share_of_words(self, question: str, one: Candidate) -> float:
        """Return the share of the question's words, stemmed in the text's language, that it has."""
        asked = set(self._lexical.passage(question, one.stored.document.language).indices)
        return len(asked & {*self._words_of(one).indices}) / max(len(asked), 1)

    async def _reranked(self, found: list[Candidate], query: str) -> list[Candidate]:
        """Have a cross-encoder read the first of them, if there is one and it has the time."""
        first = found[: self._settings.rerank]
        if not first:
            return found
        texts = list(map(_text_of, first))
        try:
            async with asyncio.timeout(_RERANK_TIMEOUT_S):
                scores = await self._embedders.first.embedder.rerank(query, texts)
        except (TimeoutError, ServiceError) as error:
            logger.warning("passages are in the order they were found in, not reranked: {}", error)
            return found
        return ranking.in_order_of(scores, found)


def _text_of(one: Candidate) -> str:
    chunk = one.stored.chunk
    return read_as(one.stored.document.title, chunk.section, chunk.text)


def _is_found(version: CurrentVersion | None, number: int, filters: Filter | None) -> bool:
    """Return whether the catalogue lets a version of a document be found.

    Its attributes decide, even if the store has not got the newest yet.
    """
    if version is None or version.number != number:
        return False
    return filters is None or matches(filters, version.attributes)


def _edition(one: Candidate) -> tuple[str, str]:
    return one.stored.document.id, one.stored.edition


def _other_editions(
    current: Sequence[Candidate], seen: Mapping[tuple[str, str], int]
) -> set[tuple[str, str]]:
    """Return all but one edition of each version: one is about to replace the other."""
    kept: dict[str, str] = {}
    numbers: dict[str, int] = {}
    for one in current:  # the best first
        kept.setdefault(one.stored.document.id, one.stored.edition)
        numbers[one.stored.document.id] = one.stored.document.version
    return {
        (document_id, edition)
        for (document_id, edition), number in seen.items()
        if numbers.get(document_id) == number and kept[document_id] != edition
    }


def _present(
    document: Document, version: CurrentVersion | None, filters: Filter | None
) -> Document | None:
    """Return a document with its present name and attributes; None if it is not found."""
    if version is None or not _is_found(version, document.version, filters):
        return None
    title = document.title
    derived = {document.filename, PureWindowsPath(document.filename).stem}
    if document.filename != version.filename and title in derived:
        title = version.filename
    return replace(document, filename=version.filename, title=title, attributes=version.attributes)
