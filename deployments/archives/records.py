"""The JSON records in an archive: their fields and bounds.

Fields that are not known are ignored: a newer minor version may have added them.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    StringConstraints,
    ValidationError,
    model_validator,
)

from deployments.archives.headers import MAX_MEMBER_BYTES, bad_archive
from deployments.document_ids import DOCUMENT_ID, DOCUMENT_NAME
from deployments.filters import (
    MAX_ATTRIBUTES,
    MAX_KEY_CHARS,
    MAX_VALUE_CHARS,
    AttributeValue,
    is_number,
)

if TYPE_CHECKING:
    from deployments.types import DocumentWarning

FORMAT: Final = "genserve-collection"
MAJOR, MINOR = 1, 0
MAX_RECORD_BYTES = 64 * 1024
"""Of manifest.json, a document.json or end.json."""
MAX_LINE_BYTES = 1024 * 1024
"""Of a chunk in chunks.jsonl."""
MAX_CHUNKS = 2_000_000
"""Of a document."""
MAX_DIMENSIONS = 65_536

_MAX_COUNT = 2**53
MAX_WARNINGS = 20
_MAX_MESSAGE_CHARS, _MAX_PAGES = 500, 100
_MAX_CHUNK_CHARS = 16 * 4096  # the chunker's most, for chunks of the most tokens
_MAX_SECTION_CHARS = 100_000
_MAX_CLOCK_SKEW_S = 24 * 3600.0
_SHOWN_CHARS = 200

T = TypeVar("T", bound="Record")


def _no_nul(text: str) -> str:
    if "\0" in text:
        msg = "has a NUL character"
        raise ValueError(msg)
    return text


def _attribute(value: Any) -> AttributeValue:  # noqa: ANN401 - not checked yet
    if is_number(value):
        try:
            exact = math.isfinite(value) and float(value) == value
        except OverflowError:
            exact = False
        if not exact:
            msg = "is no number that a double can hold exactly"
            raise ValueError(msg)
    elif isinstance(value, str):
        if len(_no_nul(value)) > MAX_VALUE_CHARS:
            msg = f"has more than {MAX_VALUE_CHARS} characters"
            raise ValueError(msg)
    elif not isinstance(value, bool):
        msg = "is neither a string nor a number nor a boolean"
        raise ValueError(msg)
    checked: AttributeValue = value
    return checked


def _past(time_s: float) -> float:
    if time_s > time.time() + _MAX_CLOCK_SKEW_S:
        msg = "is in the future"
        raise ValueError(msg)
    return time_s


_NO_NUL = AfterValidator(_no_nul)

Count = Annotated[int, Field(ge=0, le=_MAX_COUNT)]
Page = Annotated[int, Field(ge=1, le=_MAX_COUNT)]
Time = Annotated[float, Field(ge=0, allow_inf_nan=False), AfterValidator(_past)]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}\z")]
Name = Annotated[
    str,
    StringConstraints(min_length=1, max_length=255, pattern=rf"^{DOCUMENT_NAME}\z"),
]
Printable = Annotated[str, StringConstraints(max_length=200, pattern=r"^[\x20-\x7e]*\z")]


class Record(BaseModel):
    """A record of an archive."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class Embedding(Record):
    """The embedding model of a collection.

    `fingerprint` is the name of its index: a hash of the weights, the prefixes, the length of the
    vectors and the tokenizer of the word index.
    """

    model: Annotated[str, StringConstraints(max_length=500), _NO_NUL]
    fingerprint: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8,64}\z")]


class Manifest(Record):
    """manifest.json: the collection, and how it was exported."""

    format: Literal["genserve-collection"]
    version: Annotated[str, StringConstraints(pattern=r"^[0-9]{1,4}\.[0-9]{1,4}\z")]
    created: Time
    name: Annotated[str, StringConstraints(max_length=256), _NO_NUL]
    metadata: Annotated[
        dict[
            Annotated[str, StringConstraints(max_length=64), _NO_NUL],
            Annotated[str, StringConstraints(max_length=512), _NO_NUL],
        ],
        Field(max_length=16),
    ]
    expires_days: Annotated[int, Field(ge=1, le=365)] | None = None
    embedding: Embedding | None = None
    vectors: bool

    @model_validator(mode="after")
    def _vectors_have_a_model(self) -> Manifest:
        if self.vectors and self.embedding is None:
            msg = "there are vectors, but no embedding model is named"
            raise ValueError(msg)
        return self


class Part(Record):
    """A file beside a document.json."""

    bytes: Annotated[int, Field(ge=0, le=MAX_MEMBER_BYTES)]
    sha256: Digest


class Chunks(Part):
    """chunks.jsonl."""

    count: Annotated[int, Field(ge=1, le=MAX_CHUNKS)]


class Vectors(Part):
    """vectors.f32."""

    dimensions: Annotated[int, Field(ge=1, le=MAX_DIMENSIONS)]


class Sizes(Record):
    """The chunking that was asked for when the document was uploaded."""

    max_tokens: Annotated[int, Field(ge=1, le=4096)]
    overlap_tokens: Annotated[int, Field(ge=0, le=2048)]


