"""Windows of texts that are longer than the embedding model reads.

A text is halved until each part fits. Its vector is the mean of those of its windows, each weighted
by its tokens, and of unit length: nothing of the text is cut off.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

_SPACE = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class Windows:
    """The windows of several texts, in order; `sources` has the number of the text of each."""

    texts: list[str] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    sources: list[int] = field(default_factory=list)

    def tokens_of(self, texts: int) -> tuple[int, ...]:
        """Return the sum of the tokens of each text's windows, prefixes included."""
        sums = np.zeros(texts, dtype=np.int64)
        np.add.at(sums, self.sources, self.tokens)
        return tuple(sums.tolist())


def cut_into_windows(
    texts: Sequence[str], measure: Callable[[Sequence[str]], list[int]], most: int, prefix: str = ""
) -> Windows:
    """Return windows of at most `most` tokens; each begins with the prefix, which counts."""
    parts = [(number, text) for number, text in enumerate(texts)]
    counts = measure([prefix + text for text in texts])
    while any(
        count > most and len(text) > 1 for (_, text), count in zip(parts, counts, strict=True)
    ):
        halved = [
            (number, half)
            for (number, text), count in zip(parts, counts, strict=True)
            for half in (halves(text) if count > most and len(text) > 1 else [text])
        ]
        known = {part: count for part, count in zip(parts, counts, strict=True) if count <= most}
        unknown = [part for part in dict.fromkeys(halved) if part not in known]
        measured = measure([prefix + text for _, text in unknown])
        known |= dict(zip(unknown, measured, strict=True))
        parts, counts = halved, [known[part] for part in halved]
    return Windows(
        [prefix + text for _, text in parts],
        [min(count, most) for count in counts],
        [number for number, _ in parts],
    )


def beginnings(
    texts: Sequence[str],
    tokenizer: Any,  # noqa: ANN401 - of transformers, which is imported with the model
    most: int,
) -> tuple[list[str], tuple[int, ...]]:
    """Return the first `most` tokens of each text, and the numbers of the shortened texts.

    Special tokens do not count. What is shortened is as the tokenizer normalizes it.
    """
    encoded = tokenizer(list(texts), add_special_tokens=False, truncation=False, verbose=False)
    shortened = {
        number: tokenizer.decode(ids[:most])
        for number, ids in enumerate(encoded["input_ids"])
        if len(ids) > most
    }
    return [shortened.get(number, text) for number, text in enumerate(texts)], tuple(shortened)


def halves(text: str) -> list[str]:
    """Cut a text of two characters or more at the white space nearest to its middle, if any."""
    middle = len(text) // 2
    spaces = [match for match in _SPACE.finditer(text) if match.start() and match.end() < len(text)]
    if not spaces:
        return [text[:middle], text[middle:]]
    nearest = min(spaces, key=lambda match: abs(match.start() - middle))
    return [text[: nearest.start()], text[nearest.end() :]]


def means(vectors: NDArray[np.float32], windows: Windows, texts: int) -> NDArray[np.float32]:
    """Return the vectors of the texts, float32 of shape (texts, dimensions), of unit length.

    `vectors` are those of the windows, of shape (windows, dimensions).
    """
    if len(windows.texts) == texts:
        return vectors
    sums = np.zeros((texts, vectors.shape[1]), dtype=np.float32)
    weights = np.asarray(windows.tokens, dtype=np.float32)[:, np.newaxis]
    np.add.at(sums, windows.sources, vectors * weights)
    sums /= np.linalg.norm(sums, axis=1, keepdims=True)
    return sums
