"""Checks across settings: values that are valid alone and contradict each other."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from fsspec import available_protocols

from serve_app.settings.tree import ANSWERING_MODEL, PROMPT_MARGIN_TOKENS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deployments.settings import (
        EmbedderSettings,
        ImagesSettings,
        LLMSettings,
        RetrieverSettings,
    )
    from serve_app.settings.tree import SettingsTree


class Contradiction(NamedTuple):
    """`field` is the dotted path of the setting to change, `message` says how."""

    field: str
    message: str


def contradictions(settings: SettingsTree) -> list[Contradiction]:
    """List the contradictions between settings."""
    return [
        *_of_model(settings.llm),
        *_of_names(settings),
        *_of_store(settings.retriever),
        *_of_reranking(settings.retriever.rerank, settings.embedder),
        *_of_next_embedder(settings.embedder),
        *_of_images(settings.images),
        *_of_database(settings.database_url),
        *_of_files(settings.files),
        *_of_times(settings),
        *_of_lengths(settings),
    ]


def _of_model(llm: LLMSettings) -> Iterator[Contradiction]:
    if llm.engine == "openai":
        if llm.base_url is None:
            yield Contradiction("llm.base_url", "the `openai` engine needs the endpoint's address")
        else:
            yield from _of_address("llm.base_url", llm.base_url, "GENSERVE_LLM_API_KEY")
        if llm.engine_args:
            yield Contradiction("llm.engine_args", "only the `vllm` engine takes engine arguments")
        return
    if llm.base_url is not None:
        yield Contradiction("llm.base_url", "only the `openai` engine has an address")
    for name, instead in (("model", "llm.model"), ("served_model_name", "llm.served_name")):
        if name in llm.engine_args:
            yield Contradiction(f"llm.engine_args.{name}", f"set `{instead}` instead")


def _of_names(settings: SettingsTree) -> Iterator[Contradiction]:
    taken = {ANSWERING_MODEL: "the answering model"}
    if settings.embedder.reranker:
        taken[settings.embedder.reranking_name] = "the reranker"
    for section, name in (
        ("llm", settings.llm.served_name),
        ("embedder", settings.embedder.name),
        ("images", settings.images.name),
    ):
        if name in taken:
            yield Contradiction(
                f"{section}.served_name", f"`{name}` is the id of {taken[name]}: choose another"
            )
        taken[name] = f"the model of `{section}`"


def _of_store(retriever: RetrieverSettings) -> Iterator[Contradiction]:
    if retriever.store == "qdrant":
        if retriever.url is None:
            yield Contradiction("retriever.url", "the `qdrant` store needs the server's address")
        elif retriever.url != ":memory:":
            yield from _of_address("retriever.url", retriever.url, "QDRANT_API_KEY")
    elif retriever.url is not None:
        yield Contradiction("retriever.url", "only the `qdrant` store has an address")


def _of_reranking(candidates: int, embedder: EmbedderSettings) -> Iterator[Contradiction]:
    if candidates and embedder.reranker is None:
        yield Contradiction(
            "retriever.rerank",
            f"{candidates} candidates are to be reranked and `embedder.reranker` names no model: "
            "name a cross-encoder there, or set this to 0",
        )


def _of_next_embedder(embedder: EmbedderSettings) -> Iterator[Contradiction]:
    vectors = {"model", "query_prefix", "passage_prefix"}
    following = embedder.next
    if following and embedder.model_dump(include=vectors) == following.model_dump(include=vectors):
        yield Contradiction("embedder.next", "is the present model: name another, or remove it")


def _of_images(images: ImagesSettings) -> Iterator[Contradiction]:
    if images.size > images.max_size:
        yield Contradiction(
            "images.size", f"{images.size} is over `images.max_size` ({images.max_size})"
        )
    if images.steps > images.max_steps:
        yield Contradiction(
            "images.steps", f"{images.steps} is over `images.max_steps` ({images.max_steps})"
        )


def _of_database(url: str) -> Iterator[Contradiction]:
    if not url.startswith(("sqlite:///", "postgresql://")):
        yield Contradiction(
            "database_url", "must begin with postgresql:// (or be left out, for SQLite)"
        )
    elif urlsplit(url).password or "password=" in urlsplit(url).query:
        yield Contradiction(
            "database_url",
            "settings are shown on the dashboard: put the address with its password into the "
            "environment as GENSERVE_DATABASE_URL",
        )


def _of_files(files: str) -> Iterator[Contradiction]:
    protocol, separator, _ = files.partition("://")
    known = available_protocols()
    if separator and protocol not in known:
        near = get_close_matches(protocol, known, 1, cutoff=0.5)
        meant = f", did you mean `{near[0]}://`?" if near else ""
        yield Contradiction("files", f"fsspec knows no `{protocol}://`{meant}")
    if "@" in urlsplit(files).netloc:
        yield Contradiction(
            "files",
            "settings are shown on the dashboard: give the nodes the key of the store, in "
            "their environment or by their role",
        )


def _of_address(field: str, url: str, key: str) -> Iterator[Contradiction]:
    try:
        parts = urlsplit(url)
        whole = parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:
        whole = False
    if not whole:
        yield Contradiction(field, "must be a whole address, like http://host:port")
    elif "@" in parts.netloc:
        yield Contradiction(
            field, f"settings are shown on the dashboard: put the key into the environment as {key}"
        )


def _of_times(settings: SettingsTree) -> Iterator[Contradiction]:
    answer, page_s = settings.answer, settings.scraper.page_timeout_s
    if page_s > answer.context_timeout_s:
        yield Contradiction(
            "scraper.page_timeout_s",
            f"{page_s:g} is longer than `answer.context_timeout_s` ({answer.context_timeout_s:g})",
        )
    if settings.renderer and settings.renderer.page_timeout_s > page_s:
        yield Contradiction(
            "renderer.page_timeout_s",
            f"{settings.renderer.page_timeout_s:g} is longer than `scraper.page_timeout_s` "
            f"({page_s:g}), which includes it",
        )
    if answer.context_timeout_s + answer.first_token_timeout_s > answer.total_timeout_s:
        yield Contradiction(
            "answer.total_timeout_s",
            f"{answer.total_timeout_s:g} is shorter than `context_timeout_s` and "
            "`first_token_timeout_s` together",
        )


def _of_lengths(settings: SettingsTree) -> Iterator[Contradiction]:
    answer, limits = settings.answer, settings.limits
    if answer.max_answer_tokens > limits.max_output_tokens:
        yield Contradiction(
            "answer.max_answer_tokens",
            f"{answer.max_answer_tokens} is over `limits.max_output_tokens` "
            f"({limits.max_output_tokens})",
        )
    taken = answer.max_source_tokens + answer.max_answer_tokens + PROMPT_MARGIN_TOKENS
    window = _window_tokens(settings.llm)
    if window is not None and taken >= window:
        yield Contradiction(
            "answer.max_source_tokens",
            f"sources, answer and margin take {taken} tokens of the model's {window}: "
            "nothing is left for the question",
        )


def _window_tokens(llm: LLMSettings) -> int | None:
    if llm.engine == "openai":
        return llm.context_tokens
    # Unset, vLLM takes it from the model, which is not known before it is loaded.
    window = llm.engine_args.get("max_model_len")
    return window if isinstance(window, int) else None
