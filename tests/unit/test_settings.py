"""The settings tree refuses what cannot be meant, and fills in what is left out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from loguru import logger
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from deployments.settings import Secrets, database_url
from serve_app.settings import AppSettings
from serve_app.settings.removed import REMOVED

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MOST_FIELDS = 90
"""Of `args:`: the settings and their sections."""
LLM = {"model": "Qwen/Qwen3-8B", "served_name": "Qwen3-8B"}
EMBEDDER = {"model": "BAAI/bge-m3"}


def settings(**sections: Any) -> AppSettings:
    return AppSettings.model_validate({"llm": LLM, "embedder": EMBEDDER, **sections})


def test_what_is_left_out_is_filled_in_from_where_it_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    made = settings()

    assert made.data_dir == str(tmp_path / ".data")
    assert made.answer.context_timeout_s > made.scraper.page_timeout_s
    assert made.renderer is None


def test_folders_may_be_given_from_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))

    made = settings(data_dir="~/genserve", files="~/files")

    assert made.data_dir == str(tmp_path / "genserve")
    assert made.files == str(tmp_path / "files")


def test_the_settings_of_a_running_service_can_be_given_again(tmp_path: Path) -> None:
    made = settings(
        data_dir=str(tmp_path),
        scraper={"allowed_networks": ["10.1.0.0/16"]},
        parser={"chunk_tokens": 64},
    )

    assert AppSettings.model_validate_json(made.model_dump_json()) == made


def test_a_reranker_may_be_used_or_kept_ready() -> None:
    embedder = EMBEDDER | {"reranker": "BAAI/bge-reranker-v2-m3"}

    for candidates in (0, 20):
        assert settings(embedder=embedder, retriever={"rerank": candidates})


def test_a_reader_can_hold_the_settings() -> None:
    count = len(dict(fields_of(AppSettings)))
    assert count <= MOST_FIELDS, "make one a constant, or one follow from another"


def fields_of(model: type[BaseModel], section: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Name every field of the tree, sections included."""
    for name, field in model.model_fields.items():
        yield f"{section}{name}", field
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from fields_of(field.annotation, f"{section}{name}.")


@pytest.mark.parametrize("model", [AppSettings, Secrets])
def test_every_setting_is_described(model: type[BaseModel]) -> None:
    fields = dict(fields_of(model))
    sections = {name.rpartition(".")[0] for name in fields}
    undescribed = {name for name, field in fields.items() if not field.description}
    assert undescribed - sections == set()


def test_no_removed_setting_is_left() -> None:
    assert set(REMOVED).isdisjoint(dict(fields_of(AppSettings)))


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError):
        settings().answer.top_k = 9  # type: ignore[misc]


