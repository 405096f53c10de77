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

    from deployments.answer_events import AnswerEvent
    from deployments.filters import Filter
    from deployments.types import (
        Chunk,
        CopiedChunks,
        Document,
        DocumentList,
        EmbeddedChunks,
        EmbeddingModel,
        EmbeddingOptions,
        Embeddings,
        ImageProgress,
        ImageRequest,
        ImagesSpec,
        ImportSpec,
        IngestSpec,
        Job,
        JobList,
        JobQuery,
        ModelCard,
        Page,
        ParsedDocument,
        ParseSpec,
        Passage,
        RenderedPage,
        ResponseSpec,
        Scores,
        StoredIndex,
        StoredPoint,
        Submitted,
        TextKind,
        UnpackedFiles,
        UnpackSpec,
        ZipSpec,
    )


class Checked(Protocol):
    """What every capability can be asked."""

    async def check_health(self) -> None:
        """Return if it can do its work, raise if not; cheap, and whatever the load."""
        ...


class TextGenerator(Checked, Protocol):
    """A language model behind OpenAI's request and response shapes.

    `cache_salt` in a body names the owner of the request: an engine that caches prompts reuses
    them for requests of the same owner only, others ignore it.
    """

    async def chat(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Answer a chat completion request (`stream` false) with a completion object."""
        ...

    def stream_chat(self, body: Mapping[str, Any]) -> AsyncGenerator[Sequence[AnswerEvent], None]:
        """Answer with events, as many at once as there are; the first one is an Opening.

        Closing the generator stops the generation.
        """
        ...

    async def complete(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Answer a (text) completion request, as `chat` a chat's."""
        ...

    def stream_complete(
        self, body: Mapping[str, Any]
    ) -> AsyncGenerator[Sequence[AnswerEvent], None]:
        """Answer a (text) completion request, as `stream_chat` a chat's."""
        ...

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Count the tokens of each text, without special tokens."""
        ...

    async def prompt_tokens(self, body: Mapping[str, Any]) -> int:
        """Count the tokens of a chat request's prompt, rendered by the chat template.

        An engine that renders it raises InvalidRequest for more than twice the window.
        """
        ...

    async def card(self) -> ModelCard:
        """Name the model, its window and its present load."""
        ...


class Embedder(Checked, Protocol):
    """Texts to vectors."""

    async def model(self) -> EmbeddingModel:
        """Return the model that makes the vectors."""
        ...

    async def embed(
        self, texts: Sequence[str], kind: TextKind, fingerprint: str = ""
    ) -> NDArray[np.float32]:
        """Return float32 of shape (len(texts), dimensions), each row of unit length.

        Raises Conflict, with the code MODEL_CHANGED, if the model has another `fingerprint`.
        """
        ...

    async def embeddings(
        self,
        texts: Sequence[str],
        dimensions: int | None = None,
        first: int = 0,
        options: EmbeddingOptions | None = None,
    ) -> Embeddings:
        """Embed texts, and count the tokens that the model reads.

        `first` is the number of the first text in the caller's request, for error messages.
        Raises InvalidRequest, before any work, if `dimensions` is not the length of the vectors,
        and for a text that is too long.
        """
        ...

    async def rerank(self, query: str, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return how well each text answers the query, float32 of shape (len(texts),).

        By a cross-encoder, on a scale of its own; InvalidRequest if none is configured.
        """
        ...

    async def relevance(self, query: str, texts: Sequence[str], max_tokens: int) -> Scores:
        """Return how well each text answers the query, from 0 to 1.

        By the cross-encoder if one is configured, else by the vectors. Of each text, at most
        `max_tokens` are read, and no more than a cross-encoder reads.
        """
        ...


class Scraper(Checked, Protocol):
    """Web pages to text."""

    async def fetch(self, urls: Sequence[str], owner: str = "") -> list[Page]:
        """Read the pages concurrently, in order; a page that fails is an outcome.

        Owners take turns; so do prompts of nobody in particular.
        """
        ...


class Renderer(Checked, Protocol):
    """Web pages whose text is made by scripts, to HTML."""

    async def render(self, url: str, timeout_s: float, owner: str = "") -> RenderedPage:
        """Load a page in a browser and return it once it has settled, or as it is at the end.

        Owners take turns. Raises Overloaded when too many pages wait, DeadlineExceeded if the
        page or a turn did not come in time, Unprocessable if the page cannot be shown, and
        Unavailable if the browser crashed or does not start.
        """
        ...


class Parser(Checked, Protocol):
    """Files to chunks, both in the file store: calls carry paths, never contents."""

    async def parse(self, spec: ParseSpec) -> ParsedDocument:
        """Read a file and write its chunks; may be repeated.

        Raises UnsupportedMedia, TooLarge or Unprocessable with a clear reason, NotFound if the
        file does not exist (any more).
        """
        ...


class Unpacker(Checked, Protocol):
    """ZIP files to their files, both in the file store."""

    async def unpack(self, spec: UnpackSpec) -> UnpackedFiles:
        """Unpack some files, those that can be read; may be repeated.

        Raises TooLarge if all of them are too many or too large, Unprocessable for a damaged ZIP
        file, NotFound if the ZIP file does not exist (any more).
        """
        ...


class Retriever(Checked, Protocol):
    """Searchable documents. What is added stays hidden until `publish`; calls may be repeated."""

    async def add(self, document: Document, chunks: Sequence[Chunk]) -> None:
        """Embed and store some of the document's chunks, not yet visible to search."""
        ...

    async def add_embedded(self, document: Document, chunks: EmbeddedChunks) -> None:
        """Store chunks as `add` does, with vectors that were made before.

        Raises Conflict, with the code MODEL_CHANGED, if they are of another index than those of
        the present model, and InvalidRequest for vectors of another length.
        """
        ...

    async def publish(self, document: Document, chunks: Sequence[Chunk] = ()) -> None:
        """Make a version visible at once, beside the one before; `chunks` are not yet stored.

        It is found once the catalogue says that it is the current one.
        """
        ...

    async def discard(self, collection: str, document_id: str, versions: Sequence[int]) -> None:
        """Drop some versions of a document, published or not."""
        ...

    async def apply_attributes(self, collection: str, document_id: str) -> None:
        """Make a document found by its attributes as the catalogue has them."""
        ...

    async def search(  # noqa: PLR0913 - a question and its bounds
        self,
        queries: Sequence[str],
        collections: str | Sequence[str],
        limit: int,
        max_chars: int,
        filters: Filter | None = None,
        *,
        by_document: bool = False,
    ) -> list[Passage]:
        """Find at most `limit` passages, best first, of at most `max_chars` together.

        The first query is the one that is asked; others are further phrasings of it, over which
        the scores of a chunk are averaged. The passages of several collections are ranked together.
        `filters` selects documents by their attributes. A question to which nothing is relevant,
        such as small talk, finds nothing. NotFound for an unknown collection.

        With `by_document`, `limit` counts documents. They are ordered by their evidence, the
        passages of each are consecutive, and there is no bound on relevance.
        """
        ...

    async def content(self, document: Document, first: int, limit: int) -> list[Chunk]:
        """Return chunks of the current version of a document, from a number on, in order.

        Raises Unavailable if the version is being replaced.
        """
        ...

    async def embedded(self, document: Document, first: int, limit: int) -> EmbeddedChunks:
        """Return chunks as `content` does, with their vectors."""
        ...

    async def delete(self, collection: str, document_id: str) -> bool:
        """Delete a document, published or not, and return whether it existed."""
        ...

    async def drop(self, collection: str) -> bool:
        """Delete a collection with everything in it and return whether it existed."""
        ...


class StoredDocuments(Protocol):
    """Documents as the vector store has them; the catalogue is the truth about which exist."""

    async def document(self, collection: str, document_id: str, version: int) -> Document:
        """Return the description with which a version was published; raises NotFound."""
        ...

    async def collections(self) -> list[str]:
        """Name the collections of which something is stored, of every owner, in order."""
        ...

    async def unmoved_collections(self) -> list[str]:
        """Name the collections of version 0.1 that are not moved, of every owner, in order."""
        ...

    async def documents(self, collection: str, limit: int, after: str | None) -> DocumentList:
        """List the documents of a collection of version 0.1."""
        ...

    async def move_collections(self) -> int:
        """Move the collections of version 0.1 into the index of the embedding model.

        Returns how many were moved. Those of another embedding model stay.
        """
        ...

    async def indexes(self) -> list[StoredIndex]:
        """Name all indexes, also those that cannot be opened."""
        ...

    async def inventory(
        self,
        index: str,
        limit: int,
        after: str | None = None,
        document: tuple[str, str] | None = None,
    ) -> list[StoredPoint]:
        """List the points of an index, or those of one document in it, from behind an id."""
        ...

    async def purge(self, age_s: float) -> bool:
        """Remove from the disk what was deleted at least `age_s` seconds ago.

        Return False for a Qdrant server: its optimizer frees the disk space later.
        """
        ...

    async def backup(self, name: str) -> bool:
        """Copy the embedded vectors, while the store is used; see `VectorStore.backup`.

        Return False for a Qdrant server, which the command reads itself.
        """
        ...


class RechunkingRetriever(Retriever, StoredDocuments, Protocol):
    """A retriever as a change of the chunker uses it."""

    async def replace_chunks(self, document: Document, chunks: Sequence[Chunk]) -> float:
        """Store new chunks of a published version, hidden; `publish` exchanges them.

        Texts that the version has already keep their vectors. Return how long ago the last search
        was, in seconds.
        """
        ...


class SecondIndexes(Protocol):
    """Second indexes of collections, while the embedding model is changed."""

    async def index_models(self) -> dict[str, str]:
        """Return the indexes of the models that are loaded, with the names of these.

        The present model is the first. Raises Unavailable if one does not answer.
        """
        ...

    async def copy(
        self, document: Document, first: int, limit: int, *, only_second: bool = False
    ) -> CopiedChunks:
        """Embed chunks of a version, from a number on, into the second index of its collection.

        With the last ones the version is published there. With `only_second`, they are copied from
        there. Raises NotFound if the version is not stored whole.
        """
        ...

    async def empty(self, collection: str, index_name: str) -> None:
        """Remove the chunks of a collection from one index."""
        ...


class ImageGenerator(Checked, Protocol):
    """Prompts to pictures."""

    def generate(self, request: ImageRequest) -> AsyncGenerator[ImageProgress, None]:
        """Yield the progress of each denoising step; the last one carries the picture.

        Closing the generator stops the work within one step. Raises Overloaded when too many
        are waiting.
        """
        ...


class Responder(Checked, Protocol):
    """Responses in the background."""

    async def respond(self, owner: str, response_id: str) -> str:
        """Generate a stored response, and return its final status; idempotent.

        Writes events and the final body into the catalogue. An exception leaves it unfinished.
        """
        ...


class Jobs(Checked, Protocol):
    """Work that outlives a request. What is submitted is kept before the call returns."""

    async def submit_ingest(self, spec: IngestSpec, key: str | None) -> Submitted:
        """Have an upload, already in the file store, made searchable.

        A document that is being ingested, or is searchable already, gives the job that did it.
        `key` is the caller's idempotency key: Conflict if it was used for something else.
        Overloaded when too many are waiting.
        """
        ...

    async def submit_images(self, spec: ImagesSpec, key: str | None) -> Submitted:
        """Have pictures made; `key` as above."""
        ...

    async def submit_import(self, spec: ImportSpec, key: str) -> Submitted:
        """Have an archive, already in the file store, imported; `key` as above."""
        ...

    async def submit_zip(self, spec: ZipSpec, key: str | None) -> Submitted:
        """Have the files of a ZIP file, already in the file store, made searchable; `key` as above.

        The files that are searchable already stay as they are.
        """
        ...

    async def submit_response(self, spec: ResponseSpec) -> Submitted:
        """Have a stored response generated; submitting it twice creates one job.

        The job's id is `job_id_for(owner, "response", response_id)`.
        """
        ...

    async def begin_batches(self) -> None:
        """Begin at once with the files of batches that wait in the catalogue."""
        ...

    async def job(self, job_id: str) -> Job:
        """Find one job; raises NotFound."""
        ...

    async def jobs(self, query: JobQuery) -> JobList:
        """List jobs, newest first; raises NotFound if `after` is not there."""
        ...

    async def cancel(self, job_id: str) -> Job:
        """Stop a job at its next step and clean up after it; may be asked again.

        Returns the job as it then stands, usually cancelled. Raises NotFound, and Conflict if
        it ended otherwise.
        """
        ...

    def watch(self, job_id: str) -> AsyncGenerator[Job, None]:
        """Yield the job now and at every change, until it has ended; raises NotFound."""
        ...
