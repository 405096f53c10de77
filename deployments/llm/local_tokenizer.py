"""The language model's tokenizer for a process without the model, such as the ingress."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loguru import logger

from deployments.llm.outside_text import OutsideText
from deployments.model_source import resolve_ready, revision_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deployments.settings import LLMSettings

_FILE = "tokenizer.json"
_OTHER_TOKENIZER = {
    *("tokenizer", "tokenizer_mode", "tokenizer_revision", "revision", "chat_template"),
}
"""vLLM's arguments with which it may read another tokenizer than that beside the weights."""


def load_tokenizer(settings: LLMSettings, data_dir: Path) -> OutsideText | None:
    """Load the tokenizer from this machine's disk.

    Returns None without a file, or if the model runs elsewhere: the engine counts the same.
    """
    if settings.engine != "vllm" or _OTHER_TOKENIZER & settings.engine_args.keys():
        return None
    from tokenizers import Tokenizer

    try:
        folder = _folder(settings.model, data_dir)
        if folder is None:
            return None
        tokenizer = Tokenizer.from_file(str(folder / _FILE))
        tokenizer.no_truncation()  # a tokenizer may be saved with either
        tokenizer.no_padding()
        return OutsideText.of(_AsTransformers(tokenizer), _template(folder))
    except Exception as error:  # noqa: BLE001 - the library names no types; it is only faster
        logger.warning("tokens are counted by the language model's replica: {}", error)
        return None


def _folder(model: str, data_dir: Path) -> Path | None:
    source = resolve_ready(model, data_dir)
    if source is None:
        return None
    folder = Path(source)
    if not folder.is_dir():
        from huggingface_hub import try_to_load_from_cache

        cached = try_to_load_from_cache(source, _FILE, revision=revision_of(model))
        if not isinstance(cached, str):
            return None
        folder = Path(cached).parent
    return folder if (folder / _FILE).is_file() else None


def _template(folder: Path) -> str:
    """Return the chat templates that come with the model, as one text."""
    texts = [path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.jinja"))]
    config = folder / "tokenizer_config.json"
    if config.is_file():
        own = json.loads(config.read_text(encoding="utf-8")).get("chat_template") or ""
        texts.append(own if isinstance(own, str) else json.dumps(own, ensure_ascii=False))
    return "\n".join(texts)


class _AsTransformers:
    """What `OutsideText` uses of a tokenizer of transformers, which takes seconds to import."""

    def __init__(self, tokenizer: Any) -> None:  # noqa: ANN401 - has no types
        self.backend_tokenizer = tokenizer
        self.added_tokens_decoder = tokenizer.get_added_tokens_decoder()

    def __call__(self, texts: Sequence[str], *, add_special_tokens: bool) -> dict[str, Any]:
        encoded = self.backend_tokenizer.encode_batch(
            list(texts), add_special_tokens=add_special_tokens
        )
        return {"input_ids": [each.ids for each in encoded]}
