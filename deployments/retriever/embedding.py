"""Vectors of texts, with the index that they belong to."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from loguru import logger

from deployments.errors import MODEL_CHANGED, Conflict, ServiceError, Unavailable
from deployments.retriever.bm25 import TOKENIZER, normal
from deployments.retriever.vector_store import VectorIndex

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from deployments.interfaces import Embedder
    from deployments.types import EmbeddingModel, TextKind

_ANSWER_S = 2.0  # for the name of the next model: its replica may be starting
_LOOK_AGAIN_S = 2.0
_NAME_CHARS = 32
_MAX_HEADING_CHARS = 80  # of title and of section: with them a chunk must fit the model


def index_of(model: EmbeddingModel) -> VectorIndex:
    """Return the index of the vectors of a model.

    Its name is a fingerprint of all that makes points compare: the model and the tokenizer of
    the word index.
    """
    name = sha256(f"{model.fingerprint}\n{TOKENIZER}".encode()).hexdigest()[:_NAME_CHARS]
    return VectorIndex(name, model.dimensions)


def read_as(title: str, section: str, text: str) -> str:
    """Return a chunk as word index and reranker read it: under its headings.

    A stretch of text seldom names what the whole is about. Unicode is normalised, see `normal`.
    """
    headings = (title[:_MAX_HEADING_CHARS], section[:_MAX_HEADING_CHARS])
    return normal("\n".join(filter(None, (*headings, text))))


def embedded_as(title: str, section: str, text: str) -> str:
    """Return a chunk as the embedder reads it: like `read_as`, without a title that has no letters.

    A number as a file name has no meaning, and moves vectors at random: nDCG@10 falls by 1 % on NPL
    and 1.7 % on CISI.
    """
    return read_as(title if any(map(str.isalpha, title)) else "", section, text)


class IndexEmbedder:
    """Embeds texts with the present model of an Embedder deployment.

    That may be replaced by one with another model at any time, which then refuses the texts: each
    call says which model it expects.
    """

    def __init__(self, embedder: Embedder) -> None:
        self.embedder = embedder
        self._model: EmbeddingModel | None = None

    @property
    def known(self) -> EmbeddingModel | None:
        """The model that was found last, if it was."""
        return self._model

    async def model(self, *, newest: bool = False) -> EmbeddingModel:
        """Return the model that was found last, or look for the `newest`."""
        if self._model is None or newest:
            self._model = await self.embedder.model()
        return self._model

    async def embed(
        self, texts: Sequence[str], kind: TextKind
    ) -> tuple[EmbeddingModel, NDArray[np.float32]]:
        """Return the model, and float32 of shape (len(texts), dimensions)."""
        model = await self.model()
        try:
            return model, await self.embedder.embed(texts, kind, model.fingerprint)
        except Conflict as error:
            if error.code != MODEL_CHANGED:
                raise
        self._model = None
        model = await self.model()
        with replaced_is_unavailable():
            return model, await self.embedder.embed(texts, kind, model.fingerprint)


class Embedders:
    """The embedder of the present model, and that of the next one while the model is changed."""

    def __init__(self, embedder: Embedder, next_embedder: Embedder | None = None) -> None:
        self.first = IndexEmbedder(embedder)
        self._next = None if next_embedder is None else IndexEmbedder(next_embedder)
        self._looked_s = -math.inf  # for newer models
        self._unanswered_s = -math.inf

    async def loaded(self, *, newest: bool = False) -> tuple[list[LoadedModel], bool]:
        """Return the models that are known, the first one first, and whether these are all.

        The next one may not have answered yet.
        """
        found = [LoadedModel(self.first, await self.first.model(newest=newest))]
        if self._next is None:
            return found, True
        answered = await self._answer(self._next, newest=newest)
        if answered is not None and answered.fingerprint != found[0].model.fingerprint:
            found.append(LoadedModel(self._next, answered))
        return found, answered is not None

    async def of(self, index_name: str) -> LoadedModel | None:
        """Return the model whose vectors are in an index; None if it is not loaded.

        Raises Unavailable if the next one has not answered yet, and so may be it.
        """
        model = await self.first.model()
        if index_of(model).name == index_name:
            return LoadedModel(self.first, model)
        known, all_known = await self.loaded()
        found = next((each for each in known if each.index.name == index_name), None)
        if found is None and time.monotonic() - self._looked_s > _LOOK_AGAIN_S:
            # One may have been replaced.
            self._looked_s = time.monotonic()
            known, all_known = await self.loaded(newest=True)
            found = next((each for each in known if each.index.name == index_name), None)
        if found is None and not all_known:
            msg = "the embedder of the next model does not answer"
            raise Unavailable(msg)
        return found

    async def _answer(self, embedder: IndexEmbedder, *, newest: bool) -> EmbeddingModel | None:
        known, since_s = embedder.known, time.monotonic() - self._unanswered_s
        if not newest and (known is not None or since_s < _LOOK_AGAIN_S):
            return known
        try:
            async with asyncio.timeout(_ANSWER_S):
                return await embedder.model(newest=True)
        except (TimeoutError, ServiceError) as error:
            logger.warning("the embedder of the next model does not answer: {!r}", error)
            self._unanswered_s = time.monotonic()
            return known


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model with its embedder."""

    embedder: IndexEmbedder
    model: EmbeddingModel

    @property
    def index(self) -> VectorIndex:
        """The index of its vectors."""
        return index_of(self.model)


@contextlib.contextmanager
def replaced_is_unavailable() -> Iterator[None]:
    """Turn a refusal by an embedder with another model, which is being replaced, into a retry."""
    try:
        yield
    except Conflict as error:
        if error.code != MODEL_CHANGED:
            raise
        msg = "the embedding model is being replaced: try again"
        raise Unavailable(msg) from None
