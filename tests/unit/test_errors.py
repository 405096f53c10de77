from __future__ import annotations

import pickle

import pytest

from deployments import errors
from serve_app.http.errors import body_of, status_of
from serve_app.testing import Fakes

KINDS = [
    (errors.NotFound, 404),
    (errors.TooLarge, 413),
    (errors.UnsupportedMedia, 415),
    (errors.Unprocessable, 422),
    (errors.InvalidRequest, 400),
    (errors.Overloaded, 429),
    (errors.DeadlineExceeded, 504),
    (errors.Refused, 500),
    (errors.Unavailable, 503),
    (errors.ServiceError, 500),
]


@pytest.mark.parametrize(("kind", "status"), KINDS)
def test_an_error_survives_the_wire_and_has_its_status(
    kind: type[errors.ServiceError], status: int
) -> None:
    sent = kind("say this", code="special", param="field", retry_after_s=3.0)
    got = pickle.loads(pickle.dumps(sent))  # noqa: S301 - our own
    assert type(got) is kind
    assert (got.message, got.code, got.param, got.retry_after_s) == (
        "say this",
        "special",
        "field",
        3.0,
    )
    assert status_of(got) == status
    assert body_of(got).error.message == "say this"


@pytest.mark.anyio
async def test_a_request_that_cannot_be_read_says_what_to_do() -> None:
    json = {"content-type": "application/json"}
    async with Fakes().client() as http:
        wrong_method = await http.get("/v1/chat/completions")
        two_methods = await http.put("/v1/files")
        broken = await http.post("/generate/text", content='{"prompt": }', headers=json)
        deep = await http.post("/generate/text", content="[" * 10_000, headers=json)
        surrogate = await http.post("/generate/text", content='{"prompt":"\\ud800"}', headers=json)
        long_id = await http.get("/v1/models", headers={"x-request-id": "x" * 10_000})
        odd_id = await http.get("/v1/models", headers={"x-request-id": "a b"})
        good_id = await http.get("/v1/models", headers={"x-request-id": "3f2a-17"})
    assert (wrong_method.status_code, wrong_method.headers["allow"]) == (405, "POST")
    assert wrong_method.json()["error"]["message"] == "use POST here: GET is not allowed"
    assert (two_methods.status_code, two_methods.headers["allow"]) == (405, "GET, POST")
    assert "use GET or POST here: PUT is not allowed" in two_methods.text
    for answer, reason in (
        (broken, "the body is not valid JSON, see line 1, column 12"),
        (deep, "nested more than 100 levels"),
        (surrogate, "unpaired surrogate"),
        (long_id, "at most 128 characters"),
        (odd_id, "at most 128 characters"),
    ):
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (400, "invalid_request")
        assert reason in error["message"]
    assert good_id.status_code == 200
