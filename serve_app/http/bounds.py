"""The bounds of one request that are settings and so unknown to the schemas."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deployments.errors import InvalidRequest, TooLarge

if TYPE_CHECKING:
    from collections.abc import Sequence

    from serve_app.settings import AppSettings


_MAX_MESSAGES = 200
_MAX_TOP_K = 20


def check_answer_bounds(
    settings: AppSettings,
    *,
    texts: Sequence[str],
    max_tokens: int | None,
    top_k: int | None,
    text_param: str,
) -> None:
    """Raise TooLarge or InvalidRequest, naming the bound, the field and the value."""
    if len(texts) > _MAX_MESSAGES:
        msg = f"{len(texts)} messages are over the bound of {_MAX_MESSAGES}"
        raise TooLarge(msg, param=text_param)
    if (size := sum(map(len, texts))) > settings.limits.max_prompt_chars:
        msg = f"{size} characters are over the bound of {settings.limits.max_prompt_chars}"
        raise TooLarge(msg, param=text_param)
    for name, value, bound in (
        ("max_tokens", max_tokens, settings.limits.max_output_tokens),
        ("top_k", top_k, max(_MAX_TOP_K, settings.answer.top_k)),
    ):
        if value is not None and value > bound:
            msg = f"{name}: {value} is over the bound of {bound}"
            raise InvalidRequest(msg, param=name)
