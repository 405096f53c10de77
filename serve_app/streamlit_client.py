"""A chat in the browser that knows the service by OpenAI's SDK alone: `streamlit run` this file.

Address and key come from GENSERVE_URL and GENSERVE_API_KEY, or are typed in. GENSERVE_MAX_UPLOAD_MB
is the service's `limits.max_upload_bytes`, if that is not the default.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator  # noqa: TC003 - one line rather than four
from typing import Any, Final

import openai
import streamlit as st

DEFAULT_URL: Final = os.environ.get("GENSERVE_URL") or "http://127.0.0.1:8000/v1"
DEFAULT_KEY: Final = os.environ.get("GENSERVE_API_KEY", "")
MAX_UPLOAD_MB: Final = int(os.environ.get("GENSERVE_MAX_UPLOAD_MB") or 32)
state: Final = st.session_state


def main() -> None:
    """Draw the page; Streamlit runs this anew at every click."""
    question = st.chat_input("Ask about your documents, or name a page to read")
    with st.sidebar:
        url = st.text_input("Address", DEFAULT_URL)
        typed = st.text_input("API key", type="password", placeholder="GENSERVE_API_KEY")
        # Our own key is neither shown to a visitor nor sent to an address of theirs.
        key = typed or (DEFAULT_KEY if url == DEFAULT_URL else "") or "none"
        uploads = st.file_uploader(
            "Documents",
            ["pdf", "md", "txt", "html"],
            accept_multiple_files=True,
            max_upload_size=MAX_UPLOAD_MB,
        )
        st.button("New conversation", on_click=lambda: state.update(messages=[]))
        stop = st.empty()
    if state.get("service") != (url, key):
        state.update(service=(url, key), messages=[], files={}, store=None)
    for message in state.messages:
        with st.chat_message(message["role"]):
            st.markdown(without_images(message["content"]))
            show_grounding(message)
    try:
        with openai.OpenAI(base_url=url, api_key=key) as client:
            keep_documents(client, uploads)
            if question:
                stop.button("Stop")  # Any click ends this run, and with it the stream.
                converse(client, question)
                stop.empty()
    except openai.APIConnectionError:
        st.error(f"The service at {url} does not answer. Is it running, and is the address right?")
    except openai.APIError as error:
        said = error.body.get("message") if isinstance(error.body, dict) else None
        st.error(without_images(f"The service refused this: {said or error.message}"))


def keep_documents(client: openai.OpenAI, uploads: list[Any]) -> None:
    """Make searchable what was added to the list of files, and delete what was taken off it."""
    for gone in state.files.keys() - {upload.file_id for upload in uploads}:
        with contextlib.suppress(openai.NotFoundError):
            client.files.delete(state.files.pop(gone)["id"])
    stores = client.vector_stores
    for upload in uploads:
        name, file = without_images(upload.name), state.files.get(upload.file_id)
        with st.sidebar.status(f"Sending {name}") as shown:
            if file is None:
                sent = client.files.create(file=(upload.name, upload), purpose="user_data")
                file = state.files[upload.file_id] = {"id": sent.id, "status": "", "error": None}
            if file["status"] not in {"completed", "failed"}:
                shown.update(label=f"Reading {name}")
                state.store = state.store or stores.create(name="Streamlit").id
                read = stores.files.create_and_poll(file["id"], vector_store_id=state.store)
                file.update(status=read.status, error=read.last_error and read.last_error.message)
            done = file["status"] == "completed"
            label = "can be searched" if done else file["error"] or file["status"]
            shown.update(label=f"{name}: {label}", state="complete" if done else "error")


def converse(client: openai.OpenAI, question: str) -> None:
    """Show the question, and the answer as it comes; what there is of it is kept if stopped."""
    state.messages.append({"role": "user", "content": question})
    st.chat_message("user").markdown(without_images(question))
    answer = {"role": "assistant", "content": ""}
    with st.chat_message("assistant"), contextlib.closing(streamed(client, answer)) as pieces:
        st.write_stream(pieces)
        show_grounding(answer)


def streamed(client: openai.OpenAI, answer: dict[str, Any]) -> Generator[str, None, None]:
    """Yield the text of an answer and keep all of it in `answer`; closing this stops the model."""
    said: Any = [{"role": each["role"], "content": each["content"]} for each in state.messages]
    held, searched = "", {"collection": state.store} if state.store else {"documents": False}
    with client.chat.completions.create(
        model="genserve", messages=said, stream=True, extra_body={"context": searched}
    ) as chunks:
        state.messages.append(answer)
        for chunk in chunks:
            answer.update(chunk.model_extra or {})
            text = (chunk.choices[0].delta.content or "") if chunk.choices else ""
            answer["content"] += text
            text = held + text
            held = "!" if text.endswith("!") else ""  # An image may begin with it.
            yield without_images(text.removesuffix("!"))
        yield held


def show_grounding(message: dict[str, Any]) -> None:
    """Show what an answer was given to read, as plain text, and what it had to do without."""
    for warning in message.get("warnings", []):
        st.warning(without_images(warning["message"]))
    if sources := message.get("sources"):
        with st.expander(f"Sources ({len(sources)})"):
            for each in sources:
                pages = f", pages {each['page']}-{each['page_end']}" if each["page"] else ""
                name = each["title"] or each["filename"] or each["uri"]
                st.text(f"[{each['id']}] {name}{pages}\n{each['text']}")


def without_images(text: str) -> str:
    """Undo the form of an image, which a browser would load from wherever it lies."""
    return text.replace("![", "! [")


if __name__ == "__main__":
    main()
