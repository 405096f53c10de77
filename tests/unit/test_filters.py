"""Filters find on every store exactly the documents that they match."""

from __future__ import annotations

import os
import random
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deployments.filters import (
    MAX_KEY_CHARS,
    MAX_VALUE_CHARS,
    Attributes,
    AttributeValue,
    Compound,
    Filter,
    OneOf,
    Order,
    Ordered,
    matches,
    same_attributes,
)
from deployments.retriever.bm25 import LexicalEncoder
from deployments.retriever.edge.store import EdgeStore
from deployments.retriever.qdrant.store import ServerStore
from deployments.retriever.vector_store import EmbeddedChunk, HybridQuery, VectorIndex, VectorStore
from deployments.types import Chunk, Document

pytestmark = pytest.mark.anyio

COMBINATIONS = 500
DOCUMENTS = 24
CHUNKS = 1
LEXICAL = LexicalEncoder()
KEYS = [
    "year",
    "author",
    "Année 日本 🐋",
    "a.b",
    "a[0]",
    "a[].b",
    'say "hi"',
    "state",
    "numbers.x",
    "\\",
    "nul\0",
    "' OR 1=1",
    "k" * MAX_KEY_CHARS,
    "𝕜" * MAX_KEY_CHARS,
]
VALUES: list[AttributeValue] = [
    "", "1", "1.0", "true", "True", "published", "café", "cafe\u0301", "日本", "a\0b", '"}', "*",
    "x" * MAX_VALUE_CHARS,
    True, False,
    0, 1, -1, 2, 2026, 2**53, 2**53 - 1, -(2**60), 2**1000,
    0.0, -0.0, 1.0, 1.5, -2.5, 0.3, 0.1 + 0.2, 1e-300, 1e300, 5e-324, 2026.0,
]  # fmt: skip
NUMBERS = [value for value in VALUES if type(value) in {int, float}]
ORDERS: list[Order] = ["gt", "gte", "lt", "lte"]


def random_attributes(drawn: random.Random) -> dict[str, AttributeValue]:
    keys = drawn.sample(KEYS, drawn.randint(0, 12))
    return {key: drawn.choice(VALUES) for key in keys}


def random_filter(drawn: random.Random, depth: int = 0) -> Filter:
    if depth < 3 and drawn.random() < 0.45:
        parts = (random_filter(drawn, depth + 1) for _ in range(drawn.randint(1, 4)))
        return Compound(drawn.choice(["and", "or"]), tuple(parts))
    key = drawn.choice(KEYS)
    if drawn.random() < 0.4:
        bound = drawn.choice(NUMBERS)
        assert not isinstance(bound, str)
        return Ordered(key, drawn.choice(ORDERS), bound)
    values = tuple(drawn.sample(VALUES, drawn.choice([1, 1, 2, 5, 12])))
    return OneOf(key, values, negated=drawn.random() < 0.5)


INDEX = VectorIndex("filters", 2)


@dataclass(frozen=True)
class Place:
    """A store under test, and a collection of its own."""

    store: VectorStore
    collection: str

    async def publish(self, document: Document) -> None:
        document = replace(document, collection=self.collection)
        await self.store.add(INDEX, document, make_chunks())
        await self.store.publish(INDEX, document)

    async def found(self, filters: Filter | None, words: str = "whales") -> dict[str, int]:
        """Return how many chunks of which documents are found."""
        dense, limit = np.array([[0.6, 0.8]], np.float32), DOCUMENTS * CHUNKS + 9
        query = HybridQuery(dense, [LEXICAL.query(words)], limit, filters=filters)
        found = await self.store.candidates(INDEX, self.collection, query)
        return dict(Counter(one.stored.document.id for one in found))


@pytest.fixture(params=["edge", "memory", *(["server"] if "QDRANT_URL" in os.environ else [])])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    store: VectorStore
    if request.param == "edge":
        store = EdgeStore(tmp_path, chunker_version=1)
    else:
        url = ":memory:" if request.param == "memory" else os.environ["QDRANT_URL"]
        store = ServerStore(url, chunker_version=1)
    place = Place(store, f"test-{uuid.uuid4().hex[:12]}")
    yield place
    await store.drop(place.collection)
    await store.close()


