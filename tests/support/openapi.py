"""The examples in an OpenAPI document, wherever they stand: beside a body or on its schema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple


class Operation(NamedTuple):
    """A method and path of the reference, with what it says of them."""

    method: str
    path: str
    described: Mapping[str, Any]

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"


def operations(document: Mapping[str, Any]) -> list[Operation]:
    return [
        Operation(method, path, described)
        for path, methods in document["paths"].items()
        for method, described in methods.items()
    ]


def schema_of(document: Mapping[str, Any], content: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema of a body, without a reference."""
    schema: Mapping[str, Any] = content.get("schema", {})
    if reference := schema.get("$ref"):
        schema = document["components"]["schemas"][reference.rpartition("/")[2]]
    return schema


def example_of(document: Mapping[str, Any], content: Mapping[str, Any]) -> Any:
    """The example of a body, None if there is none."""
    if "example" in content:
        return content["example"]
    examples = schema_of(document, content).get("examples", [])
    return examples[0] if examples else None


def request_bodies(operation: Operation) -> Iterator[Mapping[str, Any]]:
    yield from operation.described.get("requestBody", {}).get("content", {}).values()


def good_answers(operation: Operation) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Media types and bodies of the answers to a good request."""
    for status, response in operation.described["responses"].items():
        if status.startswith("2"):
            yield from response.get("content", {}).items()
