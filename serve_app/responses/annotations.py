"""Translate attributions to the annotations of OpenAI's output text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deployments.kept_files import file_id_of

if TYPE_CHECKING:
    from serve_app.schemas.answers import Attribution, Source

_DOCUMENTS = "/v1/documents/"


def annotation_of(attribution: Attribution, source: Source | None) -> dict[str, Any] | None:
    """Return the annotation of a sentence; None if no source supports it.

    Documents are cited by `file_citation`, whose `index` is the end of the sentence in characters,
    and pages by `url_citation`. The other fields are GenServe's own.
    """
    if source is None or attribution.quote is None:
        return None
    place = {"start_index": attribution.start, "end_index": attribution.end}
    ours = {
        "source": source.id,
        "strength": attribution.strength,
        "corrected": attribution.corrected,
        "quote": attribution.quote.text,
    }
    if source.kind == "page":
        return {"type": "url_citation", "url": source.uri, "title": source.name, **place, **ours}
    return {
        "type": "file_citation",
        "file_id": file_id(source),
        "filename": source.filename or source.name,
        "index": attribution.end,
        **place,
        "page": source.page,
        "content_uri": source.content_uri,
        **ours,
    }


def search_result(source: Source) -> dict[str, Any]:
    """Return a document's passage as a result of a `file_search_call`."""
    return {
        "file_id": file_id(source),
        "filename": source.filename or source.name,
        "score": min(max(source.score or 0.0, 0.0), 1.0),
        "text": source.text,
        "attributes": source.attributes or {},
    }


def file_id(source: Source) -> str:
    """Return the file id of a document."""
    return file_id_of(source.uri.removeprefix(_DOCUMENTS).partition("?")[0])
