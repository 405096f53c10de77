"""The capabilities that the HTTP layer uses, as protocols."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deployments.interfaces import (
        Embedder,
        ImageGenerator,
        Jobs,
        Parser,
        Retriever,
        Scraper,
        TextGenerator,
    )


@dataclass(frozen=True, slots=True)
class Services:
    """One field per deployment, by the name that `/readyz` shows."""

    llm: TextGenerator
    embedder: Embedder
    scraper: Scraper
    parser: Parser
    retriever: Retriever
    images: ImageGenerator
    jobs: Jobs
