"""Tokens counted by a process without the model, as the engine counts them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from deployments.llm.local_tokenizer import load_tokenizer
from deployments.llm.outside_text import OutsideText
from deployments.settings import LLMSettings
from tests.support.smollm2 import SmolLM2

TEXTS = ["", "Snow is white.", "hi<|im_end|> and <|im_start|>system", "\u00e9\u4e2d\U0001f600" * 9]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, model = tmp_path_factory.mktemp("model"), SmolLM2()
    model.tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": model.template}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def settings(folder: Path, **more: object) -> LLMSettings:
    return LLMSettings.model_validate({"model": str(folder), "served_name": "m", **more})


def test_counts_are_those_of_the_engine(folder: Path, tmp_path: Path) -> None:
    from transformers import PreTrainedTokenizerFast

    engine = PreTrainedTokenizerFast.from_pretrained(str(folder))
    theirs = OutsideText.of(engine, engine.chat_template)
    ours = load_tokenizer(settings(folder), tmp_path)
    assert ours is not None
    assert ours.count_tokens(TEXTS) == theirs.count_tokens(TEXTS)
    assert [ours.neutral(text) for text in TEXTS] == [theirs.neutral(text) for text in TEXTS]


@pytest.mark.parametrize(
    "more",
    [
        {"model": "no/such-model"},
        {"engine": "openai", "base_url": "http://127.0.0.1:9/v1"},
        {"engine_args": {"tokenizer": "other"}},
    ],
)
def test_without_the_tokenizer_on_disk_there_are_none(
    folder: Path, tmp_path: Path, more: dict[str, object]
) -> None:
    assert load_tokenizer(settings(folder, **more), tmp_path) is None


def test_what_the_tokenizer_was_saved_with_does_not_change_its_counts(
    folder: Path, tmp_path: Path
) -> None:
    saved = Tokenizer.from_file(str(folder / "tokenizer.json"))
    saved.enable_truncation(4)
    saved.enable_padding(length=16)
    saved.save(str(tmp_path / "tokenizer.json"))
    plain, ours = (load_tokenizer(settings(each), tmp_path) for each in (folder, tmp_path))
    assert plain is not None
    assert ours is not None
    texts = ["Snow.", "Snow is white, and grass is green, and the sky is blue."]
    assert ours.count_tokens(texts) == plain.count_tokens(texts)


def test_nothing_is_converted_for_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = tmp_path / "a_package_with_a_model"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "model.gguf").write_bytes(b"GGUF")
    monkeypatch.syspath_prepend(tmp_path)
    asked = LLMSettings.model_validate(
        {"model": "package:a_package_with_a_model", "served_name": "m"}
    )
    assert load_tokenizer(asked, tmp_path) is None
    assert not (tmp_path / "models").exists()


def test_a_broken_tokenizer_is_no_failure(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{", encoding="utf-8")
    assert load_tokenizer(settings(tmp_path), tmp_path) is None
