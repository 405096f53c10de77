from __future__ import annotations

import pickle

import pytest

from deployments import errors
from serve_app.http.errors import body_of, status_of

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
