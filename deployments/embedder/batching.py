"""Who shares a pass through a model: calls cut into pieces, and passes into batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Piece(Generic[Item]):
    """Items of one call that fit into one pass, with their token counts."""

    items: list[Item]
    tokens: list[int]


def pieces(items: list[Item], tokens: list[int], max_tokens: int) -> Iterator[Piece[Item]]:
    """Cut a call into pieces within the bound of a pass, in order."""
    start, total = 0, 0
    for end, count in enumerate(tokens):
        if total + count > max_tokens and end > start:
            yield Piece(items[start:end], tokens[start:end])
            start, total = end, 0
        total += count
    if start < len(items):
        yield Piece(items[start:], tokens[start:])


def total_tokens(together: Sequence[Piece[Any]]) -> int:
    """Return the size of a pass."""
    return sum(sum(piece.tokens) for piece in together)


def run_together(
    run: Callable[[list[Item], list[int]], NDArray[np.float32]], together: Sequence[Piece[Item]]
) -> list[NDArray[np.float32]]:
    """Run the items of all pieces in one pass, and give each piece the rows that are its own."""
    items = [item for piece in together for item in piece.items]
    tokens = [count for piece in together for count in piece.tokens]
    ends = np.cumsum([len(piece.items) for piece in together])[:-1]
    return np.split(run(items, tokens), ends)


def run_in_batches(
    run: Callable[..., NDArray[np.float32]],
    items: Sequence[Any],
    tokens: Sequence[int],
    max_batch_tokens: int,
    rows: NDArray[np.float32],
) -> None:
    """Write the output for each item into its row; `run` is a sentence-transformers method."""
    for batch in batches(tokens, max_batch_tokens):
        chosen = [items[index] for index in batch]
        rows[batch] = run(chosen, batch_size=len(batch), show_progress_bar=False)


def batches(tokens: Sequence[int], max_batch_tokens: int) -> list[list[int]]:
    """Group indices, longest first, so that size times longest stays within the bound.

    An item over the bound by itself gets a batch of its own.
    """
    groups: list[list[int]] = []
    longest = 0
    for index in sorted(range(len(tokens)), key=lambda i: tokens[i], reverse=True):
        if groups and (len(groups[-1]) + 1) * longest <= max_batch_tokens:
            groups[-1].append(index)
        else:
            groups.append([index])
            longest = tokens[index]
    return groups
