"""Attributions as the citations of Anthropic's text blocks.

All have one type, `web_search_result_location`, also those of documents. It alone has the address
of what is cited. The other types count the documents or search results of the request, among which
these sources are not, and clients that look them up there would show another one. Some clients,
such as Vercel's, end a stream at a type that they do not know.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from serve_app.schemas.answers import Attribution, Source


class SourceCitations:
    """Makes the citations of an answer with these sources."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = {source.id: source for source in sources}

    def of(self, attributions: Iterable[Attribution]) -> list[dict[str, Any]]:
        """Return the citations of the sentences that have a source.

        Beside Anthropic's fields they have the number of the source, the place of the sentence in
        the text of the answer, and that of the quote in the text of the source.
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
