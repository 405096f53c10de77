"""Scripts that a tokenizer knows, and the share of a question's letters in them."""

from __future__ import annotations

import asyncio

import pytest
import tokenizers
from tokenizers import models

from deployments.text.scripts import known_scripts, known_share
from tests.support.minilm import MiniLM


def test_the_shipped_embedder_knows_latin_letters_only() -> None:
    assert asyncio.run(MiniLM().model()).scripts == frozenset({"LATIN"})


def test_a_slow_tokenizer_says_nothing() -> None:
    assert known_scripts(object()) is None


def test_a_tokenizer_of_single_bytes_says_nothing() -> None:
    class Tokenizer:
        backend_tokenizer = tokenizers.Tokenizer(models.BPE(vocab={"a": 0, "b": 1}, merges=[]))

    assert known_scripts(Tokenizer()) is None


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("Größe, 2 m?", 1.0),
        ("Что это?", 0.0),
        ("ประเทศไทย", 0.0),
        ("什么是 ABC", 0.5),
        ("2024", 1.0),
    ],
)
def test_the_share_of_known_letters(text: str, share: float) -> None:
    assert known_share(text, {"LATIN"}) == share
    assert known_share(text, {"LATIN", "CYRILLIC", "THAI", "CJK"}) == 1.0
    assert known_share(text, None) == 1.0
