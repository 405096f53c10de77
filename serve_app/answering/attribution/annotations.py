"""Attributions as the annotations of OpenAI's chat completions.

Chat completions know one kind, `url_citation`: clients that validate, such as Vercel's, refuse a
message with any other. So a document is cited by the URL of its resource.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from serve_app.schemas.answers import Attribution, Source


class Annotations:
    """Numbers the annotations of each choice, as OpenAI's clients need them to join a stream."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = {source.id: source for source in sources}
        self._counts: dict[int, int] = {}

    def of(self, attributions: Iterable[Attribution], choice: int) -> list[dict[str, Any]]:
        """Return the annotations of the sentences of a choice that have a source."""
        made = []
        for one in attributions:
            source = self._sources.get(one.source or 0)
            if source is None or one.quote is None or one.choice != choice:
                continue
            index = self._counts.get(choice, 0)
            self._counts[choice] = index + 1
            citation = {
                "start_index": one.start,
                "end_index": one.end,
                "title": source.title,
                "url": source.uri,
                "source": source.id,
                "filename": source.filename,
                "strength": one.strength,
                "corrected": one.corrected,
                "quote": one.quote.text,
                "quote_start": one.quote.start,
                "quote_end": one.quote.end,
            }
            made.append({"index": index, "type": "url_citation", "url_citation": citation})
        return made