@pytest.mark.parametrize(
    ("sections", "says"),
    [
        ({"lmm": {}}, "lmm"),
        ({"answer": {"topk": 3}}, "topk"),
        ({"answer": {"top_k": 0}}, "greater than 0"),
        ({"limits": {"max_documents": "many"}}, "valid integer"),
        ({"answer": {"total_timeout_s": float("inf")}}, "finite"),
        ({"data_dir": ""}, "at least 1 character"),
        ({"files": "s4://bucket/there"}, "did you mean `s3://`"),
        ({"files": "carrierpigeon://there"}, "knows no `carrierpigeon://`"),
        ({"data_dir": "~nobody-of-that-name/data"}, "home"),
        ({"llm": LLM | {"served_name": "genserve"}}, "choose another"),
        ({"llm": LLM | {"engine": "openai"}}, "needs the endpoint's address"),
        ({"llm": LLM | {"engine": "openai", "base_url": "api.test/v1"}}, "whole address"),
        ({"llm": LLM | {"engine": "openai", "base_url": "http://[::1/v1"}}, "whole address"),
        ({"llm": LLM | {"base_url": "http://api.test/v1"}}, "only the `openai` engine"),
        (
            {
                "llm": LLM
                | {
                    "engine": "openai",
                    "base_url": "http://api.test/v1",
                    "engine_args": {"max_model_len": 9},
                }
            },
            "only the `vllm` engine",
        ),
        ({"llm": LLM | {"engine_args": {"served_model_name": "x"}}}, "set `llm.served_name`"),
        ({"llm": LLM | {"engine_args": {"max_model_len": 2048}}}, "nothing is left"),
        (
            {
                "llm": LLM
                | {"engine": "openai", "base_url": "http://api.test/v1", "context_tokens": 1024}
            },
            "nothing is left",
        ),
        ({"retriever": {"store": "qdrant"}}, "needs the server's address"),
        ({"retriever": {"store": "qdrant", "url": "qdrant:6333"}}, "whole address"),
        ({"retriever": {"url": "http://qdrant:6333"}}, "only the `qdrant` store"),
        ({"retriever": {"rerank": 20}}, "name a cross-encoder there, or set this to 0"),
        ({"scraper": {"page_timeout_s": 11}}, "longer than `answer.context_timeout_s` (10)"),
        ({"images": {"size": 512}}, "over `images.max_size` (256)"),
        ({"images": {"steps": 60}}, "over `images.max_steps`"),
        ({"database_url": "mysql://db/x"}, "postgresql://"),
        ({"answer": {"total_timeout_s": 30}}, "shorter than"),
        ({"answer": {"max_answer_tokens": 5000}}, "over `limits.max_output_tokens` (4096)"),
    ],
)
def test_what_cannot_be_meant_is_refused_saying_why(sections: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError) as refused:
        settings(**sections)

    assert says in str(refused.value)
    assert len(refused.value.errors()) == 1


def test_a_missing_embedder_is_one_problem_not_two() -> None:
    with pytest.raises(ValidationError) as refused:
        AppSettings.model_validate({"llm": LLM, "embedder": {}})

    assert [e["loc"] for e in refused.value.errors()] == [("embedder", "model")]


def test_a_password_in_an_address_is_refused_without_repeating_it() -> None:
    with pytest.raises(ValidationError) as refused:
        settings(retriever={"store": "qdrant", "url": "https://me:hunter2@qdrant.test"})

    assert "QDRANT_API_KEY" in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_keys_come_from_the_environment_and_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENSERVE_LLM_API_KEY", "sk-first")
    monkeypatch.setenv("QDRANT_API_KEY", "")

    secrets = Secrets()

    assert secrets.llm_api_key is not None
    assert secrets.llm_api_key.get_secret_value() == "sk-first"
    assert secrets.qdrant_api_key is None
    assert "sk-first" not in f"{secrets!r} {secrets} {secrets.model_dump_json()}"


@pytest.fixture
def warnings() -> Iterator[list[str]]:
    said: list[str] = []
    sink = logger.add(said.append, level="WARNING", format="{message}")
    yield said
    logger.remove(sink)


def test_names_of_version_0_1_are_read_with_a_warning(warnings: list[str]) -> None:
    url = "postgresql://genserve@db.test/genserve"
    made = settings(jobs={"database_url": url}, retriever={"max_collections": 64})
    assert made.database_url == url
    assert made.limits.quotas.collections == 64
    assert "rename the setting `jobs.database_url` to `database_url`" in warnings[0]
    assert "`limits.max_collections`" in warnings[1]
    assert settings(jobs={"database_url": None}).database_url.startswith("sqlite:///")


def test_a_setting_under_both_names_is_refused() -> None:
    url = "postgresql://genserve@db.test/genserve"
    with pytest.raises(ValidationError, match=r"jobs\.database_url"):
        settings(jobs={"database_url": url}, database_url=f"{url}2")


def test_the_environment_names_the_database(
    monkeypatch: pytest.MonkeyPatch, warnings: list[str]
) -> None:
    monkeypatch.setenv("GENSERVE_JOBS_DATABASE_URL", "postgresql://old.test/")
    assert database_url("sqlite:///a", Secrets()) == "postgresql://old.test/"
    assert "rename GENSERVE_JOBS_DATABASE_URL to GENSERVE_DATABASE_URL" in warnings[0]
    monkeypatch.setenv("GENSERVE_DATABASE_URL", "postgresql://new.test/")
    assert database_url("sqlite:///a", Secrets()) == "postgresql://new.test/"
    assert len(warnings) == 1
