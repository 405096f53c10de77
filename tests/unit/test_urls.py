from __future__ import annotations

import pytest

from serve_app.answering.urls import find_urls, without_urls


@pytest.mark.parametrize(
    ("text", "urls"),
    [
        ("see (https://a.example/b) now", ["https://a.example/b"]),
        (
            "https://en.wikipedia.org/wiki/Foo_(bar), please",
            ["https://en.wikipedia.org/wiki/Foo_(bar)"],
        ),
        ("http://a.example and http://a.example", ["http://a.example"]),
        ("a.example, mail@a.example, ftp://a.example/x", []),
        ("http://127.0.0.1:8080/x?y=1.", ["http://127.0.0.1:8080/x?y=1"]),
    ],
)
def test_addresses_are_found_without_what_surrounds_them(text: str, urls: list[str]) -> None:
    assert find_urls(text) == urls


def test_what_is_asked_is_the_text_without_addresses() -> None:
    text = "What says https://a.example/b about https://a.example/b/c and snow?"
    assert without_urls(text, find_urls(text)) == "What says about and snow?"
