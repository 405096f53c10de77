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
        ("see http://[2606:4700::1111]/x, ok?", ["http://[2606:4700::1111]/x"]),
        ("(https://[::ffff:10.0.0.1]:8443/a?b=1#c).", ["https://[::ffff:10.0.0.1]:8443/a?b=1#c"]),
        (
            "[link](http://[::1]) <HTTP://[FE80::1%25eth0]/>",
            ["http://[::1]", "HTTP://[FE80::1%25eth0]/"],
        ),
        (
            "http://me@[::1]/ and http://a.example/[::1]",
            ["http://me@[::1]/", "http://a.example/[::1]"],
        ),
        ("http://[::1]/a http://b.example/c", ["http://[::1]/a", "http://b.example/c"]),
        ("http://[not:an:address]/ and http://[1]/", []),
    ],
)
def test_addresses_are_found_without_what_surrounds_them(text: str, urls: list[str]) -> None:
    assert find_urls(text) == urls


def test_what_is_asked_is_the_text_without_addresses() -> None:
    text = "What says https://a.example/b about https://a.example/b/c and snow?"
    assert without_urls(text, find_urls(text)) == "What says about and snow?"
    text = "What says http://[2606:4700::1111]/x about snow?"
    assert without_urls(text, find_urls(text)) == "What says about snow?"


@pytest.mark.timeout(20)
def test_hostile_repetition_takes_no_longer_than_its_length() -> None:
    for unit in ("http://[", "http://[::", "http://[::1]", "[", "http://a@"):
        find_urls(unit * (100_000 // len(unit)))
