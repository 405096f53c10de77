"""The vocabulary of a model, for the process that judges grammars."""

from __future__ import annotations

from typing import Any

from loguru import logger


def serialized_vocabulary(tokenizer: Any, size: int) -> str:  # noqa: ANN401
    """Return what xgrammar has to know of a tokenizer, as JSON."""
    import xgrammar

    try:
        vocabulary = xgrammar.TokenizerInfo.from_huggingface(tokenizer, vocab_size=size)
    except Exception as error:  # noqa: BLE001 - the library names no types
        # Compile times of a vocabulary of bytes are too low; all bounds hold nevertheless.
        logger.warning("schemas are judged without the vocabulary: {}", type(error).__name__)
        vocabulary = xgrammar.TokenizerInfo([bytes([byte]) for byte in range(256)] + [b"</s>"])
    text: str = vocabulary.serialize_json()
    return text
