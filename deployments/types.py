"""The frozen values that cross the wire between deployments."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Literal, TypeAlias

from deployments.pickling import set_state

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from deployments.filters import Attributes

OnConflict = Literal["replace", "keep", "reject"]
"""What to do if a document has the name of an upload: add a version to it, give the upload another
name, or refuse it."""
TextKind = Literal["query", "passage"]
LongTexts = Literal["windows", "truncate", "refuse"]
"""How texts that are longer than the embedding model reads at once are embedded.

As the mean of their windows, by their beginnings only, or not at all.
"""

VECTOR_STORE_PREFIX = "vs_"
"""Of the names of collections that were made on purpose, as vector stores."""


class PageOutcome(StrEnum):
    """How the attempt to read one page ended."""

    OK = "ok"
    TIMEOUT = "timeout"
    BLOCKED = "blocked"
    TOO_LARGE = "too_large"
    UNSUPPORTED_TYPE = "unsupported_type"
    HTTP_ERROR = "http_error"
    UNREACHABLE = "unreachable"
    EMPTY = "empty"


@dataclass(frozen=True, slots=True)
class Page:
    """One page named in a prompt, read or not.

    `text` is Markdown and empty unless `outcome` is `ok`; `detail` says in a few words,
    fit for the person who asked, why a page could not be read, or was read without its scripts.
    """

    url: str
    outcome: PageOutcome
    final_url: str = ""
    title: str = ""
    text: str = ""
    detail: str = ""
    elapsed_s: float = 0.0


@dataclass(frozen=True, slots=True)
class RenderedPage:
    """A page as a browser shows it: the URL after all redirects, and the HTML of its document."""

    url: str
    html: str


@dataclass(frozen=True, slots=True)
class Chunk:
    """A stretch of a document, short enough to embed whole.

    `number` counts from 0 within the document, `tokens` is by the embedder's tokenizer,
    pages count from 1 and are None for formats without pages. `section` names the headings
    above it, outermost first; `separator` is the white space between it and the chunk before.
    Its first `overlap_chars` characters repeat the end of that one, and the white space. `ocr` says
    that some of its text was recognised in a picture.
    """

    number: int
    text: str
    tokens: int
    page_start: int | None = None
    page_end: int | None = None
    section: str = ""
    separator: str = "\n\n"
    overlap_chars: int = 0
    ocr: bool = False

    __setstate__ = set_state


class WarningCode(StrEnum):
    """Codes of `DocumentWarning`."""

    PAGES_WITHOUT_TEXT = "pages_without_text"
    PAGES_BY_OCR = "pages_by_ocr"
    PAGES_UNREADABLE = "pages_unreadable"
    ATTACHMENTS_NOT_READ = "attachments_not_read"
    CUT_AT_LIMIT = "cut_at_limit"
    PARTLY_READ = "partly_read"
    SCRIPT_NOT_READ = "script_not_read"
    ZIP_DOCUMENT = "zip_document"
    PICTURES_NOT_READ = "pictures_not_read"


@dataclass(frozen=True, slots=True)
class DocumentWarning:
    """What was not read of a document, or not as usual; `message` says it to a person.

    `pages` count from 1; of many, the first ones are named.
    """

    code: str
    message: str
    pages: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Chunking:
    """The most tokens of a chunk, and how many of them may repeat the end of the one before."""

    max_tokens: int
    overlap_tokens: int


SHORT_PARSE_CPU_S = 2
"""CPU seconds for a file that is parsed as a short one."""
SHORT_PARSE_EXCEEDED = "not_short"
"""Code of the error for a file that needs more: it is to be parsed again, as a long one."""


@dataclass(frozen=True, slots=True)
class ParseSpec:
    """A file to parse: its path in the file store, and the folder there for its chunks.

    They are written in batches of `batch_chunks`, which `deployments.chunk_batches` reads. With
    `max_chars`, the rest is left out once their texts have that many characters.

    A `short` file does not wait for long ones, and has `SHORT_PARSE_CPU_S`. Files of different
    owners take turns. With `inline`, chunks that fit into one batch are returned, not written.
    The content of the file begins at `start_byte`. Without `chunking`, chunks are as long as the
    parser's settings say. Without `ocr`, pictures of text are not read.
    """

    path: str
    filename: str
    chunks_folder: str
    batch_chunks: int = 64
    max_chars: int | None = None
    short: bool = False
    owner: str = ""
    inline: bool = False
    start_byte: int = 0
    chunking: Chunking | None = None
    ocr: bool = True

    __setstate__ = set_state


@dataclass(frozen=True, slots=True)
class ParsedDocument:
    """A parsed file, whose chunks lie in the file store.

    `pages` is None for formats without pages; `chunks` counts those of the whole file, `batches`
    those that were written. `cpu_s` is the processor time that reading it took, `inline` the chunks
    themselves if none were written. `chunker` names the version and the strategy that cut it.
    `warnings` say what was not read. `language` is an ISO 639 code, empty if it is not clear.
    """

    title: str
    media_type: str
    pages: int | None
    chunks: int
    batches: int
    cpu_s: float = 0.0
    inline: tuple[Chunk, ...] = ()
    chunker: str = ""
    warnings: tuple[DocumentWarning, ...] = ()
    language: str = ""

    __setstate__ = set_state


@dataclass(frozen=True, slots=True)
class UnpackPosition:
    """The position in a ZIP file: its next member, and the next member of a ZIP file within it.

    `files` counts the files before it, `unpacked_bytes` their unpacked bytes.
    """

    member: int = 0
    inner_member: int = 0
    files: int = 0
    unpacked_bytes: int = 0


@dataclass(frozen=True, slots=True)
class UnpackSpec:
    """A ZIP file to unpack: its path in the file store, and the folder there for its files.

    Files are written as `folder/N`, N from `position.files` on. Owners take turns.
    """

    path: str
    folder: str
    position: UnpackPosition = UnpackPosition()
    owner: str = ""

    __setstate__ = set_state


@dataclass(frozen=True, slots=True)
class UnpackedFile:
    """A file of a ZIP file: its path there, its size and its SHA-256 in hexadecimal.

    With a `code`, it was not unpacked; `message` says why.
    """

    name: str
    size_bytes: int = 0
    digest: str = ""
    code: str | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class UnpackedFiles:
    """The files of one unpacking step, and the CPU seconds it took; `next` is None at the end."""

    files: tuple[UnpackedFile, ...]
    next: UnpackPosition | None
    cpu_s: float = 0.0

    __setstate__ = set_state


@dataclass(frozen=True, slots=True)
class Document:
    """A version of a document; `created_at` is in seconds since the epoch.

    `job_id` names the job that made it searchable, `version` counts from 1. `attributes` are those
    of all its versions. `chunker` names the version and the strategy of the chunker that cut it,
    empty if version 0.1 has stored it. `warnings` say what was not read. `language` is an ISO 639
    code, empty if it is not known.
    """

    id: str
    collection: str
    filename: str
    title: str
    media_type: str
    size_bytes: int
    pages: int | None
    chunks: int
    created_at: float
    job_id: str | None = None
    version: int = 1
    attributes: Attributes = field(default_factory=dict)
    chunker: str = ""
    warnings: tuple[DocumentWarning, ...] = ()
    language: str = ""

    __setstate__ = set_state


@dataclass(frozen=True, slots=True)
class EmbeddingModel:
    """The model that makes vectors; those of models with another fingerprint do not compare.

    `fingerprint` is a hash of its weights, its prefixes and the length of its vectors. `scripts`
    are those that its tokenizer knows, by `deployments.text.scripts`; None if that is unknown.
    """

    name: str
    fingerprint: str
    dimensions: int
    scripts: frozenset[str] | None = field(default=None, compare=False)

    __setstate__ = set_state


@dataclass(frozen=True, slots=True)
class CopiedChunks:
    """What of a document was copied into the other index of its collection.

    `done` counts its chunks from the first one, and is that of all once the document is published
    there. `idle_s` is how long ago the last search was, in seconds.
    """

    done: int
    idle_s: float


@dataclass(frozen=True, slots=True)
class DocumentList:
    """One page of a catalogue; `next_after` goes into the next call, None at the end."""

    documents: tuple[Document, ...]
    next_after: str | None = None


@dataclass(frozen=True, slots=True)
class Passage:
    """Neighbouring chunks of one document, found for a query, as one text.

    `first` and `last` are the numbers of its chunks, `section` that of the first. `score` is the
    cosine similarity of the query and the nearest of them; passages are not ordered by it.
    `attributes`, `version` and `media_type` are those of the document. `ocr` says that some of its
    text was recognised in a picture.
    """

    document_id: str
    filename: str
    title: str
    section: str
    first: int
    last: int
    text: str
    page_start: int | None
    page_end: int | None
    score: float
    collection: str = ""
    attributes: Attributes = field(default_factory=dict)
    ocr: bool = False
    version: int = 1
    media_type: str = ""

    __setstate__ = set_state


@dataclass(frozen=True, slots=True)
class StoredIndex:
    """An index of the vector store; one that is not `readable` is damaged."""

    name: str
    readable: bool = True


@dataclass(frozen=True, slots=True)
class StoredPoint:
    """What the vector store says of a chunk, without its text and vectors.

    `attributes` is a digest, see `deployments.attribute_payloads`.
    """

    id: str
    collection: str
    document_id: str
    version: int
    published: bool
    attributes: str = ""


class DamageKind(StrEnum):
    """What the doctor may find wrong in what is stored."""

    DATABASE_DAMAGED = "database_damaged"
    INDEX_UNREADABLE = "index_unreadable"
    INDEX_MISSING = "index_missing"
    NO_VECTORS = "no_vectors"
    CHUNKS_MISSING = "chunks_missing"
    HIDDEN_CHUNKS = "hidden_chunks"
    OLD_VECTORS = "old_vectors"
    UNKNOWN_DOCUMENT = "unknown_document"
    UNKNOWN_COLLECTION = "unknown_collection"
    ATTRIBUTES_DIFFER = "attributes_differ"
    VERSION_LOST = "version_lost"
    CONTENT_MISSING = "content_missing"
    CONTENT_DIFFERS = "content_differs"
    FILE_MISSING = "file_missing"
    FILE_DIFFERS = "file_differs"
    UNKNOWN_FILE = "unknown_file"
    PICTURES_MISSING = "pictures_missing"
    UPLOAD_MISSING = "upload_missing"
    COUNTS_WRONG = "counts_wrong"
    USAGE_WRONG = "usage_wrong"
    LEFT_WAITING = "left_waiting"


@dataclass(frozen=True, slots=True)
class EmbeddingOptions:
    """How texts are embedded.

    `kind` selects the prefix that the model was trained with. `long_texts` is None for the
    configured way. The model reads at most `max_tokens` of each text, special tokens included.
    """

    kind: TextKind = "passage"
    long_texts: LongTexts | None = None
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Embeddings:
    """`vectors`: float32 of shape (texts, dimensions), unit rows; `tokens` read of each.

    `windowed` and `truncated` are the indexes of the texts that were embedded in windows and of
    those that were truncated to `max_tokens`.
    """

    vectors: NDArray[np.float32]
    tokens: tuple[int, ...]
    windowed: tuple[int, ...] = ()
    truncated: tuple[int, ...] = ()
    max_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Scores:
    """How well texts answer a query: `relevance` is float32 of shape (texts,), from 0 to 1.

    `tokens` is the number of tokens that the model read. `cut` holds the indexes of the texts that
    were truncated, and `query_cut` tells whether the query was.
    """

    relevance: NDArray[np.float32]
    tokens: int
    cut: tuple[int, ...] = ()
    query_cut: bool = False


@dataclass(frozen=True, slots=True)
class EmbeddedChunks:
    """Chunks as they are stored, with their vectors.

    `vectors` is float32 of shape (chunks, dimensions), unit rows; `index` names the vector index,
    by a hash of all that makes vectors compare.
    """

    index: str
    chunks: tuple[Chunk, ...]
    vectors: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What a caller may know of a language model; the request counts are None if unknown."""

    id: str
    context_tokens: int
    running_requests: int | None = None
    waiting_requests: int | None = None


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """One picture to be made; the same request gives the same picture.

    Requests of different owners take turns.
    """

    prompt: str
    width: int
    height: int
    steps: int
    seed: int
    owner: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class ImageProgress:
    """What comes while a picture is made: `png` is None until the last of them."""

    done_steps: int
    total_steps: int
    png: bytes | None = None


