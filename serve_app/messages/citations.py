"""Translate attributions to the citations of Anthropic's text blocks.

All have the type `web_search_result_location`, also those of documents: only this type has a URL.
The other types are indexes into the documents or search results of the request, which do not
include these sources, so clients would show a wrong one. Some clients, such as Vercel's, end a
stream at an unknown type.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from serve_app.schemas.answers import Attribution, Source


class SourceCitations:
    """Makes the citations of an answer from its sources."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = {source.id: source for source in sources}

    def of(self, attributions: Iterable[Attribution]) -> list[dict[str, Any]]:
        """Return the citations of the sentences that have a source.

        Beside Anthropic's fields they have the number of the source, the position of the sentence
        in the answer, and the position of the quote in the source.
        """
        made = []
        for one in attributions:
            source = self._sources.get(one.source or 0)
            if source is None or one.quote is None:
                continue
            citation: dict[str, Any] = {
                "type": "web_search_result_location",
                "cited_text": one.quote.text,
                "encrypted_index": str(source.id),
                "title": source.name,
                "url": source.content_uri or source.uri,
                "source_number": source.id,
                "start_index": one.start,
                "end_index": one.end,
                "strength": one.strength,
                "corrected": one.corrected,
                "quote_start": one.quote.start,
                "quote_end": one.quote.end,
            }
            if source.page is not None:
                citation["page"] = source.page
            made.append(citation)
        return made
