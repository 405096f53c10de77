"""The API reference shows every operation by examples that fit their schemas."""

from __future__ import annotations

import jsonschema_rs
import pytest

from serve_app.testing import Fakes
from tests.support.openapi import (
    Operation,
    example_of,
    good_answers,
    operations,
    request_bodies,
    schema_of,
)

DOCUMENT = Fakes().app().openapi()
OPERATIONS = operations(DOCUMENT)


def fits(example: object, content: object) -> None:
    assert example is not None
    assert isinstance(content, dict)
    schema = schema_of(DOCUMENT, content)
    components = {"components": DOCUMENT["components"]}
    jsonschema_rs.validator_for({**schema, **components}).validate(example)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_every_operation_is_described_and_shown_by_example(operation: Operation) -> None:
    assert operation.described.get("description")
    for parameter in operation.described.get("parameters", []):
        if parameter["in"] == "path":
            schema = parameter["schema"]
            assert parameter.get("example") or schema.get("examples"), parameter["name"]
    for content in request_bodies(operation):
        fits(example_of(DOCUMENT, content), content)
    answers = list(good_answers(operation))
    assert bool(answers) == (operation.name != "delete /v1/documents/{document_id}")
    for media_type, content in answers:
        example = example_of(DOCUMENT, content)
        assert example is not None, media_type
        if media_type == "application/json":
            fits(example, content)


def test_422_is_for_files_that_cannot_be_read_only() -> None:
    named = {each.name: each.described["responses"].get("422") for each in OPERATIONS}
    described = {name for name, response in named.items() if response}
    assert described == {"post /upload", "post /v1/files", "post /v1/imports"}
    assert "HTTPValidationError" not in str(DOCUMENT)


def test_streamed_answers_are_shown_too() -> None:
    streamed = {
        operation.name
        for operation in OPERATIONS
        for media_type, _ in good_answers(operation)
        if media_type == "text/event-stream"
    }
    assert streamed == {
        "post /generate/text",
        "post /v1/chat/completions",
        "post /v1/completions",
        "post /v1/messages",
        "post /v1/responses",
        "get /v1/responses/{response_id}",
        "get /v1/jobs/{job_id}/events",
    }
