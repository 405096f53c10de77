"""Bounds that several packages need; what only one needs is a constant beside its use."""

MAX_IMAGE_PROMPT_CHARS = 1000
MAX_TEXTS_PER_CALL = 2048
"""Texts that one call of the embedder may hold, as many as OpenAI's."""
MAX_CHARS_PER_TEXT = 1_000_000
"""Characters of a text that a client has embedded."""
MAX_PAIRS_PER_CALL = 256
"""Texts that one call of the embedder may score against a query."""
MAX_WATCHERS = 128
"""Callers that may watch jobs at the same time, at one Jobs replica."""
