"""Everything a deployment may raise on purpose.

ServiceError                 has a message fit for the caller
├── InvalidRequest           the caller must change something
│   ├── NotFound             there is no such thing
│   ├── Conflict             it does not fit the state things are in
│   ├── TooLarge             over a size bound
│   ├── UnsupportedMedia     not a format that is read
│   └── Unprocessable        the right format, but nothing can be made of it
├── Overloaded               a bounded queue is full; try again after `retry_after_s`
├── DeadlineExceeded         the time allowed ran out
├── Refused                  a backend does not allow it to the service
└── Unavailable              a backend is down or broke

They cross process boundaries by pickle: Python rebuilds an exception from `args`
and `__dict__`, so `message` alone is positional.
"""

from __future__ import annotations

CONTEXT_LENGTH_EXCEEDED = "context_length_exceeded"
"""OpenAI's code of the error for more tokens than a model takes."""

MODEL_CHANGED = "model_changed"
"""Code of the Conflict that an embedder raises if it has another model than the caller expects."""

EMBEDDING_MODEL_CHANGED = "embedding_model_changed"
"""Code of the error for a collection whose index belongs to no loaded model.

Searches work again once it is embedded again; jobs do not wait for that.
"""

PARTS_MISSING = "parts_missing"
"""Code of the error for an import that is begun before all parts of its archive are there."""

NOT_STORED_WHOLE = "not_stored_whole"
"""Code of the error for a document that is published before all of its chunks are stored."""

FOREIGN_COLLECTION = "foreign_collection"
"""Code of the error for a collection in Qdrant that this service did not create."""


class ServiceError(Exception):
    """Base of the tree: `message` says what to do, `code` is for programs.

    `cpu_s` is the processor time that was spent in vain, where that was measured.
    """

    code = "internal_error"
    cpu_s = 0.0

    def __init_subclass__(cls, *, code: str | None = None) -> None:
        super().__init_subclass__()
        if code is not None:
            cls.code = code

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code
        self.param = param
        self.retry_after_s = retry_after_s


class InvalidRequest(ServiceError, code="invalid_request"):
    """The request cannot be served as it is."""


class NotFound(InvalidRequest, code="not_found"):
    """No such model, document, collection or route."""


class Conflict(InvalidRequest, code="conflict"):
    """What is asked does not fit the state things are in, such as a job that has ended."""


class TooLarge(InvalidRequest, code="too_large"):
    """A body, file or prompt over its bound."""


class UnsupportedMedia(InvalidRequest, code="unsupported_media_type"):
    """A file or body in a format that is not read."""


class Unprocessable(InvalidRequest, code="unprocessable"):
    """A file in a known format from which nothing can be read."""


class Overloaded(ServiceError, code="overloaded"):
    """A bounded queue is full; the caller sets `where` to the deployment of the queue."""

    where: str | None = None


class DeadlineExceeded(ServiceError, code="deadline_exceeded"):
    """The work did not finish in the time allowed."""


class Refused(ServiceError, code="refused"):
    """A backend does not allow it to the service, and would not at another try."""


class Unavailable(ServiceError, code="unavailable"):
    """A backend is down."""


def error_of(code: str | None, message: str) -> ServiceError:
    """Make the error again of which only the code was kept, such as that of a failed job."""
    kinds: list[type[ServiceError]] = [ServiceError]
    for kind in kinds:  # grows while it is walked
        kinds += kind.__subclasses__()
    found = next((kind for kind in kinds if kind.code == code), ServiceError)
    return found(message, code=code)