class WarningRecord(Record):
    """What was not read of a document; see `deployments.types.DocumentWarning`."""

    code: Annotated[Printable, StringConstraints(max_length=40)]
    message: Annotated[str, StringConstraints(max_length=_MAX_MESSAGE_CHARS), _NO_NUL]
    pages: Annotated[
        list[Annotated[int, Field(ge=1, le=_MAX_COUNT)]], Field(max_length=_MAX_PAGES)
    ] = []


def warning_record(warning: DocumentWarning) -> WarningRecord:
    """Return the record of a warning, within its bounds."""
    return WarningRecord(
        code=warning.code,
        message=warning.message[:_MAX_MESSAGE_CHARS],
        pages=list(warning.pages[:_MAX_PAGES]),
    )


class DocumentRecord(Record):
    """document.json: one version of a document, and the files beside it."""

    id: Annotated[str, StringConstraints(pattern=rf"^{DOCUMENT_ID}\z")]
    name: Name
    title: Annotated[str, StringConstraints(max_length=1000), _NO_NUL]
    media_type: Printable
    size_bytes: Annotated[int, Field(ge=0, le=MAX_MEMBER_BYTES)]
    pages: Annotated[int, Field(ge=0, le=_MAX_COUNT)] | None = None
    created: Time
    version: Annotated[int, Field(ge=1, le=2**31 - 1)]
    author: Annotated[str, StringConstraints(max_length=100), _NO_NUL] = ""
    chunker: Annotated[Printable, StringConstraints(max_length=40)] = ""
    chunking: Sizes | None = None
    warnings: Annotated[list[WarningRecord], Field(max_length=MAX_WARNINGS)] = []
    language: Annotated[str, StringConstraints(pattern=r"^[a-z]{0,8}\z")] = ""
    attributes: Annotated[
        dict[
            Annotated[str, StringConstraints(min_length=1, max_length=MAX_KEY_CHARS), _NO_NUL],
            Annotated[AttributeValue, PlainValidator(_attribute)],
        ],
        Field(max_length=MAX_ATTRIBUTES),
    ]
    sha256: Digest | None = None
    chunks: Chunks
    vectors: Vectors | None = None
    content: Part | None = None

    @model_validator(mode="after")
    def _sizes_agree(self) -> DocumentRecord:
        if self.vectors is not None:
            expected = self.chunks.count * self.vectors.dimensions * 4
            if self.vectors.bytes != expected:
                msg = f"its vectors must have {expected} bytes"
                raise ValueError(msg)
        if self.chunks.bytes > self.chunks.count * (MAX_LINE_BYTES + 1):
            msg = "its chunks are too long"
            raise ValueError(msg)
        if self.content is not None:
            if self.content.bytes != self.size_bytes:
                msg = "its content is not as long as it says itself"
                raise ValueError(msg)
            if self.sha256 not in {None, self.content.sha256}:
                msg = "it has two digests"
                raise ValueError(msg)
        return self


class ChunkRecord(Record):
    """A line of chunks.jsonl; see `deployments.types.Chunk`."""

    number: Annotated[int, Field(ge=0, lt=MAX_CHUNKS)]
    text: Annotated[str, StringConstraints(min_length=1, max_length=_MAX_CHUNK_CHARS), _NO_NUL]
    tokens: Annotated[int, Field(ge=0, le=_MAX_CHUNK_CHARS)]
    page_start: Page | None = None
    page_end: Page | None = None
    section: Annotated[str, StringConstraints(max_length=_MAX_SECTION_CHARS), _NO_NUL] = ""
    separator: Annotated[str, StringConstraints(pattern=r"^\s{0,8}\z")] = "\n\n"
    overlap_chars: Count = 0
    ocr: bool = False

    @model_validator(mode="after")
    def _fits(self) -> ChunkRecord:
        if self.overlap_chars > (len(self.text) if self.number else 0):
            msg = "it overlaps more than its own text"
            raise ValueError(msg)
        if (self.page_start or 0) > (self.page_end or 0):
            msg = "its pages are not in order"
            raise ValueError(msg)
        return self


class End(Record):
    """end.json: what the archive must have held by then."""

    documents: Count


def parse(kind: type[T], data: bytes, where: str) -> T:
    """Read a record; raise Unprocessable with the first thing that is wrong."""
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        reason = f"{where}: {place}: {message}" if place else f"{where}: {message}"
        raise bad_archive(reason[:_SHOWN_CHARS]) from None


def parse_manifest(data: bytes) -> Manifest:
    """Read the manifest; raise Unprocessable for another format or a newer major version."""

    class Kind(Record):
        format: str
        version: str

    kind = parse(Kind, data, "manifest.json")
    if kind.format != FORMAT:
        msg = f"it is not a `{FORMAT}`"
        raise bad_archive(msg)
    major = kind.version.partition(".")[0]
    if major.isascii() and major.isdecimal() and int(major[:9]) > MAJOR:
        msg = (
            f"its format has version {kind.version[:20]}, and this service reads {MAJOR}.x: update "
            "this service, or export again with the version that runs here"
        )
        raise bad_archive(msg)
    manifest = parse(Manifest, data, "manifest.json")
    if manifest.version.partition(".")[0] != str(MAJOR):
        msg = f"its format has version {manifest.version}, which does not exist"
        raise bad_archive(msg)
    return manifest