class JobKind(StrEnum):
    """What a job does."""

    INGEST = "ingest"
    IMAGES = "images"
    IMPORT = "import"
    ZIP = "zip"
    RESPONSE = "response"


class JobStatus(StrEnum):
    """Where a job stands; the last three are for good."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class IngestSpec:
    """An upload to make searchable; its bytes lie in the file store at `upload_path`.

    The path is of this one upload, and so no part of what makes two of these the same. `owner`
    is the name of the API key it came with, empty where there are no keys. `digest` is the SHA-256
    of the file in hexadecimal, empty in a job of version 0.1.

    `document_id` is empty in a submission that names its document by `filename`: `on_conflict`
    says what becomes of a document that has the name already. With `attributes`, the document gets
    these; else it keeps its own.

    The content begins at `start_byte`. The job does not delete a `borrowed` file, such as a kept
    one, or the content of the version that it restores. A file of a batch has its `batch_id`: the
    batch says which attributes it has by then, and whether it still waits.
    """

    document_id: str = field(compare=False)
    collection: str
    filename: str
    size_bytes: int
    upload_path: str = field(compare=False)
    owner: str = ""
    digest: str = ""
    on_conflict: OnConflict = field(default="replace", compare=False)
    attributes: Attributes | None = field(default=None, compare=False)
    start_byte: int = field(default=0, compare=False)
    borrowed: bool = field(default=False, compare=False)
    chunking: Chunking | None = None
    restored_from: int | None = field(default=None, compare=False)
    batch_id: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class ImagesSpec:
    """`count` pictures of one prompt; the n-th, from 0, has the seed `seed` + n.

    `owner` as in `IngestSpec`.
    """

    prompt: str
    count: int
    width: int
    height: int
    steps: int
    seed: int
    owner: str = ""

    def request(self, number: int) -> ImageRequest:
        """The n-th picture, from 0."""
        seed = self.seed + number
        return ImageRequest(self.prompt, self.width, self.height, self.steps, seed, self.owner)


@dataclass(frozen=True, slots=True)
class ImportSpec:
    """An archive to import as a new vector store, with the id `collection`.

    Its parts lie in the folder `upload_path` of the file store and have `size_bytes` together.
    `name` is that of the vector store, None for the one in the archive. `owner` as in `IngestSpec`.
    """

    collection: str = field(compare=False)
    name: str | None
    size_bytes: int
    upload_path: str
    owner: str = ""


@dataclass(frozen=True, slots=True)
class ZipSpec:
    """A ZIP file, each file of which becomes a document; see `IngestSpec` for the fields.

    `attributes` and `on_conflict` are for each of the documents.
    """

    collection: str
    filename: str
    size_bytes: int
    upload_path: str = field(compare=False)
    owner: str = ""
    digest: str = ""
    on_conflict: OnConflict = field(default="replace", compare=False)
    attributes: Attributes | None = field(default=None, compare=False)

    @property
    def folder(self) -> str:
        """The folder of the file store for the files that are unpacked."""
        return f"{self.upload_path}.files"

    def path(self, number: int) -> str:
        """Return the path there of a file, from 0."""
        return f"{self.folder}/{number}"


@dataclass(frozen=True, slots=True)
class ResponseSpec:
    """A stored response to generate in the background; the catalogue has the request.

    `owner` as in `IngestSpec`.
    """

    response_id: str
    model: str
    owner: str = ""


JobSpec: TypeAlias = IngestSpec | ImagesSpec | ImportSpec | ZipSpec | ResponseSpec

_KINDS: dict[type, JobKind] = {
    IngestSpec: JobKind.INGEST,
    ImagesSpec: JobKind.IMAGES,
    ImportSpec: JobKind.IMPORT,
    ZipSpec: JobKind.ZIP,
    ResponseSpec: JobKind.RESPONSE,
}


def kind_of(spec: JobSpec) -> JobKind:
    """Return the kind of the job that does this."""
    return _KINDS[type(spec)]


@dataclass(frozen=True, slots=True)
class UnreadFile:
    """A file of a ZIP file that became no document, with the reason."""

    filename: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class ZipOutcome:
    """The results for the finished files of a ZIP file.

    They count new searchable documents, `unchanged` ones that were searchable before, and files
    that became no document (`not_read`); `unread` lists the first of these.
    """

    documents: int = 0
    unchanged: int = 0
    not_read: int = 0
    unread: tuple[UnreadFile, ...] = ()


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it stands. Times are in seconds since the epoch.

    `done` of `total` are chunks stored, images made, documents imported, files of a ZIP file or
    responses; `total` is None until it is known.
    `error_code` and `error_message` are those of a failure, fit for the caller.
    `cancel_requested` is true from the request on, while the job still winds down. `warnings` are
    those of a document that was read, or of those of a ZIP file, whose `outcome` it has once it is
    unpacked.
    """

    id: str
    spec: JobSpec
    status: JobStatus
    created_at: float
    updated_at: float
    done: int = 0
    total: int | None = None
    error_code: str | None = None
    error_message: str | None = None
    cancel_requested: bool = False
    warnings: tuple[DocumentWarning, ...] = ()
    outcome: ZipOutcome | None = None

    __setstate__ = set_state

    @property
    def kind(self) -> JobKind:
        """What it does."""
        return kind_of(self.spec)

    @property
    def ended(self) -> bool:
        """Whether it will not change any more."""
        return self.status not in {JobStatus.QUEUED, JobStatus.RUNNING}


@dataclass(frozen=True, slots=True)
class JobQuery:
    """Which jobs of an owner to list, from behind the job id `after`; None is any."""

    kind: JobKind | None = None
    status: JobStatus | None = None
    limit: int = 20
    after: str | None = None
    owner: str = ""


@dataclass(frozen=True, slots=True)
class JobList:
    """One page of jobs, newest first; `next_after` goes into the next call, None at the end."""

    jobs: tuple[Job, ...]
    next_after: str | None = None


@dataclass(frozen=True, slots=True)
class Submitted:
    """The job that does what was asked, and whether it is a new one.

    `version` is that of the document, for an upload.
    """

    job: Job
    created: bool
    version: int = 1
