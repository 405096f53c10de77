"""The API reference tells the truth: whatever its schema allows is answered as it says."""

from __future__ import annotations

import json
import os
from http import HTTPStatus
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, assume, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from serve_app.schemas.fields import STORE_ID_EXAMPLE
from serve_app.testing import Fakes
from tests.support.openapi import example_of, operations
from tests.support.service import Service

EXAMPLES = int(os.environ.get("GENSERVE_TEST_EXAMPLES", "8"))  # 25 in `make test-long`
ALWAYS_RIGHT = {"GET /healthz", "GET /readyz", "GET /v1/models"}  # there is nothing to get wrong
# What the schema allows and two cores would need hours for.
SMALL: dict[str, int] = {
    "max_tokens": 4,
    "max_completion_tokens": 4,
    "max_output_tokens": 4,
    "n": 2,
    "count": 1,
    "steps": 2,
}
LIMIT = {
    "/generate/text": "max_tokens",
    "/v1/chat/completions": "max_tokens",
    "/v1/completions": "max_tokens",
    "/v1/responses": "max_output_tokens",
}
"""The field that bounds what a route generates, and that requests may leave out."""
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


SCHEMA = Fakes().app().openapi()
OPERATIONS = [
    found.ok()  # type: ignore[union-attr]  # an error here ends the tests
    for found in schemathesis.openapi.from_dict(SCHEMA).get_all_operations()
]


ASKED = [
    (operation, mode)
    for operation in OPERATIONS
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    if mode is GenerationMode.POSITIVE or operation.label not in ALWAYS_RIGHT
]


def _bounded(case: Any) -> None:
    """Leave streams out, and keep what is generated small."""
    body = case.body
    if not isinstance(body, dict):
        return
    if body.get("stream"):
        body["stream"] = False
    for name, most in SMALL.items():
        value = body.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value > most:
            body[name] = most
    limit = LIMIT.get(case.operation.path)
    if limit is not None and limit not in body:
        body[limit] = SMALL[limit]


@pytest.mark.parametrize(
    ("operation", "mode"), ASKED, ids=[f"{each.label} {mode.value}" for each, mode in ASKED]
)
def test_every_answer_is_one_that_the_reference_names(
    operation: Any, mode: GenerationMode, service: Service
) -> None:
    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def ask(case: Any) -> None:
        # A form sends null as the text "null", which is a file.
        assume(not (isinstance(case.body, dict) and case.body.get("file", "") is None))
        # Without its stream, such a request would be a right one.
        assume(not isinstance(case.body, dict) or isinstance(case.body.get("stream"), bool | None))
        _bounded(case)
        answer = case.call(base_url=service.url, headers=service.headers, timeout=120)
        checks = [*CHECKS]
        # A body may be too large to look what else is wrong with it.
        if (
            mode is GenerationMode.NEGATIVE
            and answer.status_code != HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        ):
            checks.append(negative_data_rejection)
        case.validate_response(answer, checks=checks)

    ask()


EXAMPLE_REQUESTS = {
    operation.name: example_of(SCHEMA, content)
    for operation in operations(SCHEMA)
    for media_type, content in operation.described.get("requestBody", {}).get("content", {}).items()
    # Not forms, and not ids of what does not exist.
    if media_type == "application/json"
    and "{" not in operation.path
    and operation.path != "/v1/imports"
}


@pytest.mark.parametrize("name", EXAMPLE_REQUESTS)
def test_the_examples_are_good_requests(name: str, http: httpx.Client) -> None:
    method, path = name.split()
    example = json.dumps(EXAMPLE_REQUESTS[name])
    if STORE_ID_EXAMPLE in example:
        store = http.post("/v1/vector_stores", json={}).json()
        example = example.replace(STORE_ID_EXAMPLE, store["id"])
    answer = http.request(method, path, json=json.loads(example))
    assert answer.is_success, answer.text


def test_the_reference_is_read_without_another_origin(service: Service) -> None:
    page = httpx.get(f"{service.url}/docs").text
    assert "//cdn" not in page
    assert "https://" not in page
    assert "/static-offline-docs/swagger-ui-bundle.js" in page