def make_document(number: int, attributes: Attributes, version: int = 1) -> Document:
    return Document(
        f"doc_{number}", "default", "a.txt", "A", "text/plain", 1, None, CHUNKS, 1e9,
        f"job_{version}", version, attributes,
    )  # fmt: skip


def make_chunks() -> list[EmbeddedChunk]:
    dense = np.array([0.6, 0.8], np.float32)
    text = "whales"
    return [
        EmbeddedChunk(Chunk(number, text, 1), dense, LEXICAL.passage(text))
        for number in range(CHUNKS)
    ]


async def test_filters_find_what_they_match(place: Place) -> None:
    drawn = random.Random(15)  # noqa: S311 - the same combinations in every run
    attributes = {f"doc_{number}": random_attributes(drawn) for number in range(DOCUMENTS)}
    for number, given in enumerate(attributes.values()):
        document = make_document(number, given)
        await place.publish(document)
    sizes = []
    for _ in range(COMBINATIONS):
        filters = random_filter(drawn)
        expected = [id_ for id_, given in attributes.items() if matches(filters, given)]
        # By meaning alone: Qdrant's imitation is slow.
        assert await place.found(filters, "") == dict.fromkeys(expected, CHUNKS), filters
        sizes.append(len(expected))
    # The combinations select nothing, all and everything between.
    assert len(set(sizes)) > DOCUMENTS / 2
    assert 0 < sizes.count(0) < COMBINATIONS / 4


async def test_attributes_change_without_new_vectors(place: Place) -> None:
    store, found = place.store, place.found
    report, other = make_document(1, {"year": 2025, "draft": True}), make_document(2, {"year": 9})
    for document in (report, other):
        await place.publish(document)
    is_2025, is_draft = OneOf("year", (2025,)), OneOf("draft", (True,))
    assert set(await found(is_2025)) == set(await found(is_draft)) == {"doc_1"}
    await store.set_attributes(place.collection, "doc_1", {"year": 2026.0})
    assert await found(is_2025) == await found(is_draft) == {}
    assert await found(OneOf("year", (2026,))) == {"doc_1": CHUNKS}
    assert await found(OneOf("year", (2026,), negated=True)) == {"doc_2": CHUNKS}
    # Hidden chunks get them, too, and keep them once another version is published.
    newer = replace(report, version=2, job_id="job_2", attributes={"year": 2027})
    await place.publish(newer)
    await store.discard(place.collection, "doc_1", [1])
    assert await found(Ordered("year", "gt", 2026)) == {"doc_1": CHUNKS}
    await store.set_attributes(place.collection, "doc_1", {})
    assert await found(Ordered("year", "gt", 2026)) == {}
    assert await found(None) == {"doc_1": CHUNKS, "doc_2": CHUNKS}
    await store.set_attributes(place.collection, "doc_9", {"year": 1})  # which does not exist


@pytest.mark.parametrize(
    ("filters", "attributes", "expected"),
    [
        (OneOf("a", (1,)), {"a": 1.0}, True),
        (OneOf("a", (1,)), {"a": True}, False),
        (OneOf("a", ("1",)), {"a": 1}, False),
        (OneOf("a", (False,)), {"a": 0}, False),
        (OneOf("a", (1,)), {}, False),
        (OneOf("a", (1,), negated=True), {}, True),
        (OneOf("a", (1,), negated=True), {"a": "1"}, True),
        (OneOf("a", (1, "x"), negated=True), {"a": "x"}, False),
        (Ordered("a", "gte", 2), {"a": 2.0}, True),
        (Ordered("a", "lt", 2), {"a": "1"}, False),
        (Ordered("a", "lt", 2), {"a": True}, False),
        (Ordered("a", "lt", 2), {}, False),
        (Compound("and", (OneOf("a", (1,)), OneOf("b", (2,)))), {"a": 1}, False),
        (Compound("or", (OneOf("a", (1,)), OneOf("b", (2,)))), {"a": 1}, True),
    ],
)
def test_what_a_filter_matches(filters: Filter, attributes: Any, *, expected: bool) -> None:
    assert matches(filters, attributes) is expected


def test_true_is_not_the_attribute_1() -> None:
    assert same_attributes({"a": 1, "b": "x"}, {"b": "x", "a": 1})
    assert not same_attributes({"a": 1}, {"a": True})
