"""Open WebUI: its own retrieval over our embeddings, by its API. Its server runs on loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path
from typing import Any

from service import EMBEDDER, FACT, KEY, LONG_TEXT, MODEL, QUESTION, URL, tell

PORT = sys.argv[1]
WEBUI = f"http://127.0.0.1:{PORT}"
START_TIMEOUT_S = 180
folder = Path(os.environ["TEST_FOLDER"]) / "open-webui"
folder.mkdir()
SETTINGS = {
    "DATA_DIR": str(folder),
    "WEBUI_SECRET_KEY": "of-the-test",
    "OPENAI_API_BASE_URL": URL,
    "OPENAI_API_KEY": KEY,
    "ENABLE_OLLAMA_API": "False",
    "RAG_EMBEDDING_ENGINE": "openai",
    "RAG_EMBEDDING_MODEL": EMBEDDER,
    "RAG_OPENAI_API_BASE_URL": URL,
    "RAG_OPENAI_API_KEY": KEY,
    # The small model writes queries that find nothing.
    "ENABLE_RETRIEVAL_QUERY_GENERATION": "False",
    # Nothing is looked up elsewhere, and nothing is told to anybody.
    "OFFLINE_MODE": "True",
    "ENABLE_VERSION_UPDATE_CHECK": "False",
    "ANONYMIZED_TELEMETRY": "False",
    "SCARF_NO_ANALYTICS": "True",
    "DO_NOT_TRACK": "True",
}
token = ""


def call(method: str, path: str, body: object = None, content: bytes = b"", kind: str = "") -> Any:
    data = json.dumps(body).encode() if body is not None else content or None
    request = urllib.request.Request(f"{WEBUI}{path}", data, method=method)
    request.add_header("content-type", kind or "application/json")
    if token:
        request.add_header("authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.loads(answer.read())
    except urllib.error.HTTPError as error:
        message = f"{method} {path}: {error.code} {error.read()[:2000]!r}"
        raise SystemExit(message) from None


def upload(name: str, content: bytes) -> Any:
    edge = uuid.uuid4().hex
    head = f'--{edge}\r\ncontent-disposition: form-data; name="file"; filename="{name}"\r\n'
    form = (
        f"{head}content-type: text/plain\r\n\r\n".encode()
        + content
        + f"\r\n--{edge}--\r\n".encode()
    )
    return call(
        "POST", "/api/v1/files/", content=form, kind=f"multipart/form-data; boundary={edge}"
    )


log = (folder / "log").open("wb")
server = subprocess.Popen(
    [Path(sys.executable).with_name("open-webui"), "serve", "--host", "127.0.0.1", "--port", PORT],
    env=os.environ | SETTINGS,
    stdout=log,
    stderr=log,
    cwd=folder,
)
try:
    for _ in range(START_TIMEOUT_S):
        try:
            urllib.request.urlopen(f"{WEBUI}/health", timeout=1)
            break
        except OSError:
            time.sleep(1)
    person = {"name": "test", "email": "test@localhost.test", "password": "of-the-test-1"}
    token = call("POST", "/api/v1/auths/signup", person)["token"]
    models = [model["id"] for model in call("GET", "/api/models")["data"]]
    file = upload("skarn.txt", LONG_TEXT.encode())
    for _ in range(60):
        state = call("GET", f"/api/v1/files/{file['id']}/process/status")
        if state["status"] in {"completed", "failed"}:
            break
        time.sleep(1)
    answer = call(
        "POST",
        "/api/chat/completions",
        {
            "model": MODEL,
            "messages": [{"role": "user", "content": QUESTION}],
            "files": [{"type": "file", "id": file["id"]}],
            "stream": False,
            "max_tokens": 40,
        },
    )
    grounded = call(
        "POST",
        "/api/chat/completions",
        {
            "model": "genserve",
            "messages": [{"role": "user", "content": QUESTION}],
            "stream": False,
            "max_tokens": 40,
        },
    )
finally:
    server.terminate()
    server.wait(30)
tell(models=models, state=state, answer=answer, grounded=grounded, fact=FACT)
