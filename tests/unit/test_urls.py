from __future__ import annotations

import pytest

from serve_app.answering.urls import find_urls, without_urls
from tests.support.paths import ROOT

TARGET = "http://127.0.0.1:18080/target"
BESIDE = [
    *(
        "请总结{}。谢谢",
        "阅读{}",
        "看{}谢谢",
        "「{}」を要約",
        "{}を要約して",
        "『{}』",
        "【{}】",
        "（{}）",
    ),
    *(
        "《{}》",
        "〈{}〉",
        "{}、{}",
        "{}，还有",
        "{}！",
        "{}？",
        "{}；",
        "网址：{}",
        "{}을 요약",
        "요약:{}입니다",
    ),
    *("“{}”", "‘{}’", "„{}“", "«{}»", "‹{}›", '"{}"', "'{}'", "`{}`", "```{}```", "**{}**", "*{}*"),
    *(
        "***{}***,",
        "_{}_",
        "__{}__",
        "~~{}~~",
        "({})",
        "[{}]",
        "{{{}}}",
        "<{}>",
        "|{}|",
        "{}…",
        "{}...",
    ),
    *(
        "[{}]({})",
        "[x]({}).",
        "- {};",
        "> {}!",
        "{}?",
        "{}:",
        "{}—so",
        "{}–",
        "،{}،",
        "{}؟",
        "{}।",
        "{}።",
    ),
    *(
        "อ่าน{}ครับ",
        "{}\u3000次",
        "{}\u200b",
        "{}👍",
        "👉{}",
        "→{}",
        "{}’s text",
        "是{}和{}吗",
        "\\{}\\n",
    ),
]

BESIDE += [
    f"{around}谢谢" for around in ("**{}**", "`{}`", "({})", "[{}]", "_{}_", "'{}'", "(见{})")
]
BESIDE += [f"请看{around}" for around in ("**{}**。", "*{}*, ", "_{}_", "({})。", "[{}]", '"{}"')]


@pytest.mark.parametrize("around", BESIDE)
def test_marks_and_letters_beside_an_address_are_no_part_of_it(around: str) -> None:
    assert find_urls(around.format(TARGET, TARGET)) == [TARGET]


def test_addresses_in_prompts_that_once_were_not_found() -> None:
    prompts = (ROOT / "tests/support/cases/urls_in_prompt.txt").read_text(encoding="utf-8")
    for prompt in prompts.splitlines():
        assert find_urls(prompt) == [TARGET]
        assert find_urls(f"{prompt} {TARGET}2 {prompt}") == [TARGET, f"{TARGET}2"]


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
        ("见https://zh.wikipedia.org/wiki/北京。", ["https://zh.wikipedia.org/wiki/北京"]),
        ("https://例え.jp/道-1?名=値", ["https://例え.jp/道-1?名=値"]),
        ("https://a.example/x–y*z/it's_~b", ["https://a.example/x–y*z/it's_~b"]),
        ("http://a.example/?u=http://b.example/", ["http://a.example/?u=http://b.example/"]),
        ("http://a.example/x和https://b.example/y", ["http://a.example/x", "https://b.example/y"]),
        ("https://ru.wikipedia.org/wiki/Мост", ["https://ru.wikipedia.org/wiki/Мост"]),
        ("xhttp://a.example", []),
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
    for unit in (
        "http://[",
        "http://[::",
        "http://[::1]",
        "[",
        "http://a@",
        "和http://a*",
        "'http://a_",
    ):
        find_urls(unit * (100_000 // len(unit)))
