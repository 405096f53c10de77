"""Bounds of one request that the schemas do not know, and sizes in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deployments.errors import InvalidRequest, TooLarge
from serve_app.schemas.fields import MAX_MESSAGES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from serve_app.settings import AppSettings

_MAX_TOP_K = 20

_WHOLE_FROM = 10  # smaller numbers get a decimal


def size_in_words(size_bytes: int) -> str:
    """Write a size for people: `32 MB`, `1.5 MB`, `900 bytes`; an MB has 1024 * 1024 bytes."""
    for unit_bytes, name in ((1024**2, "MB"), (1024, "KB")):
        if size_bytes >= unit_bytes:
            size = size_bytes / unit_bytes
            digits = 0 if size % 1 == 0 or size >= _WHOLE_FROM else 1
            return f"{size:.{digits}f} {name}"
    return f"{size_bytes} bytes"


def too_large(what: str, most_bytes: int) -> str:
    """Say that a file or request is larger than the bound."""
    most = size_in_words(most_bytes)
    return f"The {what} is larger than {most}, which is the most that this service accepts."


def check_answer_bounds(  # noqa: PLR0913 - what is bounded, and its names
    settings: AppSettings,
    *,
    texts: Sequence[str],
    max_tokens: int | None,
    top_k: int | None,
    text_param: str,
    tokens_param: str = "max_tokens",
) -> None:
    """Raise TooLarge or InvalidRequest, naming the bound, the field and the value."""
    if len(texts) > MAX_MESSAGES:
        msg = f"{len(texts)} messages are over the bound of {MAX_MESSAGES}"
        raise TooLarge(msg, param=text_param)
    check_prompt_size(settings, sum(map(len, texts)), param=text_param)
    for name, value, bound in (
        (tokens_param, max_tokens, settings.limits.max_output_tokens),
        ("top_k", top_k, max_top_k(settings)),
    ):
        if value is not None and value > bound:
            msg = f"{name}: {value} is over the bound of {bound}"
            raise InvalidRequest(msg, param=name)


def check_prompt_size(settings: AppSettings, chars: int, *, param: str) -> None:
    """Raise TooLarge, naming the bound, for a prompt with more characters."""
    if chars > settings.limits.max_prompt_chars:
        msg = f"{chars} characters are over the bound of {settings.limits.max_prompt_chars}"
        raise TooLarge(msg, param=param)


def max_top_k(settings: AppSettings) -> int:
    """Return the most passages that a request may ask for."""
    return max(_MAX_TOP_K, settings.answer.top_k)
