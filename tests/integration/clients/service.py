"""The service that a client talks with, what it is asked, and how the test is told."""

from __future__ import annotations

import json
import os
from typing import Any

URL = os.environ["TEST_URL"]  # ends with /v1
ROOT = URL.removesuffix("/v1")
KEY = os.environ["TEST_KEY"]
MODEL = os.environ["TEST_MODEL"]
EMBEDDER = os.environ["TEST_EMBEDDER"]
STORE = os.environ["TEST_STORE"]  # a vector store that has the answer

CAPITAL = "Name the capital of France."
QUESTION = "What does the lighthouse of Skarn burn?"
FACT = "The lighthouse of Skarn burns walrus oil, as it did in 1790."
# Longer than the embedding model reads at once, with the fact at its start.
LONG_TEXT = f"{FACT} " + "The harbour of Orrin was rebuilt after the storm. " * 150
OTHER_TEXT = "The bakery of Lindgard sells its plum loaf on Thursdays only."
CONTEXT: dict[str, Any] = {"context": {"collection": STORE, "web": False}}


def tell(**told: Any) -> None:
    """Print what came of the conversation."""
    print(json.dumps(told))  # noqa: T201 - for the test to read
