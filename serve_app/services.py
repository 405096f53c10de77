"""What the HTTP layer stands on: the capabilities, as protocols, and nothing else."""

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
    """One field a deployment, by the name that `/readyz` shows."""

    llm: TextGenerator
    embedder: Embedder
    scraper: Scraper
    parser: Parser
    retriever: Retriever
    images: ImageGenerator
    jobs: Jobs
