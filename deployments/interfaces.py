"""The protocols by which the capabilities are known to each other and to the HTTP layer.

Every method may raise a `deployments.errors.ServiceError`. Real classes implement them in
their packages; `deployments.remote` implements them over Ray Serve handles.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from deployments.types import (
        Chunk,
        Document,
        DocumentList,
        ModelCard,
        Page,
        ParsedDocument,
        Passage,
        TextKind,
    )


class Checked(Protocol):
    """What every capability can be asked."""

    async def check_health(self) -> None:
        """Return if it can do its work, raise if not; cheap, and whatever the load."""
        ...


class TextGenerator(Checked, Protocol):
    """A chat model behind OpenAI's request and response shapes."""

    async def chat(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Answer a chat completion request (`stream` false) with a completion object."""
        ...

    def stream_chat(self, body: Mapping[str, Any]) -> AsyncGenerator[str, None]:
        """Answer with server-sent events, each a whole `data: ...` block or several.

        Closing the generator stops the generation.
        """
        ...

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Count the tokens of each text, without special tokens."""
        ...

    async def card(self) -> ModelCard:
        """Name the model, its window and its present load."""
        ...


class Embedder(Checked, Protocol):
    """Texts to vectors."""

    async def embed(self, texts: Sequence[str], kind: TextKind) -> NDArray[np.float32]:
        """Return float32 of shape (len(texts), dimensions), each row of unit length."""
        ...


class Scraper(Checked, Protocol):
    """Web pages to text."""

    async def fetch(self, urls: Sequence[str]) -> list[Page]:
        """Read the pages concurrently, in order; a page that fails is an outcome."""
        ...


class Parser(Checked, Protocol):
    """Files to chunks."""

    async def parse(self, data: bytes, filename: str) -> ParsedDocument:
        """Read a file; raises UnsupportedMedia, TooLarge or Unprocessable with a clear reason."""
        ...


class Retriever(Checked, Protocol):
    """Searchable documents. What is added stays hidden until `publish`; calls may be repeated."""

    async def add(self, document: Document, chunks: Sequence[Chunk]) -> None:
        """Embed and store some of the document's chunks, not yet visible to search."""
        ...

    async def publish(self, document: Document) -> None:
        """Make the whole document visible at once."""
        ...

    async def search(self, query: str, collection: str, limit: int) -> list[Passage]:
        """Find at most `limit` passages, best first. NotFound for an unknown collection."""
        ...

    async def documents(self, collection: str, limit: int, after: str | None) -> DocumentList:
        """List published documents."""
        ...

    async def document(self, collection: str, document_id: str) -> Document:
        """Find one published document; raises NotFound."""
        ...

    async def delete(self, collection: str, document_id: str) -> bool:
        """Remove a document whole, published or not; whether anything was there."""
        ...
