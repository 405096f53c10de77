"""The Streamlit client against the running service, as a person clicks through it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from streamlit.testing.v1 import AppTest

from serve_app.settings import LimitSettings
from tests.support.articles import Article
from tests.support.paths import ROOT
from tests.support.processes import free_port
from tests.support.service import Service

SCRIPT = ROOT / "serve_app" / "streamlit_client.py"
FACT = "The cable car of Tromvik is pulled by a retired submarine engine."
QUESTION = "What pulls the cable car of Tromvik?"


@pytest.fixture
def app(service: Service, monkeypatch: pytest.MonkeyPatch) -> Iterator[AppTest]:
    """The page as somebody finds it who opens it first; afterwards its files are taken away."""
    monkeypatch.setenv("GENSERVE_URL", f"{service.url}/v1")
    monkeypatch.setenv("GENSERVE_API_KEY", service.key)
    page = AppTest.from_file(str(SCRIPT), default_timeout=240)
    yield page.run()
    with openai.OpenAI(base_url=f"{service.url}/v1", api_key=service.key) as client:
        for store in client.vector_stores.list():
            if store.name == "Streamlit":
                for file in client.vector_stores.files.list(store.id):
                    client.files.delete(file.id)
                client.vector_stores.delete(store.id)


def test_a_pdf_is_uploaded_and_talked_about(app: AppTest, service: Service) -> None:
    assert not app.exception
    pdf = Article("cable-car.pdf", [FACT]).pdf()
    app.file_uploader[0].upload("cable-car.pdf", pdf, "application/pdf").run()
    assert not app.exception
    assert [(each.label, each.state) for each in app.status] == [
        ("cable-car.pdf: can be searched", "complete")
    ]
    app.chat_input[0].set_value(QUESTION).run()
    assert not app.exception
    assert not app.error
    asked, answered = app.chat_message
    assert (asked.name, asked.markdown[0].value) == ("user", QUESTION)
    assert answered.name == "assistant"
    assert answered.markdown[0].value.strip()
    sources = answered.expander[0]
    assert re.fullmatch(r"Sources \([1-9]\d*\)", sources.label)
    assert FACT in " ".join(sources.text[0].value.split())
    assert re.match(r"\[1\] .*, pages 1-1\n", sources.text[0].value)
    # What is drawn anew at the next click is what was streamed.
    app.run()
    assert app.chat_message[1].markdown[0].value == answered.markdown[0].value
    assert FACT in " ".join(app.chat_message[1].expander[0].text[0].value.split())
    assert app.button[0].label == "New conversation"
    app.button[0].click().run()
    assert len(app.chat_message) == 0
    assert [each.state for each in app.status] == ["complete"]
    # A file taken off the list is searched no more, and not kept either.
    assert "cable-car.pdf" in kept(service)
    app.file_uploader[0].clear().run()
    assert not app.exception
    assert len(app.status) == 0
    assert "cable-car.pdf" not in kept(service)


def kept(service: Service) -> list[str]:
    with openai.OpenAI(base_url=f"{service.url}/v1", api_key=service.key) as client:
        return [file.filename for file in client.files.list()]


def test_without_documents_the_model_answers_alone(app: AppTest) -> None:
    app.chat_input[0].set_value("Name the capital of France.").run()
    assert "Paris" in app.chat_message[1].markdown[0].value
    assert len(app.chat_message[1].expander) == 0


def test_a_file_that_cannot_be_read_says_so(app: AppTest) -> None:
    app.file_uploader[0].upload("a.pdf", b"these are words, not a PDF", "application/pdf").run()
    assert not app.exception
    said = [each.label for each in app.status if each.state == "error"]
    assert any("not a PDF" in label for label in [*said, *(each.value for each in app.error)])


@pytest.mark.parametrize("wrong", ["key", "address"])
def test_what_went_wrong_is_a_sentence(app: AppTest, wrong: str) -> None:
    address, key = app.text_input
    if wrong == "key":
        key.set_value("not-one-of-the-keys")
    else:
        address.set_value(f"http://127.0.0.1:{free_port()}/v1")
    app.run()
    app.chat_input[0].set_value(QUESTION).run()
    assert not app.exception
    said = app.error[0].value
    assert ("key" if wrong == "key" else "does not answer") in said
    assert said.endswith((".", "?")) or ": " in said
    assert "{" not in said


def test_our_own_key_goes_nowhere_but_to_our_own_address(app: AppTest, service: Service) -> None:
    address, key = app.text_input
    assert key.value == ""
    # The same service by another name: with our key it would answer.
    address.set_value(f"{service.url.replace('127.0.0.1', 'localhost')}/v1").run()
    app.chat_input[0].set_value(QUESTION).run()
    assert "key" in app.error[0].value


def test_the_client_knows_the_service_by_the_sdk_alone() -> None:
    imported = set()
    for node in ast.walk(ast.parse(SCRIPT.read_text())):
        if isinstance(node, ast.Import):
            imported |= {each.name.partition(".")[0] for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").partition(".")[0])
    assert not imported & {"serve_app", "deployments", "httpx", "requests", "aiohttp"}
    for folder in ("serve_app", "deployments"):
        for path in Path(ROOT, folder).rglob("*.py"):
            text = path.read_text()
            assert path == SCRIPT or "streamlit" not in text, path


def test_the_uploader_takes_as_much_as_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GENSERVE_URL", "GENSERVE_API_KEY", "GENSERVE_MAX_UPLOAD_MB"):
        monkeypatch.delenv(name, raising=False)
    page = AppTest.from_file(str(SCRIPT), default_timeout=240).run()
    promised_bytes = page.file_uploader[0].proto.max_upload_size_mb * 1024**2
    assert promised_bytes == LimitSettings().max_upload_bytes
