"""Vectors of texts, with the index that they belong to."""

from __future__ import annotations

import contextlib
from hashlib import sha256
from typing import TYPE_CHECKING

from deployments.errors import MODEL_CHANGED, Conflict, Unavailable
from deployments.retriever.bm25 import TOKENIZER
from deployments.retriever.vector_store import VectorIndex

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from deployments.interfaces import Embedder
    from deployments.types import EmbeddingModel, TextKind

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
    """Return a chunk as embedder, word index and reranker read it: under its headings.

    A stretch of text seldom names what the whole is about.
    """
    headings = (title[:_MAX_HEADING_CHARS], section[:_MAX_HEADING_CHARS])
    return "\n".join(filter(None, (*headings, text)))


class IndexEmbedder:
    """Embeds texts with the present model of the Embedder deployment.

    That may be replaced by one with another model at any time, which then refuses the texts: each
    call says which model it expects.
    """

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._model: EmbeddingModel | None = None

    async def model(self) -> EmbeddingModel:
        """Return the model that was found last."""
        if self._model is None:
            self._model = await self._embedder.model()
        return self._model

    async def embed(
        self, texts: Sequence[str], kind: TextKind
    ) -> tuple[EmbeddingModel, NDArray[np.float32]]:
        """Return the model, and float32 of shape (len(texts), dimensions)."""
        model = await self.model()
        try:
            return model, await self._embedder.embed(texts, kind, model.fingerprint)
        except Conflict as error:
            if error.code != MODEL_CHANGED:
                raise
        self._model = None
        model = await self.model()
        with replaced_is_unavailable():
            return model, await self._embedder.embed(texts, kind, model.fingerprint)


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
